"""The enrollment app: at start it tells the core which CA to trust and serves /scep."""

from django.apps import AppConfig


class EnrollmentConfig(AppConfig):
    name = "enrollment"

    def ready(self) -> None:
        from commands.catalog.remove_profile import RemoveProfile
        from enrollment import arrival_endpoint, authority, endpoint
        from enrollment.pages import registered
        from enrollment.wire.profile import PROFILE_IDENTIFIER
        from mdm import endpoints, identity, logs
        from mdm.health import public_url

        registered.register()
        RemoveProfile.ends_management.add(PROFILE_IDENTIFIER)
        logs.hide_after("/enroll/")
        logs.hide_after("/ade/")
        logs.hide_after("/ade/sign-in/")
        identity.trust(authority.trusted)
        public_url.believe(authority.trusted)
        endpoints.show_beside("/enroll/")
        endpoints.show_beside("/ade/sign-in/")
        endpoints.register(
            endpoint.PATH, endpoint.respond, methods=endpoint.METHODS, max_body=endpoint.MAX_BODY
        )
        endpoints.register(
            arrival_endpoint.PATH,
            arrival_endpoint.respond,
            methods=arrival_endpoint.METHODS,
            max_body=arrival_endpoint.MAX_BODY,
        )
