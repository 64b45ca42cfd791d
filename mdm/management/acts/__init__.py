"""What `manage.py guard` does beyond devices and commands: an act a module, each with `arguments`,
which adds its parser, and `run`, which does it and prints with the `Printer`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol


class Printer(Protocol):
    """Where an act prints."""

    def line(self, text: str) -> None: ...
    def json(self, data: object) -> None: ...
    def table(self, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None: ...
    def facts(self, facts: Iterable[tuple[str, str]]) -> None: ...
