"""Where people's URLs lead. Devices' endpoints stand in mdm/wsgi.py, ahead of the middleware."""

from django.urls import include, path, re_path

from mdm.api.answers import NothingHere

urlpatterns = [
    path("enroll/", include("enrollment.urls")),
    path("accounts/", include("allauth.urls")),
    path("api/v1/", include("mdm.api_urls")),
    re_path(r"^api/", NothingHere.as_view()),
]
