"""Mdm-Signature as devices make it, checked by OpenSSL, a third party."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from lab.authority import Authority
from lab.signing import mdm_signature, sign_detached


@pytest.mark.parametrize("digest", ["sha256", "sha1"])
def test_openssl_verifies_a_signature_over_the_very_body(
    apple: Authority, tmp_path: Path, digest: str
) -> None:
    certificate, key = apple.push.load()
    (tmp_path / "body").write_bytes(b"<plist/>\r\n\x00 binary")
    (tmp_path / "signature").write_bytes(
        sign_detached(b"<plist/>\r\n\x00 binary", certificate, key, digest)
    )
    assert _verify(tmp_path, apple) == 0
    (tmp_path / "body").write_bytes(b"<plist/>\n\x00 binary")
    assert _verify(tmp_path, apple) != 0


def test_the_header_is_base64_of_the_signature_with_the_signers_certificate(
    apple: Authority,
) -> None:
    certificate, key = apple.push.load()
    decoded = base64.b64decode(mdm_signature(b"body", certificate, key), validate=True)
    assert certificate.public_bytes(Encoding.DER) in decoded


def _verify(folder: Path, apple: Authority) -> int:
    # The lab's push certificate stands in for a device's identity; its purpose does not matter.
    command = ["openssl", "cms", "-verify", "-binary", "-inform", "DER", "-purpose", "any"]
    command += ["-in", "signature", "-content", "body", "-CAfile", str(apple.root.certificate)]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    return done.returncode
