"""Why Apple's device enrollment service did not do what was asked; callers catch by meaning.

AbmError
├── TermsNotSigned    the organization has to accept new terms in Apple Business Manager
├── TokenExpired      the server token's year is over
├── TokenInvalid      Apple does not know this token any more, or refuses its signature
├── AccessDenied      the token is good, but not for this
├── CursorError
│   ├── CursorExpired     older than seven days
│   ├── CursorInvalid     Apple does not know it
│   └── CursorExhausted   everything behind it has been read
├── Throttled         too many requests; `retry_after` seconds where Apple says so
├── Unavailable       no answer, or none that can be read; `retry_after` likewise
└── Refused           anything else that Apple refuses; `code` is its word for it
"""

from __future__ import annotations


class AbmError(Exception):
    """Why Apple's device enrollment service did not do what was asked; the message says so."""

    def __init__(self, said: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(said)
        self.said = said
        self.retry_after = retry_after


class TermsNotSigned(AbmError):
    pass


class TokenExpired(AbmError):
    pass


class TokenInvalid(AbmError):
    pass


class AccessDenied(AbmError):
    pass


class CursorError(AbmError):
    pass


class CursorExpired(CursorError):
    pass


class CursorInvalid(CursorError):
    pass


class CursorExhausted(CursorError):
    pass


class Throttled(AbmError):
    pass


class Unavailable(AbmError):
    pass


class Refused(AbmError):
    """`status` is HTTP's, `code` Apple's word, such as "PROFILE_NOT_FOUND"."""

    def __init__(self, said: str, status: int) -> None:
        super().__init__(said)
        self.status = status
        self.code = said
