"""The server token's file is read in every form that reaches an admin, and nothing else is."""

from __future__ import annotations

import base64
import quopri
import shutil
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abm.wire import server_token
from abm.wire.server_token import (
    NotAToken,
    ServerToken,
    ServerTokenError,
    Truncated,
    Unreadable,
    WrongKey,
    made_for,
    make_key_pair,
    open_envelope,
    read_envelope,
)
from tests.abm.wire.files import EXPIRY, content, sealed, words

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PAIR = make_key_pair("GuardMDM", NOW)
OTHER = make_key_pair("GuardMDM", NOW)


def opened(data: bytes) -> ServerToken:
    return open_envelope(read_envelope(data), PAIR.certificate_pem, PAIR.key_pem)


def token_file(*options: str, form: str = "SMIME", token: object = None) -> bytes:
    inside = content(words() if token is None else token)
    return sealed(PAIR.certificate_pem, inside, *options, form=form)


def body(data: bytes) -> bytes:
    return data.split(b"\n\n", 1)[1]


def mailed(data: bytes) -> bytes:
    """Forwarded as an attachment, with CRLF and folded anew."""
    text = base64.b64encode(base64.b64decode(body(data)))
    lines = [text[at : at + 40] for at in range(0, len(text), 40)]
    return b"\r\n".join(
        [
            b"Received: from mail.example.com; Mon, 05 Jan 2026 09:00:00 +0000",
            b"Subject: Fwd: the token",
            b"MIME-Version: 1.0",
            b'Content-Type: multipart/mixed; boundary="b0"',
            b"",
            b"--b0",
            b"Content-Type: text/plain",
            b"",
            b"Here it is. Regards, Ada",
            b"--b0",
            b'Content-Type: application/pkcs7-mime; name="smime.p7m"',
            b"Content-Transfer-Encoding: base64",
            b"",
            *lines,
            b"--b0--",
            b"",
        ]
    )


FORMS = {
    "as Apple sends it": lambda: token_file("-aes256"),
    "AES-128": lambda: token_file("-aes128"),
    "3DES": lambda: token_file("-des3"),
    "DER": lambda: token_file("-aes256", form="DER"),
    "BER in pieces": lambda: token_file("-aes256", "-stream", "-indef", form="DER"),
    "BER in mail": lambda: token_file("-aes256", "-stream", "-indef"),
    "PEM": lambda: token_file("-aes256", form="PEM"),
    "named by key id": lambda: token_file("-aes256", "-keyid", form="DER"),
    "base64 alone": lambda: body(token_file("-aes256")),
    "a forwarded mail": lambda: mailed(token_file("-aes256")),
    "CR for line ends": lambda: token_file("-aes256").replace(b"\n", b"\r"),
    "a BOM and blank lines": lambda: b"\xef\xbb\xbf\n\n" + token_file("-aes256") + b"\n\n-- \nAda",
    "quoted-printable": lambda: quopri.encodestring(token_file("-aes256")),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read(form):
    token = opened(FORMS[form]())

    assert (token.consumer_key, token.access_secret) == ("CK_1", "AS_1")
    assert token.access_token_expiry == EXPIRY


def test_json_without_its_wrapping_is_read_too():
    plain = sealed(PAIR.certificate_pem, str(words()).replace("'", '"').encode(), "-aes256")

    assert opened(plain).access_token == "AT_1"


def test_unknown_keys_are_kept_and_what_is_stored_reads_back():
    token = opened(token_file("-aes256", token=words(color="blue")))

    assert token.more == {"color": "blue"}
    assert ServerToken.from_json(token.to_json()) == token


def test_secrets_are_not_shown():
    shown = repr(opened(token_file("-aes256")))

    assert "CS_1" not in shown
    assert "AS_1" not in shown


def test_a_token_knows_whose_certificate_it_was_made_for():
    envelope = read_envelope(token_file("-aes256"))

    assert made_for(envelope, PAIR.certificate_pem)
    assert not made_for(envelope, OTHER.certificate_pem)
    with pytest.raises(WrongKey):
        open_envelope(envelope, OTHER.certificate_pem, OTHER.key_pem)


@pytest.mark.parametrize(
    ("file", "word"),
    [
        (lambda: b"", "empty"),
        (lambda: PAIR.certificate_pem, "certificate"),
        (lambda: PAIR.key_pem, "private key"),
        (lambda: b"<html><body>Sign in</body></html>", "page"),
        (lambda: str(words()).replace("'", '"').encode(), "decrypted"),
        (lambda: b"hello", "token"),
        (lambda: b"x" * 1_000_001, "too large"),
    ],
)
def test_another_file_is_named_for_what_it_is(file, word):
    with pytest.raises(NotAToken, match=word):
        read_envelope(file())


@pytest.mark.parametrize("form", ["SMIME", "DER"])
def test_a_download_that_broke_off_is_told(form):
    whole = token_file("-aes256", form=form)

    with pytest.raises(Truncated):
        read_envelope(whole[: len(whole) * 2 // 3])


@pytest.mark.parametrize(
    "token",
    [
        "no JSON at all",
        "[1]",
        {},
        words(consumer_secret=""),
        words(consumer_secret=7),
        words(consumer_secret="x" * 5000),
        words(consumer_secret="a b"),
        words(access_token_expiry="soon"),
        words(access_token_expiry=None),
    ],
)
def test_what_decrypts_to_no_token_is_refused(token):
    with pytest.raises(Unreadable):
        opened(token_file("-aes256", token=token))


WHOLE = token_file("-aes256", form="DER") if shutil.which("openssl") else b""


@settings(max_examples=300, deadline=None)
@given(st.integers(0, max(len(WHOLE) - 1, 0)), st.integers(0, 255), st.integers(0, len(WHOLE)))
def test_a_damaged_file_ends_in_one_kind_of_error(at, value, length):
    damaged = bytearray(WHOLE)
    damaged[at] = value

    for data in (bytes(damaged), WHOLE[:length], base64.b64encode(bytes(damaged[:length]))):
        with suppress(ServerTokenError):
            opened(data)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_end_in_one_kind_of_error(data):
    with pytest.raises(ServerTokenError):
        opened(b"\x30" + data)
    with pytest.raises(ServerTokenError):
        opened(data)


def test_deep_nesting_is_refused_quickly():
    with pytest.raises(ServerTokenError):
        read_envelope(b"\x30\x80" * 100_000)


def test_key_pairs_are_no_twins():
    assert PAIR.certificate_pem != OTHER.certificate_pem
    assert b"PRIVATE" not in repr(server_token.make_key_pair("x", NOW)).encode()
