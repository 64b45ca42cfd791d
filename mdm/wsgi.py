"""The WSGI application: devices' endpoints ahead of Django's middleware, all else through it."""

import os
from collections.abc import Iterable
from typing import Any

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mdm.settings")

_django = get_wsgi_application()

from mdm import endpoints  # noqa: E402 (the apps must be loaded first)


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    endpoint = endpoints.find(environ["PATH_INFO"])
    if endpoint is None:
        return _django(environ, start_response)
    return endpoints.serve(endpoint, environ, start_response)
