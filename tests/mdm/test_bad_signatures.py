"""Signatures and certificates that do not speak for a device: none does, and none is our error."""

from __future__ import annotations

import plistlib
import ssl
from dataclasses import replace
from ipaddress import ip_network
from urllib.parse import quote

import pytest
from asn1crypto import x509 as asn1_x509
from hypothesis import given
from hypothesis import strategies as st

from mdm import refusals
from mdm.env import IdentityMode
from mdm.models import Enrollment
from tests import machines
from tests.machines import Machine
from tests.mdm.hostile import ENDPOINTS, EXAMPLES, enrolled_mac, everything, is_clean, send
from tests.mdm.protocol import cms
from tests.mdm.protocol.plists import damaged

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def server(db):
    machines.install_authority()
    machines.install_push_certificate()
    refusals.tally.__init__()


def signatures(machine: Machine, body: bytes) -> dict[str, str]:
    """Signatures that do not speak for this machine, by name."""
    own = cms.Identity(machines.key(machine.key_number), machine.certificate)
    stranger = cms.rsa_identity("stranger")
    genuine = cms.sign(body, own)
    return {
        "nothing": "",
        "no base64": "%%%",
        "base64 of nothing": "====",
        "not ASCII": "é" * 100,
        "another body": cms.header(cms.sign(body + b" ", own)),
        "a stranger": cms.header(cms.sign(body, stranger)),
        "a stranger who brings our certificate": cms.header(
            cms.sign(body, stranger, certificates=[stranger.der, own.der])
        ),
        "our certificate without our key": cms.header(
            cms.sign(body, cms.Identity(stranger.key, machine.certificate))
        ),
        "no certificate": cms.header(cms.sign(body, own, certificates=[])),
        "two signers": cms.header(cms.sign(body, own, stranger)),
        "twice the same signer": cms.header(cms.sign(body, own, own)),
        "content of its own": cms.header(cms.sign(body, own, content=body)),
        "another kind of content": cms.header(cms.sign(body, own, content_type="signed_data")),
        "two joined": f"{cms.header(genuine)},{cms.header(genuine)}",
        "cut short": cms.header(genuine[:-1]),
        "cut to its head": cms.header(genuine[:10]),
        "more than itself": cms.header(genuine + b"\0"),
        "indefinite all the way": cms.header(b"\x30\x80" * 4000),
        "too large": cms.header(bytes(200_000)),
        "a length of terabytes": cms.header(b"\x30\x86\xff\xff\xff\xff\xff\xff" + genuine),
    }


def test_no_other_signature_speaks_for_a_device():
    machine, messages = enrolled_mac()
    before = everything()
    for path, message in messages.items():
        body = plistlib.dumps(message)
        answers = {
            name: send(path, body, signature).status
            for name, signature in signatures(machine, body).items()
        }
        strangers = {name for name, status in answers.items() if status == 403}
        assert strangers == {"a stranger", "a stranger who brings our certificate"}
        assert {status for name, status in answers.items() if name not in strangers} == {400}
    assert everything() == before


def test_a_signed_request_says_nothing_for_another_enrollment():
    machine, messages = enrolled_mac()
    other = Machine.enrolled()
    before = everything()
    for path, message in messages.items():
        body = plistlib.dumps(message)
        theirs = plistlib.dumps({**message, **other.ids})
        assert send(path, body, other.sign(body)).status == 403
        assert send(path, theirs, machine.sign(theirs)).status == 403
        assert send(path, theirs, machine.sign(body)).status == 400
    assert everything() == before


@pytest.mark.parametrize("path", ENDPOINTS)
def test_no_damaged_signature_is_an_error_of_ours(path):
    machine, _ = enrolled_mac()
    body = plistlib.dumps({"MessageType": "GetBootstrapToken", "Status": "Idle", **machine.ids})
    genuine = cms.sign(body, cms.Identity(machines.key(), machine.certificate))
    before = everything()

    @EXAMPLES
    @given(damaged([genuine]))
    def each(signature: bytes) -> None:
        answered = send(path, body, cms.header(signature))
        # Some of it, such as what is not signed, may be changed without harm.
        assert is_clean(answered) or answered.status == 200

    Enrollment.objects.update(state="Authenticated")
    each()
    Enrollment.objects.update(state="Enrolled")
    assert everything() == before


@EXAMPLES
@given(header=st.text(max_size=200))
def test_no_text_as_signature_is_an_error_of_ours(header):
    assert is_clean(send("/mdm/connect", b"body", header))


# --- Certificates that somebody made by hand


def odd_certificates(genuine: bytes) -> dict[str, bytes]:
    """The certificate with other contents, which nobody signed, by what is odd about it."""

    def remade(**fields: object) -> bytes:
        held = asn1_x509.Certificate.load(genuine)
        for name, value in fields.items():
            held["tbs_certificate"][name] = value
        return held.dump(force=True)

    extensions = list(asn1_x509.Certificate.load(genuine)["tbs_certificate"]["extensions"])
    with_sha256, with_nothing = map(bytes.fromhex, ("2a864886f70d01010b", "2a864886f70d01017e"))
    return {
        "version 9": remade(version=8),
        "no extensions": remade(extensions=[]),
        "every extension twice": remade(extensions=[*extensions, *extensions]),
        "a name that is none": genuine.replace(b"urn:guardmdm:", b"urn:guardmd\xff:"),
        "another's binding": genuine.replace(b"purpose=device", b"purpose=dvice\x00"),
        "an unknown signature algorithm": genuine.replace(with_sha256, with_nothing),
        "a time that is none": genuine.replace(b"Z", b"Y", 1),
        "a key that is none": genuine.replace(b"\x02\x03\x01\x00\x01", b"\x02\x03\x00\x00\x00", 1),
    }


@pytest.mark.parametrize("mode", IdentityMode)
def test_no_certificate_made_by_hand_enrolls_anything(mode, settings):
    machine = Machine.new()
    own = cms.Identity(machines.key(), machine.certificate)
    body = plistlib.dumps(
        {"MessageType": "Authenticate", "Topic": machine.topic, "UDID": machine.udid}
    )
    proxies = (ip_network("127.0.0.1"),)
    settings.ENV = replace(settings.ENV, identity_mode=mode, trusted_proxies=proxies)
    before = everything()

    answers = {}
    for name, odd in odd_certificates(own.der).items():
        assert odd != own.der, name
        answers[name] = machines.put(
            "/mdm/checkin",
            body,
            machines.CHECKIN,
            HTTP_MDM_SIGNATURE=cms.header(cms.sign(body, own, certificates=[odd])),
            HTTP_CLIENT_CERT=f":{cms.header(odd)}:",
            HTTP_X_CLIENT_CERT=quote(ssl.DER_cert_to_PEM_cert(odd)),
        )

    assert {name: one.status for name, one in answers.items() if not is_clean(one)} == {}
    assert everything() == before
