"""`manage.py push_certificate`: install a push certificate, or show the one in use."""

from __future__ import annotations

import getpass
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from mdm.audit.actor import Actor
from mdm.models import PushCertificate
from mdm.push import certificate
from mdm.push.pem import PushCertificateError


class Command(BaseCommand):
    help = "Install the MDM push certificate, or show the one in use."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        install = actions.add_parser("install", help="put a push certificate to use")
        install.add_argument("file", type=Path, help="PEM or PKCS#12")
        install.add_argument("--key", type=Path, help="the private key, where FILE holds none")
        install.add_argument(
            "--password-file", type=Path, help="a file with the password of the key or of PKCS#12"
        )
        actions.add_parser("show", help="topic, expiry and problems of the one in use")

    def handle(self, *, action: str, **options: Any) -> None:
        if action == "show":
            self._show()
        else:
            self._install(options["file"], options["key"], options["password_file"])

    def _install(self, file: Path, key: Path | None, password_file: Path | None) -> None:
        actor = Actor.system(f"manage.py push_certificate ({getpass.getuser()})")
        password = _read(password_file).decode().rstrip("\r\n") if password_file else None
        try:
            installed = certificate.install(
                actor, _read(file), _read(key) if key else None, password
            )
        except PushCertificateError as error:
            raise CommandError(str(error)) from None
        self._print(installed)

    def _show(self) -> None:
        active = certificate.active()
        if active is not None:
            self._print(active)
        for warning in certificate.warnings():
            self.stdout.write(f"{warning.level}: {warning.sentence}")

    def _print(self, shown: PushCertificate) -> None:
        self.stdout.write(f"topic: {shown.topic}")
        self.stdout.write(f"serial: {shown.serial}")
        self.stdout.write(f"expires: {shown.not_after:%Y-%m-%d %H:%M} UTC")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}.") from None
