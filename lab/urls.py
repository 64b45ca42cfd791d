"""The lab's pages, below /lab/."""

from __future__ import annotations

from django.urls import path

from lab import views

urlpatterns = [
    path("", views.lab, name="lab"),
    path("add", views.add, name="lab-add"),
    path("device", views.device, name="lab-device"),
    path("apns", views.apns, name="lab-apns"),
]
