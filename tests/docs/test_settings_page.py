"""docs/settings.md says what mdm/env.py does."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from mdm.env import Env

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def rows() -> list[str]:
    """The table as the code has it."""
    made = ["| setting | needed in production | what it says |", "| --- | --- | --- |"]
    for field in fields(Env):
        needed = "yes" if field.metadata["required"] else ""
        made.append(f"| `{field.metadata['name']}` | {needed} | {field.metadata['help']} |")
    return made


def test_the_page_lists_every_setting_as_the_code_has_it():
    table = "\n".join(rows())

    assert table in PAGE.read_text(), "docs/settings.md lacks this table:\n" + table
