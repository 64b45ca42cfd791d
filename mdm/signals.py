"""What happens to enrollments, told inside the transaction in which it happens.

Receivers get `enrollment_id` (the device channel's or the user's) and `at`. They must be quick
and write little: the device waits for the commit.
"""

from django.dispatch import Signal

# A new enrollment period began. `returns` says whether there was one before: then what was queued
# for it or known from it is void.
authenticated = Signal()
# The first TokenUpdate of a period: the device can be woken.
enrollment_completed = Signal()
# Management ended: CheckOut, an acknowledged erase, or an admin's release.
enrollment_ended = Signal()
