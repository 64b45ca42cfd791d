"""Where the pages about enrollment live."""

from django.urls import path

from enrollment.pages import arrivals, holding, links, removal, sign_in

urlpatterns = [
    path("enrollment/links/", links.links, name="links"),
    path("enrollment/links/new/", links.create, name="link_create"),
    path("enrollment/links/<int:pk>/", links.link, name="link"),
    path("enrollment/links/<int:pk>/address", links.address, name="link_address"),
    path("enrollment/links/<int:pk>/revoke", links.revoke, name="link_revoke"),
    path("enrollment/arrivals/", arrivals.arrivals, name="arrivals"),
    path("enrollment/arrivals/refused/", arrivals.refused, name="arrivals_refused"),
    path("enrollment/arrivals/settings/", arrivals.settings, name="ade_settings"),
    path("enrollment/arrivals/trust", arrivals.trust, name="ade_trust"),
    path("ade/sign-in/<str:secret>/", sign_in.sign_in, name="ade_sign_in"),
    path("devices/<int:pk>/release-setup", holding.release, name="device_release_setup"),
    path("devices/<int:pk>/remove-management/", removal.remove, name="device_remove"),
]
