"""Where devices get the certificate by which they prove that they are Apple's: the lab's factory,
its root trusted as a stand-in's is.
"""

from __future__ import annotations

import plistlib
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from lab import cms
from lab.authority import Authority, ensure_authority
from tests import machines

UDID = "00008130-001A2B3C4D5E001E"


@cache
def factory() -> Authority:
    """Made once in a run of tests: its keys take a while."""
    return ensure_authority(Path(mkdtemp(prefix="guardmdm-factory-")))


def root() -> Path:
    return factory().root.certificate


def content(serial: str, **more: Any) -> bytes:
    """What a device says of itself, not signed."""
    said = {
        "UDID": UDID,
        "SERIAL": serial,
        "PRODUCT": "iPhone15,2",
        "VERSION": "23B85",
        "OS_VERSION": "26.1",
        "LANGUAGE": "en-US",
        **more,
    }
    return plistlib.dumps({key: value for key, value in said.items() if value is not None})


def machine_info(serial: str, *, foreign: bool = False, **more: Any) -> bytes:
    """The same, signed by the device; or by one of a CA that nobody knows."""
    key = machines.key(7)
    issue = factory().issue_foreign_certificate if foreign else factory().issue_device_certificate
    certificate, chain = issue(UDID, key)
    signer = cms.Signer(certificate, key)
    return cms.sign(content(serial, **more), signer, detached=False, chain=chain)
