"""Serial numbers from a file or pasted: what is known of each, and the known ones as a selection of
the list of ABM devices. How they are read stands in `abm/serials.py`.
"""

from __future__ import annotations

import secrets
from typing import Any

from django.core.cache import cache
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render

from abm import serials
from abm.known import look_up
from abm.pages.devices import person
from abm.serials import Found, Unreadable
from mdm import selection
from mdm.csv_export import harmless
from mdm.pages.frame import form_page, page

_SECONDS = 3600
_LISTED = 1_000


@form_page("server.read")
def import_serials(request: HttpRequest) -> HttpResponse:
    """Choose a file or paste; what was found is on the next page."""
    problem = ""
    if request.method == "POST":
        try:
            return redirect("abm:import_result", _keep(person(request), _read(request)))
        except Unreadable as error:
            problem = str(error)
    context = {"problem": problem, "pasted": request.POST.get("pasted", "")[:100_000]}
    return render(request, "abm/import.html", context, status=422 if problem else 200)


@page("server.read")
def result(request: HttpRequest, key: str) -> HttpResponse:
    found = _find(person(request), key)
    context = {
        **found,
        "key": key,
        "shown_unknown": found["unknown"][:_LISTED],
        "shown_problems": found["problems"][:_LISTED],
        "most": _LISTED,
    }
    return render(request, "abm/import_result.html", context)


@page("server.read")
def unknown(request: HttpRequest, key: str) -> StreamingHttpResponse:
    """The serial numbers that ABM does not list here, one a line."""
    found = _find(person(request), key)
    return _file((f"{serial}\r\n" for serial in found["unknown"]), "unknown-serial-numbers.csv")


@page("server.read")
def problems(request: HttpRequest, key: str) -> StreamingHttpResponse:
    """The lines that gave no serial number, with the reasons."""
    lines = [("Line", "Text", "Why"), *_find(person(request), key)["problems"]]
    quoted = (",".join(_quoted(harmless(cell)) for cell in line) + "\r\n" for line in lines)
    return _file(quoted, "lines-left-out.csv")


def _read(request: HttpRequest) -> Found:
    """What the form holds. Raises Unreadable."""
    file = request.FILES.get("file")
    if file is not None and file.size:
        return _checked(serials.read_file(file.read(serials.MAX_BYTES + 1)))
    pasted = request.POST.get("pasted", "")
    if not pasted.strip():
        empty = file is not None
        raise Unreadable("The file is empty." if empty else "Choose a file, or paste something.")
    return _checked(serials.read_pasted(pasted))


def _checked(found: Found) -> Found:
    if not found.serials and not found.problems:
        raise Unreadable("There are no serial numbers in it.")
    return found


def _keep(user_id: int, found: Found) -> str:
    """Look them up and keep what was found for an hour; returns the word that finds it again."""
    known = look_up(found.serials)
    kept = {
        "count": len(found.serials),
        "listed": len(known.listed),
        "listed_token": selection.freeze(user_id, list(known.listed.values())),
        "removed": len(known.removed),
        "removed_token": selection.freeze(user_id, list(known.removed.values())),
        "unknown": known.unknown,
        "problems": [(each.line, each.text, each.why) for each in found.problems],
    }
    key = secrets.token_urlsafe(12)
    cache.set(_key(user_id, key), kept, _SECONDS)
    return key


def _find(user_id: int, key: str) -> dict[str, Any]:
    found: dict[str, Any] | None = cache.get(_key(user_id, key[:32]))
    if found is None:
        raise Http404("This import is too old, or someone else's.")
    return found


def _key(user_id: int, key: str) -> str:
    return f"abm:import:{user_id}:{key}"


def _quoted(text: str) -> str:
    doubled = text.replace('"', '""')
    return f'"{doubled}"'


def _file(lines: Any, name: str) -> StreamingHttpResponse:
    answer = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    answer["Cache-Control"] = "no-store"
    return answer
