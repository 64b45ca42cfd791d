"""Why someone does not get in.

    EnrollmentError
    ├── BadLink              a link that cannot be made as asked
    ├── BadMinimum           a minimum OS that cannot be
    ├── NotReady             the server lacks something that enrollment needs
    └── Closed               a link that lets nobody in
        ├── UnknownLink      there is none with this address
        ├── ExpiredLink
        ├── UsedUpLink
        └── RevokedLink

What can be wrong with a SCEP message is `enrollment/wire/errors.py`.
"""

from __future__ import annotations


class EnrollmentError(Exception):
    """The message is a sentence that may be shown to people."""


class BadLink(EnrollmentError):
    """A link that cannot be made as asked; `field` names what is wrong."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class BadMinimum(EnrollmentError):
    """A minimum OS that cannot be."""


class NotReady(EnrollmentError):
    """Nobody can enroll yet; the message says what an admin has to do."""


class Closed(EnrollmentError):
    """A link that lets nobody in."""


class UnknownLink(Closed):
    """No link has this address."""


class ExpiredLink(Closed):
    """The link's time is over."""


class UsedUpLink(Closed):
    """The link has let in as many devices as it may."""


class RevokedLink(Closed):
    """An admin closed the link."""
