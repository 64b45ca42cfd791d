"""What an ADE profile says: its keys with Apple's defaults, Apple's rules for them, and what POST
/profile takes. Source: Apple's "Profile" object of the device enrollment service, and what it
refuses to define.
"""

from __future__ import annotations

import base64
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

MAX_NAME = 125
MAX_URL = 2_000
MAX_CERTIFICATES = 20
MAX_PANES = 200

Content = dict[str, Any]


class Kind(StrEnum):
    FLAG = "flag"
    TEXT = "text"
    PANES = "panes"
    CERTIFICATES = "certificates"


class Section(StrEnum):
    """The parts of the form."""

    MANAGEMENT = "Supervision and management"
    SETUP = "Setup Assistant"
    SUPPORT = "Support"
    LOCALE = "Language and region"
    TRUST = "Trust"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key: what people call it, one line about it, what Apple takes where it is left out, and
    what a new profile here begins with. `most` bounds a text in characters.
    """

    key: str
    label: str
    line: str
    kind: Kind
    section: Section
    apple: Any
    ours: Any = None
    platforms: str = ""
    most: int = 0

    @property
    def begins(self) -> Any:
        return self.apple if self.ours is None else self.ours


def _flag(
    key: str,
    label: str,
    line: str,
    section: Section,
    apple: bool = False,
    ours: bool | None = None,
    platforms: str = "",
) -> Key:
    return Key(
        key=key,
        label=label,
        line=line,
        kind=Kind.FLAG,
        section=section,
        apple=apple,
        ours=ours,
        platforms=platforms,
    )


def _text(key: str, label: str, line: str, section: Section, most: int, platforms: str = "") -> Key:
    return Key(
        key=key,
        label=label,
        line=line,
        kind=Kind.TEXT,
        section=section,
        apple="",
        platforms=platforms,
        most=most,
    )


def _certificates(key: str, label: str, line: str) -> Key:
    return Key(
        key=key, label=label, line=line, kind=Kind.CERTIFICATES, section=Section.TRUST, apple=[]
    )


KEYS: tuple[Key, ...] = (
    _flag(
        "is_supervised",
        "Supervised",
        "The device can be managed in full. iPhone, iPad and Apple TV are supervised in any case.",
        Section.MANAGEMENT,
        ours=True,
    ),
    _flag(
        "is_mdm_removable",
        "Management can be removed",
        "The user may remove the enrollment in Settings. Only supervised devices can be locked.",
        Section.MANAGEMENT,
        apple=True,
    ),
    _flag(
        "is_mandatory",
        "Enrollment is mandatory",
        "Setup Assistant cannot be finished without it. From iOS 13 on it is in any case.",
        Section.MANAGEMENT,
        ours=True,
    ),
    _flag(
        "await_device_configured",
        "Await configuration",
        "Setup Assistant waits until this server has sent everything, or the time limit is over.",
        Section.MANAGEMENT,
    ),
    _flag(
        "is_multi_user",
        "Shared iPad",
        "Several people use the iPad, each with a Managed Apple Account.",
        Section.MANAGEMENT,
        platforms="iPadOS",
    ),
    _flag(
        "is_return_to_service",
        "Return to service",
        "An erased device enrolls again by itself.",
        Section.MANAGEMENT,
        platforms="iOS 26, visionOS 26",
    ),
    _flag(
        "do_not_use_profile_from_backup",
        "Ignore profiles from backups",
        "A device restored from a backup takes this enrollment and not the one in the backup.",
        Section.MANAGEMENT,
        platforms="iOS 26, visionOS 26",
    ),
    _flag(
        "auto_advance_setup",
        "Auto advance",
        "Setup Assistant goes through by itself. Needs language, region and Ethernet.",
        Section.SETUP,
        platforms="tvOS, macOS 11",
    ),
    Key(
        key="skip_setup_items",
        label="Panes to skip",
        line="What Setup Assistant does not show.",
        kind=Kind.PANES,
        section=Section.SETUP,
        apple=[],
    ),
    _text(
        "department",
        "Department",
        "Shown under About Configuration during enrollment.",
        Section.SUPPORT,
        125,
    ),
    _text(
        "support_phone_number",
        "Support phone",
        "Shown to people whose enrollment does not go through.",
        Section.SUPPORT,
        50,
    ),
    _text(
        "support_email_address",
        "Support mail",
        "Shown in the same place.",
        Section.SUPPORT,
        250,
    ),
    _text(
        "org_magic",
        "Organization magic",
        "Ties several MDM services of one organization together. Most leave it empty.",
        Section.SUPPORT,
        256,
    ),
    _text(
        "language",
        "Language",
        "Two or three letters of ISO 639, such as en. Chosen for the device by auto advance.",
        Section.LOCALE,
        35,
        platforms="tvOS, macOS 11",
    ),
    _text(
        "region",
        "Region",
        "Two letters of ISO 3166, such as US.",
        Section.LOCALE,
        2,
        platforms="tvOS, macOS 11",
    ),
    _certificates(
        "anchor_certs",
        "Anchor certificates",
        "Whom the device trusts for this server's TLS. None: the authorities Apple ships.",
    ),
    _flag(
        "allow_pairing",
        "Pairing with any computer",
        "The device pairs with every computer. Deprecated since iOS 13.",
        Section.TRUST,
        apple=True,
        platforms="iOS",
    ),
    _certificates(
        "supervising_host_certs",
        "Supervising hosts",
        "Computers that may pair although pairing is off. Needs supervision.",
    ),
)
BY_KEY = {key.key: key for key in KEYS}


class BadContent(ValueError):
    """What is wrong, by key: sentences for people."""

    def __init__(self, errors: Mapping[str, Sequence[str]]) -> None:
        super().__init__(" ".join(said for each in errors.values() for said in each))
        self.errors = {key: list(said) for key, said in errors.items()}


def new_content() -> Content:
    """What a new profile here begins with."""
    return {key.key: _copied(key.begins) for key in KEYS}


def clean(given: Mapping[str, object]) -> Content:
    """The whole content, every key of it, in one form; a key that is left out has Apple's default.

    Certificates may come as base64 of DER or as PEM, one or several. Raises BadContent.
    """
    errors: dict[str, list[str]] = {
        str(key)[:100]: ["There is no such key."] for key in given if key not in BY_KEY
    }
    content: Content = {}
    for key in KEYS:
        try:
            value = given.get(key.key, key.apple)
            content[key.key] = _CLEANERS[key.kind](key, value)
        except ValueError as error:
            errors.setdefault(key.key, []).append(str(error))
            content[key.key] = _copied(key.apple)
    for name, rule in _RULES:
        said = rule(content)
        if said and name not in errors:
            errors[name] = [said]
    if errors:
        raise BadContent(errors)
    return content


def check_name(name: str) -> str:
    """A profile's name as Apple takes it. Raises ValueError."""
    name = name.strip()
    if not name or len(name) > MAX_NAME:
        raise ValueError(f"Give the profile a name of 1 to {MAX_NAME} characters.")
    if not _is_text(name):
        raise ValueError("Use letters, digits and signs only.")
    return name


def document(
    content: Mapping[str, Any], *, name: str, url: str, web_url: str = ""
) -> dict[str, Any]:
    """What POST /profile says. `url` is where the device enrolls, `web_url` where someone signs in
    first. Raises ValueError for an address that Apple would refuse.
    """
    for each in (url, web_url) if web_url else (url,):
        if not _is_address(each):
            raise ValueError(f"Apple takes https addresses of up to {MAX_URL:,} characters.")
    said = {key: value for key, value in content.items() if value not in ("", [])}
    web = {"configuration_web_url": web_url} if web_url else {}
    return {"profile_name": name, "url": url, **web, **said}


# --- Comparing -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A key that two contents have different values of; for lists also what came and went."""

    key: str
    label: str
    before: Any
    after: Any
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """What a change from one content to another would change."""
    return [
        _difference(
            key.key, key.label, before.get(key.key, key.apple), after.get(key.key, key.apple)
        )
        for key in KEYS
        if _plain(before.get(key.key, key.apple)) != _plain(after.get(key.key, key.apple))
    ]


def differences_at_apple(sent: Mapping[str, Any], answer: Mapping[str, Any]) -> list[Difference]:
    """How Apple's copy differs from what was sent. A key that is left out has Apple's default; what
    Apple adds is Apple's own.
    """
    labels = {
        "profile_name": "Name",
        "url": "Enrollment address",
        "configuration_web_url": "Sign-in address",
        **{key.key: key.label for key in KEYS},
    }
    return [
        _difference(key, label, _said(sent, key), _said(answer, key))
        for key, label in labels.items()
        if _plain(_said(sent, key)) != _plain(_said(answer, key))
    ]


def _said(document: Mapping[str, Any], key: str) -> Any:
    known = BY_KEY.get(key)
    value = document.get(key)
    return (known.apple if known else "") if value is None else value


def _difference(key: str, label: str, before: Any, after: Any) -> Difference:
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    if isinstance(before, list) and isinstance(after, list):
        added = tuple(str(each) for each in after if each not in before)
        removed = tuple(str(each) for each in before if each not in after)
    return Difference(
        key=key, label=label, before=before, after=after, added=added, removed=removed
    )


def _plain(value: Any) -> Any:
    return sorted(map(str, value)) if isinstance(value, list | tuple) else value


# --- One key at a time ---------------------------------------------------------------------------

_SKIP_KEY = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}")
_MAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")
_REGION_CODES = """
AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR
BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ
EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW
GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY
KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV
MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY
QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG
TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM
ZW XK
"""
_REGIONS = frozenset(_REGION_CODES.split())


def _clean_flag(key: Key, value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("Say true or false.")
    return value


def _clean_text(key: Key, value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("Give a text.")
    text = value.strip()
    if len(text) > key.most:
        raise ValueError(f"At most {key.most} characters.")
    if not _is_text(text):
        raise ValueError("Use letters, digits and signs only.")
    return _TEXTS.get(key.key, str)(text) if text else ""


def _language(text: str) -> str:
    first, dash, rest = text.replace("_", "-").partition("-")
    text = f"{first.lower()}{dash}{rest}"
    if not _LANGUAGE.fullmatch(text):
        raise ValueError("Give two or three letters of ISO 639, such as en or zh-Hans.")
    return text


def _region(text: str) -> str:
    # In capitals some other letters become two of these: "ß" would be South Sudan.
    if not text.isascii() or text.upper() not in _REGIONS:
        raise ValueError("Give two letters of ISO 3166, such as US.")
    return text.upper()


def _mail(text: str) -> str:
    if not _MAIL.fullmatch(text):
        raise ValueError("Give a mail address, such as help@example.com.")
    return text


def _phone(text: str) -> str:
    if not text.isprintable():
        raise ValueError("Give a phone number as people would dial it.")
    return text


_TEXTS: dict[str, Callable[[str], str]] = {
    "language": _language,
    "region": _region,
    "support_email_address": _mail,
    "support_phone_number": _phone,
}


def _clean_panes(key: Key, value: object) -> list[str]:
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise ValueError("Give a list of skip keys.")
    panes = sorted({each.strip() for each in value})
    if len(panes) > MAX_PANES:
        raise ValueError(f"At most {MAX_PANES} panes.")
    for pane in panes:
        if not _SKIP_KEY.fullmatch(pane):
            raise ValueError(f"{pane[:40]!r} is no skip key.")
    return panes


def _clean_certificates(key: Key, value: object) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(each, str) for each in texts):
        raise ValueError("Give certificates as PEM, or as base64 of DER.")
    found = [each for text in texts if text.strip() for each in _certificates_in(text)]
    if len(found) > MAX_CERTIFICATES:
        raise ValueError(f"At most {MAX_CERTIFICATES} certificates.")
    encoded = (each.public_bytes(Encoding.DER) for each in found)
    return list(dict.fromkeys(base64.b64encode(der).decode("ascii") for der in encoded))


def _certificates_in(text: str) -> list[x509.Certificate]:
    try:
        if "-----BEGIN" in text:
            return x509.load_pem_x509_certificates(text.encode())
        data = base64.b64decode("".join(text.split()), validate=True)
        return [x509.load_der_x509_certificate(data)]
    except (ValueError, x509.InvalidVersion):
        raise ValueError("One of these is no certificate in PEM, nor DER in base64.") from None


_CLEANERS: dict[Kind, Callable[[Key, object], Any]] = {
    Kind.FLAG: _clean_flag,
    Kind.TEXT: _clean_text,
    Kind.PANES: _clean_panes,
    Kind.CERTIFICATES: _clean_certificates,
}


# --- Rules between keys --------------------------------------------------------------------------


def _locked_needs_supervision(content: Content) -> str:
    if content["is_mdm_removable"] or content["is_supervised"]:
        return ""
    return "Management can be locked on supervised devices only: turn supervision on as well."


def _advance_needs_language(content: Content) -> str:
    return _needed_by_auto_advance(content, "language")


def _advance_needs_region(content: Content) -> str:
    return _needed_by_auto_advance(content, "region")


def _needed_by_auto_advance(content: Content, key: str) -> str:
    return (
        f"Auto advance needs a {key}." if content["auto_advance_setup"] and not content[key] else ""
    )


def _hosts_need_supervision(content: Content) -> str:
    if not content["supervising_host_certs"] or content["is_supervised"]:
        return ""
    return "Supervising hosts are for supervised devices: turn supervision on as well."


_RULES: tuple[tuple[str, Callable[[Content], str]], ...] = (
    ("is_mdm_removable", _locked_needs_supervision),
    ("language", _advance_needs_language),
    ("region", _advance_needs_region),
    ("supervising_host_certs", _hosts_need_supervision),
)


def _is_text(text: str) -> bool:
    """Whether it is UTF-8 without control characters. Spaces of other scripts are fine."""
    return not any(unicodedata.category(each) in ("Cc", "Cs") for each in text)


def _is_address(url: str) -> bool:
    """Whether it is an https address as Apple takes them. Raises ValueError for some bad hosts."""
    # urlsplit would pass over line breaks and blanks.
    plain = url.isprintable() and " " not in url and len(url) <= MAX_URL
    parts = urlsplit(url)
    return plain and parts.scheme == "https" and bool(parts.hostname)


def _copied(value: Any) -> Any:
    return list(value) if isinstance(value, list) else value
