"""Who speaks: the ids of each kind of enrollment and channel, and the keys made of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdm.protocol.errors import BadMessage
from mdm.protocol.ids import SHARED_IPAD_USER_ID, EnrollmentID

UDID = "00008030-000A1B2C3D4E5F6A"
MAC = "9353BC9A-5CF9-4C9E-9AD4-8D1E41D5FE3E"
USER = "A9F2C3D4-0000-4000-8000-123456789ABC"


def test_a_device_is_known_by_its_udid_in_any_case() -> None:
    sent = EnrollmentID.from_message({"UDID": UDID})
    assert (sent.kind, sent.channel, sent.device_id) == ("device", "device", UDID)
    assert sent.key == sent.device_key == UDID.lower()
    assert EnrollmentID.from_message({"UDID": UDID.lower()}).key == sent.key


def test_a_user_enrollment_is_known_by_its_enrollment_id() -> None:
    sent = EnrollmentID.from_message({"EnrollmentID": MAC})
    assert (sent.kind, sent.channel, sent.key) == ("user_enrollment", "device", MAC.lower())


def test_a_mac_user_is_known_by_device_and_user_id() -> None:
    message = {"UDID": MAC, "UserID": USER, "UserShortName": "ann", "UserLongName": "Ann Müller"}
    sent = EnrollmentID.from_message(message)
    assert (sent.channel, sent.user_id) == ("user", USER)
    assert (sent.user_short_name, sent.user_long_name) == ("ann", "Ann Müller")
    assert sent.key == f"{MAC}:{USER}".lower()
    assert sent.device_key == MAC.lower()


def test_a_user_of_a_user_enrollment_is_known_by_the_enrollment_user_id() -> None:
    sent = EnrollmentID.from_message({"EnrollmentID": MAC, "EnrollmentUserID": USER})
    assert (sent.kind, sent.channel) == ("user_enrollment", "user")
    assert sent.key == f"{MAC}:{USER}".lower()


@pytest.mark.parametrize("constant", [SHARED_IPAD_USER_ID, SHARED_IPAD_USER_ID.lower()])
def test_a_shared_ipad_user_is_known_by_the_short_name(constant: str) -> None:
    message = {"UDID": UDID, "UserID": constant, "UserShortName": "Ann@Example.com"}
    sent = EnrollmentID.from_message(message)
    assert sent.channel == "shared_ipad_user"
    assert sent.key == f"{UDID}:ann@example.com".lower()


def test_a_shared_ipad_user_without_a_short_name_is_refused() -> None:
    for name in ({}, {"UserShortName": ""}):
        with pytest.raises(BadMessage):
            EnrollmentID.from_message({"UDID": UDID, "UserID": SHARED_IPAD_USER_ID, **name})


def test_a_name_alone_does_not_make_a_user_channel() -> None:
    sent = EnrollmentID.from_message({"UDID": MAC, "UserShortName": "ann", "UserLongName": ""})
    assert (sent.channel, sent.key, sent.user_long_name) == ("device", MAC.lower(), None)


def test_a_device_cannot_pose_as_anothers_user() -> None:
    user = EnrollmentID.from_message({"UDID": MAC, "UserID": USER})
    with pytest.raises(BadMessage):
        EnrollmentID.from_message({"UDID": user.key})


@pytest.mark.parametrize(
    "value", ["", " ", "a b", "a\0b", "a\nb", "é", "a:b", "A" * 256, b"abc", 7, None, ["a"], {}]
)
@pytest.mark.parametrize("field", ["UDID", "EnrollmentID"])
def test_an_unusable_device_id_is_refused(field: str, value: object) -> None:
    with pytest.raises(BadMessage) as caught:
        EnrollmentID.from_message({field: value})
    assert caught.value.reason == "device-id"


def test_a_message_without_an_id_is_refused() -> None:
    with pytest.raises(BadMessage):
        EnrollmentID.from_message({"UserID": USER})


@pytest.mark.parametrize("value", ["", "a\0b", "a\x1bb", "\ud800", "A" * 256, "İ" * 200, b"x", 7])
@pytest.mark.parametrize("field", ["UserID", "EnrollmentUserID"])
def test_an_unusable_user_id_is_refused(field: str, value: object) -> None:
    with pytest.raises(BadMessage) as caught:
        EnrollmentID.from_message({"UDID": MAC, field: value})
    assert caught.value.reason == "user-id"


@pytest.mark.parametrize("value", ["a\0b", "a\rb", "A" * 256, b"x", True])
@pytest.mark.parametrize("field", ["UserShortName", "UserLongName"])
def test_an_unusable_user_name_is_refused(field: str, value: object) -> None:
    with pytest.raises(BadMessage) as caught:
        EnrollmentID.from_message({"UDID": MAC, "UserID": USER, field: value})
    assert caught.value.reason == "user-name"


@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: st.text(max_size=300) | st.integers() | st.binary() | st.none()
            for name in ("UDID", "EnrollmentID", "UserID", "EnrollmentUserID", "UserShortName")
        },
    )
)
def test_whatever_is_accepted_has_a_key_that_fits(message: dict[str, object]) -> None:
    try:
        sent = EnrollmentID.from_message(message)
    except BadMessage:
        return
    assert 0 < len(sent.device_key) <= 255
    assert len(sent.key) <= 511
    assert sent.key.partition(":")[0] == sent.device_key
    assert "\0" not in sent.key
