"""MachineInfo: only what a device of Apple's has signed is believed, whatever dates say."""

from __future__ import annotations

import datetime as dt
import plistlib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import cms as asn1
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from hypothesis import example, given, settings
from hypothesis import strategies as st

from enrollment.wire import machine_info
from enrollment.wire.machine_info import (
    BadSignature,
    Foreign,
    MachineInfoError,
    Trust,
    Unreadable,
    Unsigned,
    proven,
    read,
)
from lab import cms

_ADE = Path(__file__).parents[4] / "shared/fixtures/ade"
needs_fixtures = pytest.mark.skipif(not _ADE.exists(), reason="no captured messages here")

SAID = {"UDID": "U-1", "SERIAL": "f2lxk0abcd ", "PRODUCT": "iPhone15,2", "VERSION": "23B85"}
_LONG_AGO = dt.datetime(2007, 4, 12, tzinfo=dt.UTC)


@cache
def key(name: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def certificate(
    name: str,
    issuer: str,
    *,
    ca: bool = True,
    issuer_key: str = "",
    own_key: str = "",
    digest: hashes.HashAlgorithm | None = None,
    path_length: int | None = None,
    more: tuple[x509.ExtensionType, ...] = (),
) -> x509.Certificate:
    """One whose time has been over for years."""

    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    builder = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named(issuer))
        .public_key(key(own_key or name).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_LONG_AGO)
        .not_valid_after(_LONG_AGO + dt.timedelta(days=365))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
    )
    for each in more:
        builder = builder.add_extension(each, critical=False)
    return builder.sign(key(issuer_key or issuer), digest or hashes.SHA256())


@cache
def root() -> x509.Certificate:
    return certificate("Root", "Root")


@cache
def above() -> x509.Certificate:
    return certificate("Middle", "Root")


@cache
def device_ca() -> x509.Certificate:
    return certificate("Some Device CA", "Middle")


@cache
def leaf() -> x509.Certificate:
    return certificate("device", "Some Device CA", ca=False)


TRUST = Trust(roots=(root(),))


def message(
    signer: x509.Certificate | None = None,
    chain: tuple[x509.Certificate, ...] | None = None,
    *,
    signing_key: str = "device",
    digest: str = "sha256",
    **said: Any,
) -> bytes:
    given = (device_ca(), above(), root()) if chain is None else chain
    content = plistlib.dumps({**SAID, **said})
    return cms.sign(
        content,
        cms.Signer(signer or leaf(), key(signing_key), digest),
        detached=False,
        chain=given,
    )


# --- Believed ------------------------------------------------------------------------------------


@needs_fixtures
def test_a_message_that_a_mac_really_signed_is_believed() -> None:
    chain = x509.load_pem_x509_certificates(
        (_ADE / "apple-iphone-device-ca-chain.pem").read_bytes()
    )
    apple = next(each for each in chain if each.subject == each.issuer)
    data = (_ADE / "ota-phase2-signed-by-device.p7").read_bytes()
    said = plistlib.loads(proven(data, Trust(roots=(apple,))))
    assert said["SERIAL"]
    assert said["PRODUCT"].startswith(("Mac", "Virtual"))
    with pytest.raises(Foreign):
        proven(data, TRUST)
    # It was signed for somebody's over-the-air enrollment: whoever was that could send it here.
    with pytest.raises(Unreadable, match="over-the-air") as refused:
        read(data, Trust(roots=(apple,)))
    assert refused.value.claimed_serial == said["SERIAL"]


@needs_fixtures
def test_one_that_nobody_signed_is_not() -> None:
    with pytest.raises(Unsigned) as refused:
        read((_ADE / "machine-info-unsigned.plist").read_bytes(), TRUST)
    assert refused.value.claimed_serial.startswith("BLXLN")


def test_what_it_says_is_read() -> None:
    info = read(
        message(
            OS_VERSION="26.1",
            MDM_CAN_REQUEST_SOFTWARE_UPDATE=True,
            PAIRING_TOKEN=b"token",
            LANGUAGE="de\u200b",
            IMEI=7,
        ),
        TRUST,
    )
    assert (info.serial_number, info.udid, info.build) == ("F2LXK0ABCD", "U-1", "23B85")
    assert (info.os_version, info.can_request_software_update) == ("26.1", True)
    assert (info.pairing_token, info.language, info.imei) == (b"token", "de", "")


@pytest.mark.parametrize("digest", ["sha1", "sha256"])
def test_old_digests_are_fine(digest: str) -> None:
    assert read(message(digest=digest), TRUST).serial_number == "F2LXK0ABCD"


def test_an_intermediate_that_is_left_out_may_be_here() -> None:
    short = message(chain=(device_ca(),))
    with pytest.raises(Foreign):
        read(short, TRUST)
    assert read(short, Trust(roots=(root(),), intermediates=(above(),))).udid == "U-1"


# --- Not believed --------------------------------------------------------------------------------


def test_another_root_of_the_same_name_counts_for_nothing() -> None:
    forged_root = certificate("Root", "Root", own_key="forger", issuer_key="forger")
    forged_ca = certificate("Some Device CA", "Root", own_key="forged ca", issuer_key="forger")
    forged = certificate("device", "Some Device CA", ca=False, issuer_key="forged ca")
    with pytest.raises(Foreign) as refused:
        read(message(forged, (forged_ca, forged_root)), TRUST)
    assert refused.value.claimed_serial == "F2LXK0ABCD"
    assert "Some Device CA" in str(refused.value)


def test_a_developers_certificate_under_the_same_root_counts_for_nothing() -> None:
    relations = certificate("Developer Relations CA", "Root")
    developer = certificate("developer", "Developer Relations CA", ca=False)
    with pytest.raises(Foreign):
        read(message(developer, (relations, root()), signing_key="developer"), TRUST)


def test_a_device_issues_no_certificates() -> None:
    child = certificate("Child Device CA", "device", own_key="child")
    grandchild = certificate("grandchild", "Child Device CA", ca=False, issuer_key="child")
    chain = (child, leaf(), device_ca(), above(), root())
    with pytest.raises(Foreign):
        read(message(grandchild, chain, signing_key="grandchild"), TRUST)


def test_a_ca_is_no_device() -> None:
    posing = certificate("posing", "Some Device CA", ca=True)
    with pytest.raises(Foreign):
        read(message(posing, signing_key="posing"), TRUST)


def test_only_with_keys_that_a_root_vouches_for_is_calculated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # One key and one name for all: each is the issuer of each, and could be as slow as it likes.
    knot = tuple(certificate("Our Device CA", "Our Device CA") for _ in range(12))
    own = certificate("device", "Our Device CA", ca=False)
    asked: list[x509.Certificate] = []
    whole = machine_info._issued
    monkeypatch.setattr(
        machine_info,
        "_issued",
        lambda issuer, issued: asked.append(issuer) or whole(issuer, issued),
    )
    with pytest.raises(Foreign):
        read(message(own, knot), TRUST)
    assert set(asked) == {root()}


def test_many_that_have_signed_each_other_are_visited_once() -> None:
    # Below the root, so that each is vouched for.
    knot = [certificate("Our Device CA", "Root"), certificate("Our Device CA", "Our Device CA")]
    knot += [certificate("Our Device CA", "Our Device CA") for _ in range(4)]
    found = machine_info._vouched(knot, (root(),))
    assert len(found) == len({each for each, _ in found}) == 7


@pytest.mark.parametrize("name", ["Corporate Device CAtalogue", "Gadget-device CA", "NoDevice CA"])
def test_a_ca_is_a_device_ca_by_its_whole_name(name: str) -> None:
    other = certificate(name, "Root")
    with pytest.raises(Foreign):
        read(message(certificate("device", name, ca=False, own_key="device"), (other,)), TRUST)


def usage(*, signs_certificates: bool) -> x509.KeyUsage:
    names = "digital_signature content_commitment key_encipherment data_encipherment key_agreement"
    others = dict.fromkeys([*names.split(), "crl_sign", "encipher_only", "decipher_only"], False)
    return x509.KeyUsage(key_cert_sign=signs_certificates, **others)


@pytest.mark.parametrize("signs", [True, False])
def test_a_ca_whose_key_is_not_for_certificates_issues_none(signs: bool) -> None:
    own = certificate("Own Device CA", "Root", more=(usage(signs_certificates=signs),))
    sent = message(certificate("device", "Own Device CA", ca=False, own_key="device"), (own,))
    if signs:
        assert read(sent, TRUST).udid == "U-1"
    else:
        with pytest.raises(Foreign):
            read(sent, TRUST)


@pytest.mark.parametrize(("allowed", "believed"), [(0, False), (1, True), (None, True)])
def test_a_ca_has_no_more_cas_below_it_than_it_may(allowed: int | None, believed: bool) -> None:
    upper = certificate("Upper", "Root", path_length=allowed)
    lower = certificate("Lower Device CA", "Upper")
    sent = message(
        certificate("device", "Lower Device CA", ca=False, own_key="device"), (upper, lower)
    )
    if believed:
        assert read(sent, TRUST).udid == "U-1"
    else:
        with pytest.raises(Foreign):
            read(sent, TRUST)


def test_extensions_that_nobody_can_read_are_no_ca() -> None:
    """An x400Address, which cryptography does not know."""
    x400 = x509.UnrecognizedExtension(
        x509.SubjectAlternativeName.oid, b"\x30\x06\xa3\x04\x30\x02\x31\x00"
    )
    odd = certificate("odd", "odd", ca=False, own_key="device", issuer_key="device", more=(x400,))
    with pytest.raises(Foreign):
        read(message(odd, ()), TRUST)
    odd_ca = certificate("Odd Device CA", "Root", more=(x400,))
    own = certificate("device", "Odd Device CA", ca=False, own_key="device")
    with pytest.raises(Foreign):
        read(message(own, (odd_ca,)), TRUST)


@pytest.mark.parametrize("key", ["CHALLENGE", "NotOnConsole", "UserID"])
def test_what_was_signed_for_an_over_the_air_enrollment_is_none(key: str) -> None:
    with pytest.raises(Unreadable, match="over-the-air"):
        read(message(**{key: "x"}), TRUST)


@pytest.mark.parametrize("key", ["UDID", "PRODUCT", "VERSION"])
def test_one_that_leaves_out_what_every_device_says_is_none(key: str) -> None:
    with pytest.raises(Unreadable, match=key):
        read(message(**{key: ""}), TRUST)


def test_the_key_has_to_be_that_of_the_certificate() -> None:
    with pytest.raises(BadSignature):
        read(message(signing_key="somebody"), TRUST)


def test_content_that_was_changed_is_seen() -> None:
    with pytest.raises(BadSignature) as refused:
        read(message().replace(b"f2lxk0abcd", b"f2lxk0abce"), TRUST)
    assert refused.value.claimed_serial == "F2LXK0ABCE"


@pytest.mark.parametrize("serial", ["", "a b", "x" * 65, 7, None, "ä1"])
def test_a_serial_number_that_is_none_is_not_read(serial: object) -> None:
    said = {} if serial is None else {"SERIAL": serial}
    content = {key: value for key, value in SAID.items() if key != "SERIAL"} | said
    signed = cms.sign(
        plistlib.dumps(content),
        cms.Signer(leaf(), key("device")),
        detached=False,
        chain=(device_ca(), above()),
    )
    with pytest.raises(Unreadable):
        read(signed, TRUST)


def test_what_is_too_large_is_not_looked_at() -> None:
    with pytest.raises(Unreadable):
        read(message() + b"\0" * machine_info.MAX_MESSAGE, TRUST)


def test_a_signature_without_its_content_is_none() -> None:
    detached = cms.sign(b"", cms.Signer(leaf(), key("device")), detached=True)
    with pytest.raises(Unreadable):
        read(detached, TRUST)


def test_content_in_pieces_of_unknown_length_is_read() -> None:
    """BER, which Apple's encoder writes."""
    whole = message()
    content = plistlib.dumps(SAID)
    octets = cms.tlv(0x04, content)
    # [0] { OCTET STRING { piece, piece } }, each of indefinite length, takes the place of
    # [0] { OCTET STRING }; the lengths around it become indefinite too.
    pieces = (
        b"\xa0\x80\x24\x80"
        + cms.tlv(0x04, content[:100])
        + cms.tlv(0x04, content[100:])
        + b"\0\0\0\0"
    )
    at = whole.index(octets)
    assert read(_indefinite(whole, at, octets, pieces), TRUST).serial_number == "F2LXK0ABCD"


def _indefinite(whole: bytes, at: int, octets: bytes, pieces: bytes) -> bytes:
    """The message with its outer elements of indefinite length and the content in pieces."""
    info = asn1.ContentInfo.load(whole)["content"]
    parts = [info[name] for name in ("version", "digest_algorithms")]
    kind = info["encap_content_info"]["content_type"].dump()
    encap = b"\x30\x80" + kind + pieces + b"\0\0"
    rest = info["certificates"].dump() + info["signer_infos"].dump()
    signed = b"\x30\x80" + b"".join(part.dump() for part in parts) + encap + rest + b"\0\0"
    name = asn1.ContentInfo.load(whole)["content_type"].dump()
    return b"\x30\x80" + name + b"\xa0\x80" + signed + b"\0\0" + b"\0\0"


@given(data=st.binary(max_size=600))
@example(data=b"")
@example(data=b"\x30\x80" * 200)
def test_no_bytes_do_harm(data: bytes) -> None:
    with pytest.raises(MachineInfoError):
        read(data, TRUST)


@given(at=st.integers(0, 4_000), bit=st.integers(0, 7))
@settings(max_examples=300, deadline=None)
def test_no_change_of_a_good_message_makes_another_device_of_it(at: int, bit: int) -> None:
    good = bytearray(message())
    good[at % len(good)] ^= 1 << bit
    try:
        info = read(bytes(good), TRUST)
    except MachineInfoError:
        return
    assert (info.serial_number, info.udid) == ("F2LXK0ABCD", "U-1")
