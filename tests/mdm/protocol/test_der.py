"""The ASN.1 reader agrees with asn1crypto, and never reads past what it was given."""

from __future__ import annotations

import pytest
from asn1crypto import parser
from hypothesis import given
from hypothesis import strategies as st

from mdm.protocol import der


@given(st.binary(max_size=200))
def test_an_element_has_the_bounds_that_asn1crypto_sees(data: bytes) -> None:
    try:
        element = der.read(data, 0, len(data))
    except der.BadDer:
        return
    _class, _method, tag, head, content, trailer = parser.parse(data[: element.after], strict=True)
    assert element.tag & 0x1F == tag
    assert element.content == len(head)
    assert data[element.content : element.end] == content
    assert element.after - element.end == len(trailer)


@given(st.integers(0, 30), st.binary(max_size=70_000))
def test_every_element_with_a_definite_length_is_read(tag: int, content: bytes) -> None:
    encoded = parser.emit(0, 0, tag, content)
    element = der.read(encoded, 0, len(encoded))
    assert encoded[element.content : element.end] == content
    assert element.after == len(encoded)


def test_an_indefinite_length_ends_at_its_own_marker() -> None:
    data = b"\x30\x80\x30\x80\x02\x01\x00\x00\x00\x04\x02\x00\x00\x00\x00\xff"
    outer = der.read(data, 0, len(data))
    assert (outer.end, outer.after) == (13, 15)
    assert [child.tag for child in der.children(data, outer)] == [0x30, 0x04]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x30",
        b"\x30\x01",
        b"\x30\x82\x01",
        b"\x30\x85\x00\x00\x00\x00\x00",
        b"\x30\x84\xff\xff\xff\xff",
        b"\x1f\x81\x00\x00",
        b"\x04\x80\x00\x00",
        b"\x30\x80",
        b"\x30\x80\x00",
        b"\x3f\x80\x00\x00",
    ],
)
def test_what_is_cut_short_or_oddly_encoded_is_refused(data: bytes) -> None:
    with pytest.raises(der.BadDer):
        der.read(data, 0, len(data))


def test_an_element_does_not_reach_past_its_parent() -> None:
    data = b"\x30\x03\x04\x02\x00\x00"
    with pytest.raises(der.BadDer):
        der.children(data, der.read(data, 0, len(data)))


def test_indefinite_lengths_nested_without_end_are_refused() -> None:
    data = b"\x30\x80" * 10_000 + b"\0\0" * 10_000
    with pytest.raises(der.BadDer):
        der.read(data, 0, len(data))


def test_more_children_than_wanted_are_refused() -> None:
    data = b"\x30\x82\x08\x00" + b"\x05\x00" * 1024
    with pytest.raises(der.BadDer):
        der.children(data, der.read(data, 0, len(data)))


def test_one_element_must_fill_the_data() -> None:
    assert der.only(b"\x30\x02\x05\x00", der.SEQUENCE).end == 4
    for data in (b"\x30\x02\x05\x00\x00", b"\x31\x02\x05\x00", b"\x30\x80\x00\x00"):
        with pytest.raises(der.BadDer):
            der.only(data, der.SEQUENCE)
