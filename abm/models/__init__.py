"""What is known of Apple Business Manager: our MDM servers there, the devices that each of them
lists, every run of the sync and every operation that Apple sent, and what Apple was asked to do.
"""

from abm.models.assignment import Assigning, Definition, Wish
from abm.models.devices import AbmDevice, LedgerEntry
from abm.models.disowns import Disown, DisownDevice
from abm.models.runs import RunLine, SyncRun
from abm.models.servers import KeyPair, Server, TokenUpload

__all__ = [
    "AbmDevice",
    "Assigning",
    "Definition",
    "Disown",
    "DisownDevice",
    "KeyPair",
    "LedgerEntry",
    "RunLine",
    "Server",
    "SyncRun",
    "TokenUpload",
    "Wish",
]
