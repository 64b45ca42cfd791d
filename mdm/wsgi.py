"""The WSGI application: devices' endpoints ahead of Django's middleware, all else through it."""

import gc
import os
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mdm.settings")

_django = get_wsgi_application()

from mdm import bodies, endpoints, forwarded  # noqa: E402 (the apps must be loaded first)
from mdm.health import readiness  # noqa: E402
from mdm.refusals import Refused  # noqa: E402
from mdm.turns import Turn  # noqa: E402

# The cache would load its client when it is first used, which is within the one second that
# sign-ins wait for one another: on a busy machine the second of two was turned away.
import redis  # noqa: E402, F401 # isort: skip

# What is loaded by now stays. The collector need not look through it again, nor look as often: a
# full collection holds up every request of this process.
gc.collect()
gc.freeze()
gc.set_threshold(50_000, 20, 20)


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    if environ["PATH_INFO"] == readiness.LIVE_PATH:
        return readiness.live(start_response)
    forwarded.believe(environ, settings.ENV.trusted_proxies)
    endpoint = endpoints.find(environ["PATH_INFO"])
    if not endpoints.is_served(environ["PATH_INFO"], endpoint):
        return _refused(_ELSEWHERE, start_response)
    if endpoint is None:
        return _through_django(environ, start_response)
    return endpoints.serve(endpoint, environ, start_response)


def _through_django(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    try:
        body = bodies.read(environ)
    except Refused as refusal:
        return _refused(refusal, start_response)
    with body, Turn():
        environ["wsgi.input"], environ["CONTENT_LENGTH"] = body, str(bodies.size(body))
        response = _django(environ, start_response)
        try:
            if isinstance(response, HttpResponse):
                return [response.content]
            # A table comes out of Postgres piece by piece, which needs the turn's connection.
            answer = bodies.keep(response)
        finally:
            response.close()
    return bodies.send(answer, environ)


_ELSEWHERE = Refused("elsewhere", "There is nothing here.", status=404)


def _refused(refusal: Refused, start_response: Any) -> list[bytes]:
    text = refusal.detail.encode()
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))]
    start_response(f"{refusal.status} {HTTPStatus(refusal.status).phrase}", headers)
    return [text]
