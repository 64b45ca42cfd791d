"""What can go wrong in the lab.

LabError
├── AuthorityError      the lab's own certificates are missing or do not fit together
├── BadCms              a signed or enveloped message that is none, or whose signature is wrong
├── ScepFailed          the server refused to issue an identity
├── EnrollmentFailed    a device could not enroll; says at which step
├── ServerRefused       the server answered with a status other than 2xx
├── ServerUnreachable   no answer: connection refused, reset, TLS failure, time-out
├── UnknownDevice       no such device in this lab
├── UnknownFault        no such fault
├── PortalRefused       Apple Business Manager's portal does not take this
├── CursorRefused       the enrollment service does not take this cursor; the message is its word
└── LabNotRunning       nothing listens on the control socket
"""

from __future__ import annotations


class LabError(Exception):
    """Base of everything the lab raises on purpose; the message is a sentence for a person."""


class AuthorityError(LabError):
    pass


class BadCms(LabError):
    pass


class ScepFailed(LabError):
    pass


class EnrollmentFailed(LabError):
    pass


class ServerRefused(LabError):
    """`status` is the HTTP status, `body` what came with it."""

    def __init__(self, status: int, body: bytes = b"") -> None:
        super().__init__(f"The server answered {status}.")
        self.status = status
        self.body = body


class ServerUnreachable(LabError):
    pass


class UnknownDevice(LabError):
    pass


class UnknownFault(LabError):
    pass


class PortalRefused(LabError):
    pass


class CursorRefused(LabError):
    pass


class LabNotRunning(LabError):
    pass
