"""Something happens at the so manieth time that a step of the sync is come to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from abm import client, runs, store, sync

# Where each step is, by its name: before Apple is asked, within the transaction of a page (in
# order), and elsewhere in a run.
PLACES: dict[str, tuple[Any, str]] = {
    "ask": (client.Client, "_send"),
    "_write_devices": (store, "_write_devices"),
    "_mark_listed": (store, "_mark_listed"),
    "_write_ledger": (store, "_write_ledger"),
    "_tell": (store, "_tell"),
    "_count": (store, "_count"),
    "_log_page": (sync._Run, "_log_page"),
    "begin list": (store, "begin_list"),
    "relink": (store, "relink"),
    "finish": (runs, "finish"),
    "list": (client.Client, "list_devices"),
    "changes": (client.Client, "list_changes"),
    "details": (client.Client, "details"),
}
# What is come to when it is over: Apple has answered, and all of a page is written.
AFTER: dict[str, tuple[Any, str]] = {
    "asked": (client.Client, "_send"),
    "committed": (sync._Run, "_write"),
}
WITHIN = ("_write_devices", "_mark_listed", "_write_ledger", "_tell", "_count", "_log_page")


def place_of(step: str) -> tuple[Any, str]:
    """The owner and the name of what a step calls."""
    return PLACES.get(step) or AFTER[step]


def at(
    step: str, number: int, happen: Callable[[], None], call: Callable[..., Any] | None = None
) -> Callable[..., Any]:
    """What the step calls (or `call`), with `happen` at its `number`th time: after it for the
    steps that are come to when something is over."""
    usual = call or getattr(*place_of(step))
    calls = iter(range(1, 1_000_000))

    def wrapped(*given: Any, **more: Any) -> Any:
        here = next(calls) == number
        if here and step not in AFTER:
            happen()
        answer = usual(*given, **more)
        if here and step in AFTER:
            happen()
        return answer

    return wrapped
