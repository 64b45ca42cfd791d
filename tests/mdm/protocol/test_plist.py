"""Property lists: ordinary ones come out as plistlib reads them, bombs are refused at a price.

Which guard refused is asserted by its reason: a bomb that ends in another guard's hands has got
past the cheap one.
"""

from __future__ import annotations

import datetime
import gzip
import json
import math
import plistlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdm.protocol.errors import BadPlist
from mdm.protocol.plist import Budget, clean_text, jsonable, plist_dumps, safe_plist_loads
from tests.mdm.protocol import plists
from tests.mdm.protocol.plists import DOCUMENT, PROLOG, binary, binary_of, document, under_a_key

SMALL = Budget(size=4096, depth=4, nodes=64, expanded=256)


def refused(data: bytes, budget: Budget | None = None) -> str:
    with pytest.raises(BadPlist) as caught:
        safe_plist_loads(data, budget) if budget else safe_plist_loads(data)
    return caught.value.reason


class TestReading:
    @given(plists.dictionaries)
    def test_xml_is_read_as_plistlib_reads_it(self, value: dict[str, object]) -> None:
        data = plistlib.dumps(value)
        assert safe_plist_loads(data) == plistlib.loads(data)

    @given(st.dictionaries(st.text(max_size=8), plists.values | plists.uids, max_size=8))
    def test_binary_is_read_as_plistlib_reads_it(self, value: dict[str, object]) -> None:
        try:
            data = plistlib.dumps(value, fmt=plistlib.FMT_BINARY)
        except UnicodeEncodeError:
            return
        assert safe_plist_loads(data) == plistlib.loads(data)

    @given(plists.dictionaries)
    def test_types_survive_and_not_only_equality(self, value: dict[str, object]) -> None:
        for format in (plistlib.FMT_XML, plistlib.FMT_BINARY):
            data = plistlib.dumps(value, fmt=format)
            assert repr(safe_plist_loads(data)) == repr(plistlib.loads(data))

    def test_white_space_and_a_byte_order_mark_in_front_are_skipped(self) -> None:
        data = under_a_key(b"<true/>")
        for front in (b"\n\n  ", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n\t "):
            assert safe_plist_loads(front + data) == {"a": True}

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
    def test_unicode_encodings_are_read(self, encoding: str) -> None:
        text = "<plist><dict><key>ключ</key><string>値</string></dict></plist>"
        assert safe_plist_loads(text.encode(encoding)) == {"ключ": "値"}

    def test_a_declared_eight_bit_encoding_is_read(self) -> None:
        text = "<plist><dict><key>é</key><true/></dict></plist>"
        declared = b'<?xml version="1.0" encoding="ISO-8859-1"?>'
        assert safe_plist_loads(declared + text.encode("latin-1")) == {"é": True}

    def test_text_in_another_encoding_than_declared_is_refused(self) -> None:
        assert refused(under_a_key("<string>é</string>".encode("latin-1"))) == "not-xml"

    def test_comments_and_cdata_belong_to_no_value(self) -> None:
        data = under_a_key(b"<string>x<!-- & <key> -->y<![CDATA[<&>]]>z</string><!-- b -->")
        assert safe_plist_loads(data) == {"a": "xy<&>z"}

    def test_a_comment_in_a_key_or_a_number_does_not_cut_it(self) -> None:
        data = document(b"<dict><key>a<!-- -->b</key><integer>1<!-- -->2</integer></dict>")
        assert safe_plist_loads(data) == {"ab": 12}

    def test_the_last_of_two_values_under_one_key_counts(self) -> None:
        data = document(b"<dict><key>a</key><true/><key>a</key><false/></dict>")
        assert safe_plist_loads(data) == {"a": False} == plistlib.loads(data)

    def test_integers_may_be_hexadecimal_or_padded(self) -> None:
        assert safe_plist_loads(under_a_key(b"<integer> 0xFF\n</integer>")) == {"a": 255}
        assert safe_plist_loads(under_a_key(b"<integer>\n -7 </integer>")) == {"a": -7}

    def test_reals_without_a_number_are_read(self) -> None:
        assert safe_plist_loads(under_a_key(b"<real>-infinity</real>")) == {"a": -math.inf}
        read = safe_plist_loads(under_a_key(b"<real>nan</real>"))["a"]
        assert isinstance(read, float)
        assert math.isnan(read)

    def test_every_binary_container_is_a_fresh_one(self) -> None:
        shared = binary([b"\xa2\x01\x01", b"\xd1\x02\x03", b"\x51k", b"\x09"])
        wrapped = binary(
            [b"\xd1\x04\x01", b"\xa2\x02\x02", b"\xd1\x03\x05", b"\x51k", b"\x51a", b"\x09"]
        )
        with pytest.raises(BadPlist):
            safe_plist_loads(shared)
        first, second = safe_plist_loads(wrapped)["a"]  # type: ignore[misc]
        assert first == second == {"k": True}
        assert first is not second


class TestEntities:
    LAUGHS = (
        b'<?xml version="1.0"?><!DOCTYPE plist [<!ENTITY a "lol">'
        b'<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>'
        b"<plist><dict><key>a</key><string>&c;</string></dict></plist>"
    )

    def test_a_billion_laughs_are_refused_before_they_are_parsed(self) -> None:
        assert refused(self.LAUGHS) == "doctype"

    def test_they_are_refused_in_utf_16_too(self) -> None:
        text = self.LAUGHS.decode()
        for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
            assert refused(text.encode(encoding)) == "doctype"

    def test_an_external_entity_is_refused(self) -> None:
        data = (
            b'<!DOCTYPE plist [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
            b"<plist><dict><key>a</key><string>&x;</string></dict></plist>"
        )
        assert refused(data) == "doctype"

    def test_a_parameter_entity_is_refused(self) -> None:
        subset = b'[<!ENTITY % x SYSTEM "http://127.0.0.1:9/x"> %x;]'
        data = b"<!DOCTYPE plist " + subset + b"><plist><dict/></plist>"
        assert refused(data) == "doctype"

    def test_a_subset_hidden_behind_a_quoted_bracket_is_refused(self) -> None:
        data = b'<!DOCTYPE plist PUBLIC "a>b" "c" [<!ENTITY x "y">]><plist><dict/></plist>'
        assert refused(data) == "doctype"

    def test_a_second_document_type_in_a_comment_does_not_hide_the_first(self) -> None:
        data = b'<!--<!DOCTYPE plist>--><!DOCTYPE plist [<!ENTITY x "y">]><plist><dict/></plist>'
        assert refused(data) == "doctype"

    def test_an_entity_that_nobody_declared_is_refused(self) -> None:
        content = b"<plist><dict><key>a</key><string>&nbsp;</string></dict></plist>"
        assert refused(PROLOG + content) == "not-xml"
        assert refused(b'<!DOCTYPE plist SYSTEM "x">' + content) == "not-a-plist"

    def test_a_second_document_type_behind_the_usual_one_is_refused(self) -> None:
        for second in (b"<!DOCTYPE plist>", b'<!DOCTYPE plist [<!ENTITY x "y">]>'):
            assert refused(PROLOG + second + b"<plist><dict/></plist>") == "doctype"

    def test_apples_document_type_passes(self) -> None:
        assert safe_plist_loads(PROLOG + b"<plist><dict/></plist>") == {}
        system = b'<!DOCTYPE plist SYSTEM "file://localhost/System/DTDs/PropertyList.dtd">'
        assert safe_plist_loads(system + b"<plist><dict/></plist>") == {}
        assert safe_plist_loads(b"<!DOCTYPE plist><plist><dict/></plist>") == {}


class TestBudget:
    def test_a_large_body_is_refused_unread(self) -> None:
        assert refused(b"\0" * (16 * 1024 * 1024 + 1)) == "too-large"

    def test_nesting_is_bounded_in_both_forms(self) -> None:
        def nested(levels: int) -> dict[str, object]:
            value: dict[str, object] = {}
            for _ in range(levels - 1):
                value = {"a": value}
            return value

        for format in (plistlib.FMT_XML, plistlib.FMT_BINARY):
            assert safe_plist_loads(plistlib.dumps(nested(64), fmt=format)) == nested(64)
            assert refused(plistlib.dumps(nested(65), fmt=format)) == "too-deep"

    def test_a_hundred_thousand_levels_are_refused(self) -> None:
        levels = 100_000
        assert refused(document(b"<array>" * levels + b"</array>" * levels)) == "not-xml"

    def test_values_are_counted_in_both_forms(self) -> None:
        for count, fits in ((60, True), (70, False)):
            value = {"a": [True] * count}
            for format in (plistlib.FMT_XML, plistlib.FMT_BINARY):
                data = plistlib.dumps(value, fmt=format)
                if fits:
                    assert safe_plist_loads(data, SMALL) == value
                else:
                    assert refused(data, SMALL) == "too-many-values"

    def test_millions_of_elements_are_refused_before_they_are_parsed(self) -> None:
        assert refused(document(b"<array>" + b"<true/>" * 2_000_000)) == "too-many-values"

    def test_millions_of_attributes_are_refused_before_they_are_parsed(self) -> None:
        attributes = b" ".join(b'a%d=""' % number for number in range(60_000))
        assert refused(document(b"<dict " + attributes + b"/>")) == "too-many-values"

    def test_thousands_of_foreign_elements_are_refused_before_they_are_parsed(self) -> None:
        for odd in (b"<x/>", b"<true x=''/>", b"&x;", b"<?x?>", b"<!---->"):
            assert refused(under_a_key(b"<string>" + odd * 3000)) == "not-a-plist"

    def test_an_alias_bomb_costs_no_more_than_its_budget(self) -> None:
        data = plists.alias_bomb()
        assert len(data) < 400
        assert refused(data) == "too-many-values"

    def test_texts_named_again_and_again_are_paid_for_each_time(self) -> None:
        assert refused(plists.text_alias_bomb()) == "too-large"

    def test_a_binary_list_that_contains_itself_is_refused(self) -> None:
        assert refused(binary([b"\xd1\x01\x00", b"\x51a"])) == "too-deep"
        assert refused(binary([b"\xd1\x01\x02", b"\x51a", b"\xa1\x02"])) == "too-deep"
        assert refused(binary([b"\xd1\x00\x01", b"\x09"])) == "too-deep"

    def test_a_binary_count_without_the_bytes_is_refused(self) -> None:
        for marker in (b"\xaf", b"\xdf", b"\x4f", b"\x5f", b"\x6f"):
            for count in (b"\x10\xff", b"\x12\xff\xff\xff\xff", b"\x13" + b"\xff" * 8):
                assert refused(binary_of(marker + count)) in ("not-binary", "too-many-values")

    def test_a_trailer_that_points_elsewhere_is_refused(self) -> None:
        for trailer in (
            (2, 1, 2**63, 0, 8),
            (2, 1, 1, 1, 8),
            (2, 1, 1, 0, 2**63),
            (0, 1, 1, 0, 8),
            (1, 0, 1, 0, 8),
            (255, 255, 1, 0, 8),
        ):
            data = b"bplist00" + b"\xd0" * 8 + struct.pack(">6xBBQQQ", *trailer)
            assert refused(data) == "not-binary"


class TestValues:
    @pytest.mark.parametrize(
        "number",
        [
            b"9" * 1_000_000,
            b"0x" + b"F" * 1_000_000,
            b"18446744073709551616",
            b"-9223372036854775809",
        ],
    )
    def test_integers_over_64_bits_are_refused(self, number: bytes) -> None:
        assert refused(under_a_key(b"<integer>" + number + b"</integer>")) == "integer"
        assert refused(binary_of(b"\x14" + b"\x7f" * 16)) == "integer"

    @pytest.mark.parametrize("number", ["", "1_0", "0b1", "1.0", "١", "0x", "--1"])
    def test_what_only_python_calls_an_integer_is_refused(self, number: str) -> None:
        assert refused(under_a_key(f"<integer>{number}</integer>".encode())) == "integer"

    @pytest.mark.parametrize("number", ["", "1_0.0", "0x1p3", "١.٠", "9" * 100_000, "1e99999"])
    def test_what_only_python_calls_a_real_is_refused(self, number: str) -> None:
        assert refused(under_a_key(f"<real>{number}</real>".encode())) == "real"

    @pytest.mark.parametrize(
        "moment",
        [
            "0000-01-01T00:00:00Z",
            "2025-02-30T00:00:00Z",
            "2025-01-01T25:00:00Z",
            "2025",
            "",
            "99999-01-01T00:00:00Z",
            "2025-01-01T00:00:00+01:00",
            "-001-01-01T00:00:00Z",
        ],
    )
    def test_dates_that_do_not_exist_are_refused(self, moment: str) -> None:
        assert refused(under_a_key(f"<date>{moment}</date>".encode())) == "date"

    @pytest.mark.parametrize("seconds", [math.nan, math.inf, -math.inf, 1e300, 1e15, -1e15])
    def test_binary_dates_out_of_range_are_refused(self, seconds: float) -> None:
        assert refused(binary_of(b"\x33" + struct.pack(">d", seconds))) == "not-binary"

    def test_data_that_is_not_base64_is_refused(self) -> None:
        for text in ("AAA", "é", "A"):
            assert refused(under_a_key(f"<data>{text}</data>".encode())) == "data"

    def test_keys_that_are_not_text_are_refused(self) -> None:
        assert refused(binary([b"\xd1\x01\x01", b"\x10\x05"])) == "key"
        assert refused(binary([b"\xd1\x01\x02", b"\x41a", b"\x09"])) == "key"

    def test_binary_objects_that_property_lists_do_not_have_are_refused(self) -> None:
        for marker in (
            b"\x00",
            b"\x0f",
            b"\x0c",
            b"\x15",
            b"\x24",
            b"\x34",
            b"\x70",
            b"\xb0",
            b"\xc0",
            b"\xf0",
        ):
            assert refused(binary_of(marker + b"\0" * 40)) == "not-binary"


class TestShape:
    @pytest.mark.parametrize("content", [b"<array/>", b"<string>x</string>", b"<true/>"])
    def test_another_top_level_than_a_dictionary_is_refused(self, content: bytes) -> None:
        assert refused(document(content)) == "not-a-dictionary"

    def test_so_it_is_in_binary(self) -> None:
        for value in ([], "x", 1):
            assert refused(plistlib.dumps(value, fmt=plistlib.FMT_BINARY)) == "not-a-dictionary"

    @pytest.mark.parametrize(
        "content",
        [b"", b"<dict/><dict/>"],
    )
    def test_none_or_two_values_are_refused(self, content: bytes) -> None:
        assert refused(document(content)) == "not-one-value"

    @pytest.mark.parametrize(
        "content",
        [
            b"<dict><true/></dict>",
            b"<dict><key>a</key></dict>",
            b"<dict><key>a</key><key>b</key></dict>",
            b"<dict><true/><key>a</key></dict>",
            b"<dict><key>a<true/></key><true/></dict>",
            b"<dict><key>a</key><string>x<true/></string></dict>",
            b"<dict><key>a</key><weird/></dict>",
            b"<dict><key>a</key><plist><dict/></plist></dict>",
            b'<dict xmlns="urn:x"><key>a</key><true/></dict>',
        ],
    )
    def test_elements_out_of_place_are_refused(self, content: bytes) -> None:
        assert refused(document(content)) == "not-a-plist"

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\0" * 64,
            b"<",
            DOCUMENT,
            DOCUMENT + b"<dict>",
            document(b"<dict/>")[:-3],
            under_a_key(b"<string>\x01</string>"),
            under_a_key(b"<string>&#0;</string>"),
            under_a_key(b"<string>&#xD800;</string>"),
            b'{"MessageType": "Authenticate"}',
            gzip.compress(document(b"<dict/>")),
            b"bplist00",
            b"bplist00" + b"\0" * 32,
        ],
    )
    def test_what_is_no_property_list_is_refused(self, data: bytes) -> None:
        assert refused(data) in ("not-xml", "not-binary")


_SEEDS = [
    plistlib.dumps({"a": [1, 2.5, b"xyz", "é", True], "d": {"e": "f"}}),
    plistlib.dumps({"a": [1, 2.5, b"xyz", "é", True], "d": {"e": "f"}}, fmt=plistlib.FMT_BINARY),
    TestEntities.LAUGHS,
    plists.binary([b"\xd1\x01\x00", b"\x51a"]),
]


class TestFuzz:
    @given(st.binary(max_size=300))
    def test_arbitrary_bytes_are_read_or_refused_cleanly(self, data: bytes) -> None:
        for front in (b"", b"bplist00", DOCUMENT):
            self.read(front + data)

    @settings(max_examples=500)
    @given(plists.damaged(_SEEDS))
    def test_damaged_property_lists_are_read_or_refused_cleanly(self, data: bytes) -> None:
        self.read(data)

    def read(self, data: bytes) -> None:
        try:
            value = safe_plist_loads(data)
        except BadPlist:
            return
        json.dumps(jsonable(value), allow_nan=False).encode()


class TestWriting:
    @given(plists.dictionaries)
    def test_what_is_written_is_read_back(self, value: dict[str, object]) -> None:
        assert safe_plist_loads(plist_dumps(value)) == plistlib.loads(plistlib.dumps(value))

    def test_keys_keep_their_order(self) -> None:
        assert list(safe_plist_loads(plist_dumps({"b": 1, "a": 2}))) == ["b", "a"]

    def test_an_aware_moment_is_written_in_utc(self) -> None:
        zone = datetime.timezone(datetime.timedelta(hours=2))
        moment = datetime.datetime(2025, 1, 1, 1, 0, tzinfo=zone)
        assert b"<date>2024-12-31T23:00:00Z</date>" in plist_dumps({"a": [moment]})

    @pytest.mark.parametrize(
        "value", [None, "\x00", "\x1b", "\ud800", "\ufffe", "\uffff", 2**64, object(), {1: 2}]
    )
    def test_what_xml_cannot_hold_is_refused(self, value: object) -> None:
        with pytest.raises(BadPlist) as caught:
            plist_dumps({"a": value})
        assert caught.value.reason == "not-writable"

    def test_a_value_that_contains_itself_is_refused(self) -> None:
        value: dict[str, object] = {}
        value["a"] = value
        with pytest.raises(BadPlist):
            plist_dumps(value)


class TestJson:
    def test_each_type_has_a_json_form(self) -> None:
        value = {
            "data": b"\x00\xff",
            "date": datetime.datetime(2025, 1, 2, 3, 4, 5, 678),  # noqa: DTZ001
            "uid": plistlib.UID(7),
            "nan": math.nan,
            "inf": -math.inf,
            "nested": [True, 1, 2.5, "x", {"y": ()}],
        }
        assert jsonable(value) == {
            "data": "AP8=",
            "date": "2025-01-02T03:04:05Z",
            "uid": "7",
            "nan": "nan",
            "inf": "-inf",
            "nested": [True, 1, 2.5, "x", {"y": []}],
        }

    def test_an_aware_moment_is_told_in_utc(self) -> None:
        zone = datetime.timezone(datetime.timedelta(hours=-5))
        assert jsonable(datetime.datetime(2025, 1, 1, tzinfo=zone)) == "2025-01-01T05:00:00Z"

    def test_what_postgres_refuses_is_left_out_of_values_and_keys(self) -> None:
        assert jsonable({"a\0b": ["c\ud800\0d"]}) == {"ab": ["cd"]}
        assert clean_text("x\0\udfffy") == "xy"

    @given(st.binary(max_size=40))
    def test_text_from_a_binary_list_can_be_stored(self, raw: bytes) -> None:
        data = binary_of(b"\x6f\x10" + bytes([len(raw) // 2]) + raw)
        try:
            value = safe_plist_loads(data)
        except BadPlist:
            return
        stored = json.dumps(jsonable(value), ensure_ascii=False)
        assert "\0" not in stored.encode().decode()
        assert "\\u0000" not in json.dumps(jsonable(value))
