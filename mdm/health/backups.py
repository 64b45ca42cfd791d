"""Backups of the database: taking one with pg_dump, and noting one that was taken otherwise.

What is sealed in it is opened by GUARD_ENCRYPTION_KEYS alone, which are not in it.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from django.db import connection, transaction
from django.utils import timezone

from mdm.audit.actor import Actor
from mdm.audit.record import allow, record
from mdm.health.models import Backup
from mdm.local import postgres
from mdm.local.errors import MissingPart

_SUFFIX = ".dump"
_LONGEST = 200


class BackupFailed(Exception):
    """Why there is no backup; the message is for people."""


def take(actor: Actor, folder: Path, keep: int = 0) -> tuple[Path, Backup]:
    """Dump the database into a new file in `folder`, for `pg_restore`; then remove all but the
    newest `keep` of those made here, where that is not 0. Raises NotAllowed, BackupFailed.
    """
    allow(actor, "backup.note")
    file = folder / f"guardmdm-{timezone.now():%Y%m%d-%H%M%S}{_SUFFIX}"
    draft = file.with_suffix(".part")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft.touch(mode=0o600)
    except OSError as error:
        raise BackupFailed(f"{folder} cannot be written to: {error.strerror}.") from None
    try:
        _run("pg_dump", "--format=custom", "--no-password", f"--file={draft}", _database())
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
        for old in sorted(folder.glob(f"guardmdm-*{_SUFFIX}"))[:-keep]:
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


def _database() -> str:
    """The address without the password, which other users of the machine could read."""
    given = connection.get_connection_params()
    parts = {"host": "host", "port": "port", "user": "user", "dbname": "dbname"}
    parts |= {name: name for name in given if name.startswith("ssl")}
    quoted = (
        (name, str(given[key]).replace("\\", "\\\\").replace("'", "\\'"))
        for key, name in parts.items()
        if given.get(key)
    )
    return "--dbname=" + " ".join(f"{name}='{value}'" for name, value in quoted)


def _run(program: str, *arguments: str) -> None:
    try:
        binary = postgres.binary(program)
    except MissingPart as missing:
        raise BackupFailed(str(missing)) from None
    password = connection.get_connection_params().get("password")
    environ = {**os.environ, **({"PGPASSWORD": password} if password else {})}
    done = subprocess.run(
        [str(binary), *arguments], env=environ, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["nothing"]
        raise BackupFailed(f"{program} failed; it said: {said[-1]}")
