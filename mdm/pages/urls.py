"""Where the core's pages live; other apps' pages have a `pages/urls.py` of their own."""

from django.urls import path

from mdm.pages import (
    acts,
    audit,
    device,
    devices,
    overview,
    people,
    push_certificate,
    quarantine,
    refused,
    search,
    tokens,
)

urlpatterns = [
    path("", overview.overview, name="overview"),
    path("search/", search.search, name="search"),
    path("columns/<slug:slug>", devices.columns, name="columns"),
    path("devices/", devices.devices, name="devices"),
    path("devices/export.csv", devices.export, name="devices_export"),
    path("devices/<int:pk>/", device.device, name="device"),
    path("devices/<int:pk>/wake", acts.wake, name="device_wake"),
    path("devices/<int:pk>/retire/", acts.retire, name="device_retire"),
    path("devices/<int:pk>/unretire", acts.unretire, name="device_unretire"),
    path("devices/<int:pk>/release/", acts.release, name="device_release"),
    path("devices/<int:pk>/delete/", acts.delete, name="device_delete"),
    path("devices/<int:pk>/<slug:panel>/", device.device, name="device_panel"),
    path("devices/<int:pk>/live/<slug:panel>/", device.live, name="device_live"),
    path("enrollment/refused/", refused.refused, name="refused"),
    path("enrollment/quarantine/", quarantine.waiting, name="quarantine"),
    path("enrollment/quarantine/<int:pk>/", quarantine.case, name="quarantine_case"),
    path("settings/push-certificate/", push_certificate.show, name="push_certificate"),
    path("settings/people/", people.people, name="people"),
    path("settings/people/invite/", people.invite, name="people_invite"),
    path("settings/people/<int:pk>/deactivate/", people.deactivate, name="people_deactivate"),
    path("settings/people/<int:pk>/activate", people.activate, name="people_activate"),
    path("settings/people/<int:pk>/link", people.link, name="people_link"),
    path("settings/tokens/", tokens.tokens, name="tokens"),
    path("settings/tokens/new/", tokens.create, name="token_create"),
    path("settings/tokens/<slug:key>/revoke", tokens.revoke, name="token_revoke"),
    path("settings/audit/", audit.events, name="audit"),
]
