"""Where the pages about enrollment live."""

from django.urls import path

from enrollment.pages import links, removal

urlpatterns = [
    path("enrollment/links/", links.links, name="links"),
    path("enrollment/links/new/", links.create, name="link_create"),
    path("enrollment/links/<int:pk>/", links.link, name="link"),
    path("enrollment/links/<int:pk>/revoke", links.revoke, name="link_revoke"),
    path("devices/<int:pk>/remove-management/", removal.remove, name="device_remove"),
]
