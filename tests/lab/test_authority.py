"""The lab's own Apple: certificates as Apple's, kept, and renewed as Apple renews them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from lab.authority import ensure_authority, topic_of


def test_a_push_certificate_names_its_topic_as_apples_do(tmp_path: Path) -> None:
    authority = ensure_authority(tmp_path)
    certificate, _ = authority.push.load()
    topic = topic_of(certificate)
    assert topic is not None
    assert topic.startswith("com.apple.mgmt.External.")
    suffix = topic.rpartition(".")[2]
    assert f"CN=APSP:{suffix}" in certificate.subject.rfc4514_string()


def test_the_same_folder_gives_the_same_certificates(tmp_path: Path) -> None:
    first = {p.name: p.read_bytes() for p in ensure_authority(tmp_path).folder.iterdir()}
    again = {p.name: p.read_bytes() for p in ensure_authority(tmp_path).folder.iterdir()}
    assert first == again


def test_a_push_certificate_that_runs_out_is_renewed_with_its_topic(tmp_path: Path) -> None:
    authority = ensure_authority(tmp_path)
    topic, now = authority.topic, datetime.now(UTC)
    authority.issue_push_certificate(
        topic,
        not_before=now - timedelta(days=360),
        not_after=now + timedelta(days=5),
        into=authority.push,
    )
    renewed, _ = ensure_authority(tmp_path).push.load()
    assert topic_of(renewed) == topic
    assert renewed.not_valid_after_utc > now + timedelta(days=300)


def test_private_keys_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    authority = ensure_authority(tmp_path)
    for pair in (authority.root, authority.apns, authority.push):
        assert pair.key.stat().st_mode & 0o077 == 0
