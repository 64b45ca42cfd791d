"""What the lab's pages have in common: orders for the lab's own process, and the numbers in their
forms."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest

from lab.control import ask
from lab.errors import LabError
from lab.place import Place
from mdm.pages.frame import complain, say


def order(do: str, **arguments: Any) -> dict[str, Any]:
    """Have the lab do something. Raises LabError."""
    return ask(Place.under(settings.ENV.state_dir).socket, do, **arguments)


def carry_out(request: HttpRequest, told: str, do: str, **arguments: Any) -> None:
    """The same for a person, who is told that it was done, or why it was not."""
    try:
        order(do, **arguments)
    except LabError as error:
        complain(request, str(error))
    else:
        say(request, told)


def number(request: HttpRequest, most: int) -> int | None:
    """The field `count`, from 1 to `most`."""
    said = request.POST.get("count", "")
    if said.isascii() and said.isdigit() and len(said) < 10 and 0 < int(said) <= most:
        return int(said)
    return None


def times(request: HttpRequest) -> int | None:
    """How often a fault happens: 0 is always, which is None; 1 where nothing sensible is said."""
    said = request.POST.get("count", "1")
    sensible = said.isascii() and said.isdigit() and len(said) < 7
    return (int(said) or None) if sensible else 1
