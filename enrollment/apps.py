"""The enrollment app: at start it tells the core which CA to trust and serves /scep."""

from django.apps import AppConfig


class EnrollmentConfig(AppConfig):
    name = "enrollment"

    def ready(self) -> None:
        from enrollment import arrival_endpoint, authority, endpoint
        from enrollment.pages import registered
        from mdm import endpoints, identity, logs

        registered.register()
        logs.hide_after("/enroll/")
        logs.hide_after("/ade/")
        logs.hide_after("/ade/sign-in/")
        identity.trust(authority.trusted)
        endpoints.register(
            endpoint.PATH, endpoint.respond, methods=endpoint.METHODS, max_body=endpoint.MAX_BODY
        )
        endpoints.register(
            arrival_endpoint.PATH,
            arrival_endpoint.respond,
            methods=arrival_endpoint.METHODS,
            max_body=arrival_endpoint.MAX_BODY,
        )
