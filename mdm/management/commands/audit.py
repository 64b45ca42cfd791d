"""`manage.py audit`: prove that the audit log is as it was written, and take it out."""

from __future__ import annotations

import csv
import json
from argparse import ArgumentTypeError
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils.dateparse import parse_date, parse_datetime

from mdm.audit import export, selectors
from mdm.audit import seal as chain
from mdm.csv_export import harmless
from mdm.health import chain as rounds
from mdm.management.actor import command_line


class Command(BaseCommand):
    help = "Check the chain over the audit log (verify), or print its rows (export)."

    def add_arguments(self, parser: CommandParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True, metavar="ACT")
        verify = acts.add_parser("verify", help="check that no row was changed, added or removed")
        verify.add_argument(
            "--head",
            type=_head,
            metavar="NUMBER:HASH",
            help="a head that was written down elsewhere: the chain has to lead through it",
        )
        take = acts.add_parser("export", help="print the rows, the oldest first")
        take.add_argument("--format", choices=["jsonl", "csv"], default="jsonl")
        take.add_argument("--since", type=_moment, metavar="DATE", help="from then on (UTC)")
        take.add_argument("--until", type=_moment, metavar="DATE", help="before then (UTC)")

    def handle(self, *args: Any, **options: Any) -> None:
        act: Callable[[dict[str, Any]], None] = getattr(self, options["act"])
        act(options)

    def verify(self, options: dict[str, Any]) -> None:
        given = options["head"]
        far = rounds.farthest(given)
        try:
            report = chain.verify(command_line(), given, far)
        except chain.ChainError as error:
            raise CommandError(str(error)) from None
        rounds.keep(report, far)
        for each in report.breaks:
            row = f" (event {each.event})" if each.event is not None else ""
            self.stdout.write(f"Number {each.number}{row} {each.what}.")
        if report.broken > len(report.breaks):
            self.stdout.write(f"And {report.broken - len(report.breaks)} more.")
        self.stdout.write(f"{report.sealed} rows are sealed, {report.waiting} are not sealed yet.")
        self.stdout.write(f"Head: {report.head}")
        if report.broken:
            raise CommandError(
                "The chain is broken: the audit log is not as this server wrote it. docs/audit.md"
                " says what to do."
            )
        self.stdout.write("The chain is unbroken.")
        sealed = selectors.sealed()
        if sealed.late:
            raise CommandError(
                f"Rows since {sealed.waits_since:%Y-%m-%d %H:%M} UTC are not sealed, so a change of"
                " them could not be proven. docs/audit.md says what to look at."
            )

    def export(self, options: dict[str, Any]) -> None:
        since, until = options["since"], options["until"]
        asked = {"since": since, "until": until}
        narrowed = {name: moment.isoformat() for name, moment in asked.items() if moment}
        export.note(command_line(), "events", {"format": options["format"], **narrowed})
        write = self._csv() if options["format"] == "csv" else self._json
        # A transaction, so that rows are fetched as they are printed and not all beforehand.
        with transaction.atomic():
            for event in export.between(since, until).iterator(chunk_size=2_000):
                write(export.plain(event))

    def _json(self, row: dict[str, Any]) -> None:
        self.stdout.write(json.dumps(row))

    def _csv(self) -> Callable[[dict[str, Any]], None]:
        writer = csv.writer(self.stdout)
        begun = False

        def write(row: dict[str, Any]) -> None:
            nonlocal begun
            if not begun:
                writer.writerow(row)
                begun = True
            writer.writerow(
                harmless(json.dumps(value) if isinstance(value, dict | list) else value)
                for value in row.values()
            )

        return write


def _head(text: str) -> chain.Head:
    try:
        return chain.Head.parse(text)
    except ValueError:
        raise ArgumentTypeError("give it as `manage.py audit verify` prints it") from None


def _moment(text: str) -> datetime:
    """A date or a moment; without a time zone it is UTC."""
    try:
        day = parse_date(text)
        found = datetime(day.year, day.month, day.day) if day else parse_datetime(text)  # noqa: DTZ001
    except ValueError:
        found = None
    if found is None:
        raise ArgumentTypeError("give a date such as 2026-11-30, or with a time 2026-11-30T12:00")
    return found if found.tzinfo else found.replace(tzinfo=UTC)
