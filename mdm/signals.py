"""What happens to enrollments, told inside the transaction in which it happens.

Receivers get `enrollment_id` (the device channel's or the user's) and `at`. They must be quick
and write little: the device waits for the commit.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from django.db import transaction
from django.dispatch import Signal

# A new enrollment period began. `returns` says whether there was one before; what is void then goes
# in the same statement (`statements.void_with`).
authenticated = Signal()
# The first TokenUpdate of a period: the device can be woken.
enrollment_completed = Signal()
# Management ended: CheckOut, an acknowledged erase, or an admin's release.
enrollment_ended = Signal()
# Devices enrolled, said something new about themselves, or were retired, brought back or are just
# being deleted: `device_ids`. What devices say is told by workers, some time after the answer, in
# their transaction.
devices_heard = Signal()


def transaction_for(signal: Signal) -> AbstractContextManager[Any]:
    """The transaction that receivers of `signal` are promised; where there are none, one statement
    is a transaction of its own, and two round trips less.
    """
    return transaction.atomic() if signal.has_listeners() else nullcontext()
