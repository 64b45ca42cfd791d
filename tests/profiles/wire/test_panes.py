"""The table of panes against Apple's facts, and as people read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from profiles.wire.panes import BY_KEY, PANES, Pane, Since

FACTS = Path(__file__).parents[4] / "shared" / "spec" / "skipkeys.json"


def as_apple_says(since: Since) -> dict[str, Any]:
    said = {"min": since.since, "alwaysSkippable": since.always}
    ends = {"deprecated": since.deprecated, "removed": since.removed}
    return said | {key: value for key, value in ends.items() if value}


@pytest.mark.skipif(not FACTS.exists(), reason="the facts are not beside this checkout")
def test_the_table_is_apples_and_nothing_else() -> None:
    apple = {
        each["key"]: {
            os: {"alwaysSkippable": True} | facts for os, facts in sorted(each["os"].items())
        }
        for each in json.loads(FACTS.read_text())["skip_keys"]
    }

    ours = {
        pane.key: {on.os: as_apple_says(on) for on in sorted(pane.on, key=lambda on: on.os)}
        for pane in PANES
    }

    assert ours == apple


def test_panes_stand_in_the_order_of_their_titles_and_each_once() -> None:
    titles = [pane.title.casefold() for pane in PANES]

    assert titles == sorted(set(titles))
    assert {key: pane.key for key, pane in BY_KEY.items()} == {pane.key: pane.key for pane in PANES}
    assert len(BY_KEY) == len(PANES)


def test_each_pane_names_each_os_once_in_one_order_and_explains_itself() -> None:
    order = ["iOS", "macOS", "tvOS", "visionOS"]
    for pane in PANES:
        assert [on.os for on in pane.on] == [os for os in order if os in {on.os for on in pane.on}]
        assert pane.on
        assert pane.line.endswith(".")
        assert "\n" not in pane.line


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("Appearance", "iOS 13 · macOS 10.14"),
        ("FileVault", "macOS 10.10"),
        ("Wallpaper", "macOS 14.1 until 26"),
        ("Zoom", "iOS 8.3, deprecated in 17 · visionOS 26"),
    ],
)
def test_where_a_pane_is_reads_in_a_few_words(key: str, text: str) -> None:
    assert BY_KEY[key].where == text


def test_a_pane_that_was_deprecated_and_removed_says_until_when() -> None:
    pane = Pane("X", "X", "X.", (Since(os="iOS", since="9.0", deprecated="12.0", removed="13.0"),))

    assert pane.where == "iOS 9 until 13"
