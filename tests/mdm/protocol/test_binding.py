"""What an identity certificate says it is for, written and read."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from mdm.protocol.binding import PREFIX, BadBinding, Binding, NoBinding, Purpose

printable = st.text(min_size=1, max_size=60).filter(str.isprintable)
bindings = st.builds(
    Binding,
    purpose=st.sampled_from([Purpose.DEVICE, Purpose.USER_ENROLLMENT]),
    way=st.sampled_from(["link", "ade"]),
    reference=printable,
    serial_number=st.none() | printable,
) | st.builds(
    Binding,
    purpose=st.just(Purpose.RENEWAL),
    way=st.just("renewal"),
    reference=printable,
    enrollment=printable,
)


def certificate(*extensions: x509.ExtensionType) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([]), datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, hashes.SHA256())


def alternative_names(*uris: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])


@given(bindings)
def test_a_binding_comes_back_from_its_uri_as_it_was(binding: Binding) -> None:
    assert binding.to_uri().isascii()
    assert Binding.from_uri(binding.to_uri()) == binding


def test_a_binding_is_read_from_a_certificate() -> None:
    binding = Binding(Purpose.DEVICE, "link", "17", serial_number="C02XX1234")
    names = alternative_names("https://example.com", binding.to_uri())
    assert Binding.from_certificate(certificate(names)) == binding


@pytest.mark.parametrize("extensions", [(), (alternative_names("https://example.com"),)])
def test_a_certificate_without_a_binding_says_so(
    extensions: tuple[x509.ExtensionType, ...],
) -> None:
    with pytest.raises(NoBinding):
        Binding.from_certificate(certificate(*extensions))


def test_two_bindings_in_one_certificate_are_refused() -> None:
    uris = [Binding(Purpose.DEVICE, "link", str(n)).to_uri() for n in (1, 2)]
    with pytest.raises(BadBinding, match="more than once"):
        Binding.from_certificate(certificate(alternative_names(*uris)))


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "urn:guardmdm:identity:v2?=purpose=device&way=link&reference=1",
        PREFIX,
        PREFIX + "purpose=device&way=link",
        PREFIX + "purpose=admin&way=link&reference=1",
        PREFIX + "way=link&purpose=device&reference=1",
        PREFIX + "purpose=device&purpose=device&way=link&reference=1",
        PREFIX + "purpose=device&way=link&reference=1&reference=2",
        PREFIX + "purpose=device&way=link&reference=1&colour=red",
        PREFIX + "purpose=device&way=link&reference=1&serial_number=",
        PREFIX + "purpose=device&way=link&reference=%31",
        PREFIX + "purpose=device&way=link&reference=%ff",
        PREFIX + "purpose=device&way=link&reference=a%00b",
        PREFIX + "purpose=device&way=link&reference=1&enrollment=x",
        PREFIX + "purpose=renewal&way=renewal&reference=1",
        PREFIX + "purpose=device&way=link&reference=" + "1" * 256,
        PREFIX + "purpose=device&way=link&reference=" + "%20" * 1000,
    ],
)
def test_an_uri_that_this_server_would_not_write_is_refused(uri: str) -> None:
    with pytest.raises(BadBinding):
        Binding.from_uri(uri)


@given(st.text() | st.text().map(PREFIX.__add__))
def test_no_uri_raises_anything_but_bad_binding(uri: str) -> None:
    with suppress(BadBinding):
        Binding.from_uri(uri)
