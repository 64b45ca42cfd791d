"""What the catalog says of each command is what Apple's schema says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from commands import catalog
from commands.catalog import AccessRight, Parameter, Platform, Support
from commands.catalog.queries import QUERIES

SCHEMA = Path(__file__).resolve().parents[4] / "shared" / "spec" / "commands.json"
pytestmark = pytest.mark.skipif(not SCHEMA.exists(), reason="Apple's schema is not at hand")

TYPES = [command for command in catalog.all_types() if command.request_type != "Raw"]
NAMES = [command.request_type for command in TYPES]
RIGHTS = {right.name.replace("_", "").lower(): right for right in AccessRight if right.name}


def apple(request_type: str) -> dict[str, Any]:
    commands = json.loads(SCHEMA.read_text())["commands"]
    return next(item for item in commands if item["RequestType"] == request_type)


def apple_support(facts: Mapping[str, Any], platform: str) -> Support:
    """Apple's facts about one platform in the catalog's words."""
    shared = facts.get("sharedipad") or {}
    channels = {
        channel
        for channel in ("device", "user")
        if shared.get(channel) and shared.get("mode") != "forbidden"
    }
    return Support(
        min_version=facts["min"],
        supervised=facts.get("supervised", False),
        channels=frozenset({"device", "user"} if facts.get("user") else {"device"}),
        user_enrollment=facts.get("ue") == "allowed",
        shared_ipad=frozenset(channels),
        shared_ipad_only=shared.get("mode") == "required",
        access=RIGHTS.get((facts.get("access") or "").lower(), AccessRight(0)),
    )


def merged(above: Mapping[str, Any], below: Mapping[str, Any]) -> dict[str, Any]:
    """A key's facts stand over its command's, except the right, which each query names itself."""
    result = {**above, **below, "access": below.get("access")}
    if "sharedipad" in above:
        result["sharedipad"] = {**above["sharedipad"], **below.get("sharedipad", {})}
    return result


@pytest.mark.parametrize("request_type", NAMES)
def test_support_is_what_apple_says(request_type: str) -> None:
    expected = {
        Platform(name): apple_support(facts, name)
        for name, facts in apple(request_type)["os"].items()
    }
    assert dict(catalog.get(request_type).support) == expected


@pytest.mark.parametrize("request_type", NAMES)
def test_parameters_are_those_apple_knows(request_type: str) -> None:
    described = apple(request_type)["request"]
    # The unlock token comes from the enrollment, never from whoever asks for the command.
    expected = [item for item in described if item["key"] != "UnlockToken"]
    platforms = set(apple(request_type)["os"])
    check_parameters(catalog.get(request_type).parameters, expected, platforms)


def check_parameters(
    ours: tuple[Parameter, ...], apples: list[dict[str, Any]], platforms: set[str]
) -> None:
    assert {parameter.key for parameter in ours} == {item["key"] for item in apples}
    by_key = {item["key"]: item for item in apples}
    for parameter in ours:
        item = by_key[parameter.key]
        assert parameter.type == item["type"], parameter.key
        assert parameter.required == item.get("req", False) or parameter.key == "Queries"
        assert limits_of(parameter, platforms) == limits_in(item), parameter.key
        if "values" in item:
            assert set(parameter.choices) == set(item["values"])
        if parameter.item is not None and "values" in item["keys"][0]:
            assert set(parameter.item.choices) == set(item["keys"][0]["values"])
        if parameter.fields:
            check_parameters(parameter.fields, item["keys"], platforms)


def limits_of(parameter: Parameter, platforms: set[str]) -> dict[str, str | None]:
    named = {str(platform): version for platform, version in parameter.limits.items()}
    return {platform: named[platform] for platform in named if platform in platforms}


def limits_in(item: Mapping[str, Any]) -> dict[str, str | None]:
    found = {name: facts.get("min") for name, facts in item.get("os", {}).items()}
    named = {name: version for name, version in found.items() if version is not None}
    return {
        name: None if version == "n/a" else version if "." in version else f"{version}.0"
        for name, version in named.items()
    }


def test_the_names_to_query_are_those_apple_knows() -> None:
    names = {item["key"] for item in apple_queries() if not gone(item)}
    assert set(QUERIES) == names


def test_each_query_has_apples_support() -> None:
    command = apple("DeviceInformation")["os"]
    for item in apple_queries():
        if gone(item):
            continue
        expected = {}
        for platform, facts in command.items():
            own = item["os"].get(platform, {})
            if own.get("min") == "n/a":
                continue
            support = apple_support(merged(facts, own), platform)
            version = support.min_version
            dotted = version if "." in version else f"{version}.0"
            expected[Platform(platform)] = with_version(support, dotted)
        assert dict(QUERIES[item["key"]].support) == expected, item["key"]


def apple_queries() -> list[dict[str, Any]]:
    queries: list[dict[str, Any]] = apple("DeviceInformation")["request"][0]["keys"][0]["keys"]
    return queries


def gone(item: Mapping[str, Any]) -> bool:
    return any("removed" in facts for facts in item["os"].values())


def with_version(support: Support, version: str) -> Support:
    fields = {name: getattr(support, name) for name in support.__slots__}
    return Support(**{**fields, "min_version": version})
