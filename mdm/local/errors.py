"""The errors of running on one machine; each message is the one line that a person gets to see.

LocalError
├── Refused          not meant to be run here
├── StateError       the state folder: locked, foreign, newer
├── DiskFull
├── PortInUse
├── MissingPart      a program or package that should be there is not, or cannot run here
└── PartFailed       a process did not start, or ended by itself
"""

from __future__ import annotations


class LocalError(Exception):
    """Why the server cannot run here, in one line."""


class Refused(LocalError):
    """This way of running is not meant for this environment."""


class StateError(LocalError):
    """The state folder is in use, or not one that this version may write to."""


class DiskFull(LocalError):
    """There is too little room to go on."""


class PortInUse(LocalError):
    """Another program listens where this one should."""


class MissingPart(LocalError):
    """A program or package that should be there is missing, or cannot run here."""


class PartFailed(LocalError):
    """A process did not start, or ended by itself."""
