"""The client for Apple's device enrollment service.

It knows nothing of databases: whoever uses it keeps the session between two conversations and
sees to it that there is one conversation per token at a time. Its errors are drawn in `errors.py`.
"""

from abm.client.client import MOST_SERIALS, Client, Credentials, Deadlines, Patience
from abm.client.errors import (
    AbmError,
    AccessDenied,
    CursorError,
    CursorExhausted,
    CursorExpired,
    CursorInvalid,
    Refused,
    TermsNotSigned,
    Throttled,
    TokenExpired,
    TokenInvalid,
    Unavailable,
)

__all__ = [
    "MOST_SERIALS",
    "AbmError",
    "AccessDenied",
    "Client",
    "Credentials",
    "CursorError",
    "CursorExhausted",
    "CursorExpired",
    "CursorInvalid",
    "Deadlines",
    "Patience",
    "Refused",
    "TermsNotSigned",
    "Throttled",
    "TokenExpired",
    "TokenInvalid",
    "Unavailable",
]
