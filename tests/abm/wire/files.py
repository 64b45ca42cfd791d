"""Server tokens as Apple makes them, by openssl: an implementation that is not ours."""

from __future__ import annotations

import json
import subprocess
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

EXPIRY = datetime(2100, 1, 1, 12, tzinfo=UTC)


def words(name: str = "1", expiry: datetime = EXPIRY, **more: object) -> dict[str, object]:
    return {
        "consumer_key": f"CK_{name}",
        "consumer_secret": f"CS_{name}",
        "access_token": f"AT_{name}",
        "access_secret": f"AS_{name}",
        "access_token_expiry": expiry.strftime("%Y-%m-%dT%H:%M:%SZ"),
        **more,
    }


def content(token: object) -> bytes:
    """The MIME part inside, its JSON folded over lines."""
    text = token if isinstance(token, str) else json.dumps(token)
    folded = "\r\n".join(text[at : at + 60] for at in range(0, len(text), 60))
    head = "Content-Type: text/plain;charset=UTF-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n"
    return f"{head}-----BEGIN MESSAGE-----\r\n{folded}\r\n-----END MESSAGE-----\r\n".encode()


def sealed(certificate_pem: bytes, inside: bytes, *options: str, form: str = "SMIME") -> bytes:
    """`inside` for the holder of the certificate's key, in one of openssl's forms."""
    with tempfile.TemporaryDirectory() as folder:
        certificate = Path(folder) / "recipient.pem"
        certificate.write_bytes(certificate_pem)
        command = ("openssl", "cms", "-encrypt", "-binary", "-outform", form, *options)
        done = subprocess.run(
            (*command, str(certificate)), input=inside, capture_output=True, check=True
        )
    return done.stdout


def a_year_from(now: datetime) -> datetime:
    return (now + timedelta(days=365)).replace(microsecond=0)
