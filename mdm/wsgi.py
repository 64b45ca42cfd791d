"""The WSGI application: devices' endpoints ahead of Django's middleware, all else through it."""

import gc
import os
from collections.abc import Iterable
from typing import Any

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mdm.settings")

_django = get_wsgi_application()

from mdm import endpoints  # noqa: E402 (the apps must be loaded first)

# What is loaded by now stays. The collector need not look through it again, nor look as often: a
# full collection holds up every request of this process.
gc.collect()
gc.freeze()
gc.set_threshold(50_000, 20, 20)


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    endpoint = endpoints.find(environ["PATH_INFO"])
    if endpoint is None:
        return _django(environ, start_response)
    return endpoints.serve(endpoint, environ, start_response)
