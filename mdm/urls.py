"""Where people's URLs lead. Devices' endpoints stand in mdm/wsgi.py, ahead of the middleware."""

from django.urls import include, path

urlpatterns = [
    path("accounts/", include("allauth.urls")),
]
