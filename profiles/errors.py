"""Why something about profiles and groups cannot be done.

    ProfileError
    ├── BadProfile     a profile that cannot be as asked; `errors` by field
    ├── BadGroup       a group that cannot be as asked; `field` names what is wrong
    └── NotNow         what is asked does not fit how things stand

Each message is a sentence for people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class ProfileError(Exception):
    """The message is a sentence that may be shown to people."""


class BadProfile(ProfileError):
    """What is wrong, by field; "" for the whole."""

    def __init__(self, errors: Mapping[str, Sequence[str]]) -> None:
        super().__init__(" ".join(said for each in errors.values() for said in each))
        self.errors = {key: list(said) for key, said in errors.items()}


class BadGroup(ProfileError):
    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class NotNow(ProfileError):
    pass
