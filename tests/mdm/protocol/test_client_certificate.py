"""The proxy's client certificate header, in both forms."""

from __future__ import annotations

import base64
import contextlib
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from mdm.protocol.client_certificate import HEADER_LENGTH, certificate_from_header
from mdm.protocol.errors import BadCertificateHeader
from tests.mdm.protocol import cms

FORMS = ["rfc9440", "nginx"]


def rfc9440(encoded: bytes) -> str:
    return f":{base64.b64encode(encoded).decode()}:"


def pem() -> str:
    return cms.rsa_identity().certificate.public_bytes(Encoding.PEM).decode()


def nginx(text: str) -> str:
    return quote(text, safe="")


def value(form: str) -> str:
    return rfc9440(cms.rsa_identity().der) if form == "rfc9440" else nginx(pem())


@pytest.mark.parametrize("form", FORMS)
def test_the_certificate_comes_out_as_it_is(form) -> None:
    assert certificate_from_header(value(form), form).der == cms.rsa_identity().der


def test_nginx_may_leave_safe_characters_unescaped() -> None:
    text = quote(pem(), safe="/=:-")
    assert certificate_from_header(text, "nginx").der == cms.rsa_identity().der


@pytest.mark.parametrize("form", FORMS)
def test_two_headers_joined_by_the_server_are_refused(form) -> None:
    for separator in (",", ", ", "", " "):
        with pytest.raises(BadCertificateHeader):
            certificate_from_header(value(form) + separator + value(form), form)


@pytest.mark.parametrize("form", FORMS)
def test_one_form_is_not_read_as_the_other(form) -> None:
    other = next(name for name in FORMS if name != form)
    with pytest.raises(BadCertificateHeader):
        certificate_from_header(value(other), form)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("junk", ["", ":", "::", ":::", "(null)", "%", "%ff", ":AAAA:", "\0", "é"])
def test_junk_is_refused(form, junk: str) -> None:
    with pytest.raises(BadCertificateHeader):
        certificate_from_header(junk, form)


def test_bytes_round_the_certificate_are_refused() -> None:
    certificate = cms.rsa_identity().der
    for encoded in (certificate + b"\0", b"\0" + certificate, certificate[:-1], certificate * 2):
        with pytest.raises(BadCertificateHeader):
            certificate_from_header(rfc9440(encoded), "rfc9440")


def test_a_private_key_or_a_second_certificate_in_the_pem_is_refused() -> None:
    for text in (pem() * 2, pem().replace("CERTIFICATE", "PRIVATE KEY"), "x" + pem()):
        with pytest.raises(BadCertificateHeader):
            certificate_from_header(nginx(text), "nginx")


@pytest.mark.parametrize("form", FORMS)
def test_an_oversize_header_is_refused(form) -> None:
    with pytest.raises(BadCertificateHeader) as caught:
        certificate_from_header(":" * (HEADER_LENGTH + 1), form)
    assert caught.value.reason == "too-large"


@given(st.text(max_size=300), st.sampled_from(FORMS))
def test_arbitrary_text_is_refused_cleanly(text: str, form) -> None:
    with pytest.raises(BadCertificateHeader):
        certificate_from_header(text, form)


@given(st.data(), st.sampled_from(FORMS))
def test_a_damaged_header_is_read_or_refused_cleanly(data: st.DataObject, form) -> None:
    text = value(form)
    at = data.draw(st.integers(0, 2**16)) % len(text)
    damaged = text[:at] + data.draw(st.text(max_size=3)) + text[at + 1 :]
    with contextlib.suppress(BadCertificateHeader):
        certificate_from_header(damaged, form)
