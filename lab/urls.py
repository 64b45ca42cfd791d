"""The lab's pages, below /lab/."""

from __future__ import annotations

from django.urls import path

from lab import portal_views, views

urlpatterns = [
    path("", views.lab, name="lab"),
    path("add", views.add, name="lab-add"),
    path("device", views.device, name="lab-device"),
    path("apns", views.apns, name="lab-apns"),
    path("portal/", portal_views.portal, name="lab-portal"),
    path("portal/server", portal_views.add_server, name="lab-portal-server"),
    path("portal/token", portal_views.token, name="lab-portal-token"),
    path("portal/buy", portal_views.buy, name="lab-portal-buy"),
    path("portal/devices", portal_views.devices, name="lab-portal-devices"),
    path("portal/csv", portal_views.csv, name="lab-portal-csv"),
    path("portal/default", portal_views.default, name="lab-portal-default"),
    path("portal/fault", portal_views.fault, name="lab-portal-fault"),
]
