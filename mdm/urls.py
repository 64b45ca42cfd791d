"""Where people's URLs lead. Devices' endpoints stand in mdm/wsgi.py, ahead of the middleware."""

from django.conf import settings
from django.urls import include, path, re_path

from mdm.accounts.views import RecoveryCodes, RecoveryCodesFile, Sessions, nothing_here
from mdm.api.answers import NothingHere

urlpatterns = [
    # Ahead of the core's pages, where any word after a device is one of its panels.
    path("", include("enrollment.pages.urls")),
    path("", include("mdm.pages.urls")),
    path("commands/", include("commands.pages.urls")),
    path("abm/", include("abm.pages.urls")),
    path("", include("profiles.pages.urls")),
    path("enroll/", include("enrollment.urls")),
    re_path(r"^accounts/(3rdparty/(login|signup)|social)/", nothing_here),
    path("accounts/2fa/recovery-codes/", RecoveryCodes.as_view()),
    path("accounts/2fa/recovery-codes/download/", RecoveryCodesFile.as_view()),
    path("accounts/sessions/", Sessions.as_view()),
    path("accounts/", include("allauth.urls")),
    path("api/v1/", include("mdm.api_urls")),
    re_path(r"^api/", NothingHere.as_view()),
]
urlpatterns += [path(f"{app}/", include(f"{app}.urls")) for app in settings.ENV.extra_apps]
