"""Backups of the database: taking one with pg_dump, and noting one that was taken otherwise.

What is sealed in it is opened by GUARD_ENCRYPTION_KEYS alone, which are not in it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import NamedTemporaryFile

from django.db import connection, transaction
from django.utils import timezone

from mdm.audit.actor import Actor
from mdm.audit.record import allow, record
from mdm.health import readiness
from mdm.health.models import Backup
from mdm.local import postgres
from mdm.local.errors import MissingPart

_SUFFIX, _DRAFT = ".dump", ".part"
# A draft that is older was left by a backup that was ended.
_LEFT_FOR = timedelta(days=1)
_SERVICE = "guardmdm"
_LONGEST = 200


class BackupFailed(Exception):
    """Why there is no backup; the message is for people."""


def take(actor: Actor, folder: Path, keep: int = 0) -> tuple[Path, Backup]:
    """Dump the database into a new file in `folder`, for `pg_restore`; then remove all but the
    newest `keep` of those made here, where that is not 0. Raises NotAllowed, BackupFailed.
    """
    allow(actor, "backup.note")
    # Other servers may keep theirs in the same folder.
    ours = f"guardmdm-{readiness.who()[:8]}-"
    file = folder / f"{ours}{timezone.now():%Y%m%d-%H%M%S}{_SUFFIX}"
    draft = file.with_suffix(_DRAFT)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sweep(folder.glob(f"{ours}*{_DRAFT}"))
        # A new file of our own, whatever somebody has put or linked there.
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY, 0o600))
    except OSError as error:
        raise BackupFailed(f"{folder} cannot be written to: {error.strerror}.") from None
    try:
        with _service() as where:
            _run(
                *("pg_dump", "--format=custom", "--no-password", f"--file={draft}"),
                *("--dbname", f"service={_SERVICE}"),
                PGSERVICEFILE=where,
            )
        # What cannot be read is no backup.
        _run("pg_restore", "--list", str(draft))
        with draft.open("rb") as written:
            os.fsync(written.fileno())
        draft.replace(file)
    except OSError as error:
        raise BackupFailed(f"{folder} cannot be written to: {error.strerror}.") from None
    finally:
        draft.unlink(missing_ok=True)
    noted = _note(actor, f"manage.py backup, {file.name}", file.stat().st_size)
    if keep:
        for old in sorted(folder.glob(f"{ours}*{_SUFFIX}"))[:-keep]:
            old.unlink()
    return file, noted


def note(actor: Actor, how: str) -> Backup:
    """Somebody backed the database up in their own way. Raises NotAllowed, BackupFailed."""
    allow(actor, "backup.note")
    how = " ".join(how.split())
    if not how or len(how) > _LONGEST or not how.isprintable():
        raise BackupFailed(f"Say in at most {_LONGEST} characters how it was taken.")
    return _note(actor, how, None)


def _note(actor: Actor, how: str, size: int | None) -> Backup:
    with transaction.atomic():
        noted = Backup.objects.create(
            at=timezone.now(), how=how[:_LONGEST], by=actor.name, size=size
        )
        after = {"how": noted.how, "size": size}
        record(actor, "backup.note", subject_kind="backup", subject_id=noted.pk, after=after)
    return noted


def _sweep(drafts: Iterable[Path]) -> None:
    before = (timezone.now() - _LEFT_FOR).timestamp()
    for draft in drafts:
        if draft.lstat().st_mtime < before:
            draft.unlink(missing_ok=True)


@contextmanager
def _service() -> Iterator[str]:
    """A file that says how to connect, as this very process does, for as long as that takes: other
    users of the machine could read what stands among the arguments.
    """
    connection.ensure_connection()
    given = {each.keyword: each.val for each in connection.connection.pgconn.info if each.val}
    # A service that they came from: the values are here already, and services do not nest.
    lines = [
        name + b"=" + value
        for name, value in given.items()
        if name not in {b"service", b"servicefile"}
    ]
    with NamedTemporaryFile(prefix="guardmdm-") as file:  # 0600
        file.write(b"\n".join([f"[{_SERVICE}]".encode(), *lines, b""]))
        file.flush()
        yield file.name


def _run(program: str, *arguments: str, **environ: str) -> None:
    try:
        binary = postgres.binary(program)
    except MissingPart as missing:
        raise BackupFailed(str(missing)) from None
    done = subprocess.run(
        [str(binary), *arguments],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["nothing"]
        raise BackupFailed(f"{program} failed; it said: {said[-1]}")
