"""What an ADE profile may say, what Apple is sent of it, and how two of them differ."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from profiles.wire.content import (
    BY_KEY,
    KEYS,
    BadContent,
    Kind,
    Section,
    check_name,
    clean,
    differences,
    differences_at_apple,
    document,
    new_content,
)

URL = "https://mdm.example.com/ade/s3cret"
TEXTS = [key for key in KEYS if key.kind is Kind.TEXT]
FLAGS = [key for key in KEYS if key.kind is Kind.FLAG]
CERTIFICATES = [key for key in KEYS if key.kind is Kind.CERTIFICATES]
LONGEST = {
    "department": 125,
    "org_magic": 256,
    "support_phone_number": 50,
    "support_email_address": 250,
}


@cache
def der(name: str) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2036, 1, 1, tzinfo=UTC))
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.DER)


def encoded(name: str) -> str:
    return base64.b64encode(der(name)).decode("ascii")


def pem(name: str) -> str:
    body = base64.encodebytes(der(name)).decode("ascii")
    return f"-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n"


def errors(content: dict[str, object]) -> dict[str, list[str]]:
    """What is wrong with it; {} for nothing."""
    try:
        clean(content)
    except BadContent as bad:
        found = bad.errors
    else:
        return {}
    assert all(said.endswith(".") for each in found.values() for said in each)
    return found


# --- The table -----------------------------------------------------------------------------------


def test_the_keys_are_apples_with_apples_defaults() -> None:
    assert {key.key: key.apple for key in KEYS} == {
        "allow_pairing": True,
        "is_supervised": False,
        "is_multi_user": False,
        "is_mandatory": False,
        "await_device_configured": False,
        "is_mdm_removable": True,
        "auto_advance_setup": False,
        "is_return_to_service": False,
        "do_not_use_profile_from_backup": False,
        "support_phone_number": "",
        "support_email_address": "",
        "department": "",
        "org_magic": "",
        "anchor_certs": [],
        "supervising_host_certs": [],
        "skip_setup_items": [],
        "language": "",
        "region": "",
    }
    assert list(BY_KEY.items()) == [(key.key, key) for key in KEYS]


def test_the_keys_stand_section_by_section_as_a_form_shows_them() -> None:
    sections = [key.section for key in KEYS]

    assert list(dict.fromkeys(sections)) == list(Section)
    assert sections == sorted(sections, key=list(Section).index)


def test_a_new_profile_supervises_is_removable_and_is_in_order() -> None:
    new = new_content()

    assert (new["is_supervised"], new["is_mdm_removable"]) == (True, True)
    assert clean(new) == new


def test_new_contents_share_nothing() -> None:
    new_content()["skip_setup_items"].append("Siri")

    assert new_content()["skip_setup_items"] == []


# --- One key -------------------------------------------------------------------------------------


def test_a_key_that_is_left_out_has_apples_default() -> None:
    assert clean({}) == {key.key: key.apple for key in KEYS}


@pytest.mark.parametrize("key", ["profile_name", "url", "devices", "skip_setup_item", ""])
def test_a_key_that_is_none_is_refused(key: str) -> None:
    assert list(errors({key: "x"})) == [key]


@pytest.mark.parametrize("key", [key.key for key in FLAGS])
@pytest.mark.parametrize("value", ["true", 1, 0, None, []])
def test_a_flag_is_true_or_false(key: str, value: object) -> None:
    assert key in errors({key: value})


@pytest.mark.parametrize("key", [key.key for key in TEXTS])
@pytest.mark.parametrize("value", [1, None, ["en"], b"en", True])
def test_a_text_is_a_text(key: str, value: object) -> None:
    assert list(errors({key: value})) == [key]


@pytest.mark.parametrize("key", [key.key for key in TEXTS])
def test_a_text_of_blanks_is_none(key: str) -> None:
    assert clean({key: " \t\n"})[key] == ""


def test_a_text_is_stripped() -> None:
    assert clean({"department": "  IT \n"})["department"] == "IT"


@pytest.mark.parametrize(("key", "longest"), LONGEST.items())
def test_a_text_is_as_long_as_apple_takes_it(key: str, longest: int) -> None:
    end = "@a.de" if key == "support_email_address" else "1"
    text = "ü" * (longest - len(end)) + end

    assert clean({key: f" {text} "})[key] == text
    assert list(errors({key: "ü" + text})) == [key]


@pytest.mark.parametrize("bad", ["\x00", "\x1b", "\n", "\x7f", "\x85", "\ud800"])
@pytest.mark.parametrize("key", ["department", "org_magic", "support_phone_number"])
def test_a_text_holds_no_control_characters_and_is_utf_8(key: str, bad: str) -> None:
    assert list(errors({key: f"a{bad}b"})) == [key]


@pytest.mark.parametrize("text", ["情報システム部\u3000支援", "Direction\u00a0: IT", "👩\u200d💻"])
def test_the_spaces_and_joiners_of_other_scripts_stay(text: str) -> None:
    assert clean({"department": text})["department"] == text
    assert check_name(text) == text


def test_a_phone_number_is_printable() -> None:
    assert clean({"support_phone_number": "+49 (30) 123-4"})["support_phone_number"]
    assert list(errors({"support_phone_number": "+49\u202e30"})) == ["support_phone_number"]


@pytest.mark.parametrize("mail", ["help@example.com", "it+mac@a.b.example", "hilfe@müller.de"])
def test_a_mail_address_that_looks_like_one_is_taken(mail: str) -> None:
    assert clean({"support_email_address": mail})["support_email_address"] == mail


@pytest.mark.parametrize(
    "mail", ["help", "help@", "@example.com", "help@example", "a b@example.com", "a@b@example.com"]
)
def test_a_mail_address_that_does_not_look_like_one_is_refused(mail: str) -> None:
    assert list(errors({"support_email_address": mail})) == ["support_email_address"]


@pytest.mark.parametrize(
    ("written", "kept"),
    [("EN", "en"), ("deu", "deu"), ("ZH-Hans", "zh-Hans"), ("pt-BR", "pt-BR"), ("pt_BR", "pt-BR")],
)
def test_a_language_is_two_or_three_letters_perhaps_with_script_or_region(
    written: str, kept: str
) -> None:
    assert clean({"language": written})["language"] == kept


@pytest.mark.parametrize(
    "language", ["e", "engl", "e1", "de-", "-DE", "deutsch", "zh Hans", "日本"]
)
def test_another_language_is_refused(language: str) -> None:
    assert list(errors({"language": language})) == ["language"]


@pytest.mark.parametrize(("written", "kept"), [("de", "DE"), (" us ", "US"), ("zW", "ZW")])
def test_a_region_is_kept_in_capitals(written: str, kept: str) -> None:
    assert clean({"region": written})["region"] == kept


@pytest.mark.parametrize("region", ["UK", "ZZ", "U", "USA", "49", "ß", "ﬁ"])
def test_a_region_that_iso_does_not_know_is_refused(region: str) -> None:
    assert list(errors({"region": region})) == ["region"]


def test_skip_keys_are_kept_once_and_in_order_unknown_ones_too() -> None:
    given = ["Siri", " AppleID", "Siri", "NewIn30"]

    assert clean({"skip_setup_items": given})["skip_setup_items"] == ["AppleID", "NewIn30", "Siri"]


@pytest.mark.parametrize(
    "panes", ["Siri", [1], [None], None, ["a b"], ["Siri\x00"], [""], ["a" * 101], {"Siri": True}]
)
def test_what_is_no_list_of_skip_keys_is_refused(panes: object) -> None:
    assert list(errors({"skip_setup_items": panes})) == ["skip_setup_items"]


def test_skip_keys_are_bounded_in_number() -> None:
    assert not errors({"skip_setup_items": [f"a{n}" for n in range(200)]})
    assert errors({"skip_setup_items": [f"a{n}" for n in range(201)]})


# --- Certificates --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        [encoded("a"), encoded("b")],
        [f" {encoded('a')[:64]}\r\n{encoded('a')[64:]}\n", encoded("b")],
        [pem("a"), pem("b")],
        [f"subject=CN = a\n{pem('a')}\n{pem('b')}"],
        pem("a") + pem("b"),
        [pem("a"), "", encoded("b"), pem("a")],
    ],
    ids=["base64", "wrapped", "pem", "pem among words", "one text", "repeated"],
)
def test_certificates_are_kept_as_base64_of_der_once(given: object) -> None:
    assert clean({"anchor_certs": given})["anchor_certs"] == [encoded("a"), encoded("b")]


def another_version() -> str:
    """A certificate of an X.509 version that there is not."""
    version = bytes.fromhex("a0030201")
    return base64.b64encode(der("a").replace(version + b"\2", version + b"\7", 1)).decode("ascii")


@pytest.mark.parametrize("key", [key.key for key in CERTIFICATES])
@pytest.mark.parametrize(
    "given",
    [
        ["AAAA"],
        ["no base64!"],
        [encoded("a") + "AAAA"],
        [encoded("a")[:-8]],
        [pem("a").replace("CERTIFICATE", "PUBLIC KEY")],
        [pem("a"), "-----BEGIN CERTIFICATE-----"],
        [pem("a") + "\ud800"],
        [another_version()],
        [der("a")],
        None,
        1,
        {"a": 1},
    ],
)
def test_what_is_no_certificate_is_refused(key: str, given: object) -> None:
    assert list(errors({"is_supervised": True, key: given})) == [key]


@pytest.mark.parametrize("key", [key.key for key in CERTIFICATES])
def test_twenty_certificates_are_the_most(key: str) -> None:
    twenty = "".join(pem(str(n)) for n in range(20))

    assert len(clean({"is_supervised": True, key: twenty})[key]) == 20
    assert list(errors({"is_supervised": True, key: [twenty, pem("one more")]})) == [key]


# --- Between keys --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("supervised", "removable", "wrong"),
    [
        (True, True, []),
        (True, False, []),
        (False, True, []),
        (False, False, ["is_mdm_removable"]),
    ],
)
def test_management_is_locked_on_supervised_devices_only(
    supervised: bool, removable: bool, wrong: list[str]
) -> None:
    given: dict[str, object] = {"is_supervised": supervised, "is_mdm_removable": removable}

    assert list(errors(given)) == wrong


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"auto_advance_setup": True, "language": "en", "region": "US"}, []),
        ({"auto_advance_setup": True, "language": "en"}, ["region"]),
        ({"auto_advance_setup": True, "region": "US"}, ["language"]),
        ({"auto_advance_setup": True}, ["language", "region"]),
        ({"auto_advance_setup": False}, []),
        ({"auto_advance_setup": False, "language": "en"}, []),
    ],
)
def test_auto_advance_needs_a_language_and_a_region(
    given: dict[str, object], wrong: list[str]
) -> None:
    assert list(errors(given)) == wrong


def test_a_wrong_language_is_told_of_once_although_auto_advance_needs_it() -> None:
    given: dict[str, object] = {"auto_advance_setup": True, "language": "1", "region": "US"}

    [said] = errors(given)["language"]

    assert "ISO 639" in said


@pytest.mark.parametrize(("supervised", "wrong"), [(True, []), (False, ["supervising_host_certs"])])
def test_supervising_hosts_need_supervision(supervised: bool, wrong: list[str]) -> None:
    given: dict[str, object] = {
        "is_supervised": supervised,
        "supervising_host_certs": [encoded("a")],
    }

    assert list(errors(given)) == wrong


def test_all_that_is_wrong_is_told_at_once() -> None:
    given: dict[str, object] = {"region": "XX", "department": 1, "no_key": 1}

    assert set(errors(given)) == {"region", "department", "no_key"}


some_text = st.text(max_size=130)
CONTENTS = st.fixed_dictionaries(
    {},
    optional={
        **{key.key: st.booleans() for key in FLAGS},
        "department": some_text,
        "org_magic": some_text,
        "support_phone_number": st.text(max_size=40),
        "support_email_address": st.emails() | some_text,
        "language": st.sampled_from(["EN", "zh-hANS", " deu ", "pt_BR", "", "ſx", "Kn"]),
        "region": st.sampled_from(["us", " DE", "", "ß", "ZW"]),
        "skip_setup_items": st.lists(st.sampled_from(["Siri", " Siri", "AppleID", "New"])),
        "anchor_certs": st.lists(st.sampled_from([pem("a"), encoded("b"), pem("a") + pem("c")])),
        "supervising_host_certs": st.sampled_from([[], pem("a"), [encoded("a")]]),
    },
)


@given(CONTENTS)
def test_what_is_clean_stays_as_it_is_and_can_be_stored(given: dict[str, object]) -> None:
    try:
        cleaned = clean(given)
    except BadContent:
        return

    assert list(cleaned) == [key.key for key in KEYS]
    assert clean(cleaned) == cleaned
    # As Postgres keeps it.
    assert json.loads(json.dumps(cleaned)) == cleaned
    assert "\\u0000" not in json.dumps(cleaned)


# --- The name ------------------------------------------------------------------------------------


def test_a_name_is_stripped_and_has_up_to_125_characters() -> None:
    assert check_name(f" {'ü' * 125}\n") == "ü" * 125


@pytest.mark.parametrize("name", ["", "  ", "a" * 126, "a\x00b", "a\nb", "a\ud800b"])
def test_a_name_that_apple_would_refuse_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        check_name(name)


# --- What Apple is sent --------------------------------------------------------------------------


def test_the_document_leaves_out_what_is_empty_and_says_each_flag() -> None:
    content = clean({"is_supervised": True, "department": "IT", "skip_setup_items": ["Siri"]})

    assert document(content, name="Phones", url=URL) == {
        "profile_name": "Phones",
        "url": URL,
        "department": "IT",
        "skip_setup_items": ["Siri"],
        **{key.key: content[key.key] for key in FLAGS},
    }


def test_the_document_says_where_people_sign_in() -> None:
    sent = document(clean({}), name="Phones", url=URL, web_url=f"{URL}/sign-in")

    assert sent["configuration_web_url"] == f"{URL}/sign-in"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://mdm.example.com/ade",
        "mdm.example.com",
        "https:mdm",
        "https:///ade",
        "https://mdm.example.com/a b",
        "https://mdm.example.com/a\nb",
        "https://[::1/",
        "https://mdm.example.com/".ljust(2001, "a"),
    ],
)
def test_an_address_that_apple_would_refuse_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        document(clean({}), name="Phones", url=url)
    if url:
        with pytest.raises(ValueError):
            document(clean({}), name="Phones", url=URL, web_url=url)


def test_an_address_has_up_to_2000_characters() -> None:
    longest = "https://mdm.example.com/".ljust(2000, "a")

    assert document(clean({}), name="Phones", url=longest)["url"] == longest


# --- Differences ---------------------------------------------------------------------------------


def changed(found: list[Any]) -> dict[str, tuple[Any, Any]]:
    return {each.key: (each.before, each.after) for each in found}


def test_contents_that_say_the_same_do_not_differ() -> None:
    assert differences(clean({}), clean({"skip_setup_items": [], "allow_pairing": True})) == []


def test_differences_name_what_was_and_what_comes() -> None:
    before = clean({"department": "IT", "is_supervised": True})
    after = clean({"department": "Help", "is_supervised": False})

    found = differences(before, after)

    assert changed(found) == {"is_supervised": (True, False), "department": ("IT", "Help")}
    assert [each.label for each in found] == ["Supervised", "Department"]
    assert all((each.added, each.removed) == ((), ()) for each in found)


def test_a_difference_of_panes_says_which_came_and_went() -> None:
    before = clean({"skip_setup_items": ["AppleID", "Siri"]})
    after = clean({"skip_setup_items": ["Siri", "TOS", "Zoom"]})

    [found] = differences(before, after)

    assert (found.before, found.after) == (["AppleID", "Siri"], ["Siri", "TOS", "Zoom"])
    assert (found.added, found.removed) == (("TOS", "Zoom"), ("AppleID",))


def test_a_content_from_before_there_was_a_key_said_apples_default() -> None:
    old = {key: value for key, value in clean({}).items() if key != "allow_pairing"}

    assert differences(old, clean({})) == []
    assert changed(differences(old, clean({"allow_pairing": False}))) == {
        "allow_pairing": (True, False)
    }


def sent(**more: object) -> dict[str, Any]:
    return document(clean(more), name="Phones", url=URL)


def test_apple_may_leave_out_what_is_its_default() -> None:
    answer = {"profile_name": "Phones", "url": URL, "profile_uuid": "A1", "devices": ["C0"]}

    assert differences_at_apple(sent(), answer) == []


@pytest.mark.parametrize(
    ("key", "value", "apple"),
    [
        ("is_supervised", True, False),
        ("allow_pairing", False, True),
        ("department", "IT", ""),
        ("skip_setup_items", ["Siri"], []),
    ],
)
def test_what_apple_leaves_out_counts_as_its_default(key: str, value: object, apple: Any) -> None:
    said = sent(**{key: value})
    answer = {name: each for name, each in said.items() if name != key}

    assert changed(differences_at_apple(said, answer)) == {key: (value, apple)}
    assert changed(differences_at_apple(said, answer | {key: None})) == {key: (value, apple)}


def test_apple_may_list_in_another_order_and_add_keys() -> None:
    said = sent(skip_setup_items=["AppleID", "Siri"])
    answer = {**said, "skip_setup_items": ["Siri", "AppleID"], "new_at_apple": True}

    assert differences_at_apple(said, answer) == []


def test_what_apple_says_otherwise_is_told() -> None:
    said = sent(skip_setup_items=["AppleID", "Siri"])
    answer = said | {
        "profile_name": "Old",
        "url": "https://old.example.com/",
        "configuration_web_url": "https://old.example.com/in",
        "skip_setup_items": ["Siri", "TOS"],
        "department": "IT",
    }

    found = differences_at_apple(said, answer)

    assert changed(found) == {
        "profile_name": ("Phones", "Old"),
        "url": (URL, "https://old.example.com/"),
        "configuration_web_url": ("", "https://old.example.com/in"),
        "skip_setup_items": (["AppleID", "Siri"], ["Siri", "TOS"]),
        "department": ("", "IT"),
    }
    assert {each.key: (each.added, each.removed) for each in found}["skip_setup_items"] == (
        ("TOS",),
        ("AppleID",),
    )


@pytest.mark.parametrize("odd", ["Siri", 1, {"a": 1}, [None], [["Siri"]], [{"a": 1}]])
def test_an_odd_answer_is_a_difference(odd: object) -> None:
    said = sent(skip_setup_items=["Siri"])

    assert list(changed(differences_at_apple(said, said | {"skip_setup_items": odd}))) == [
        "skip_setup_items"
    ]
