"""What happens to enrollments, told inside the transaction in which it happens.

Receivers get `enrollment_id` (the device channel's or the user's) and `at`. They must be quick
and write little: the device waits for the commit.
"""

from django.dispatch import Signal

# A new enrollment period began: what was queued or known of the last one is void.
authenticated = Signal()
# The first TokenUpdate of a period: the device can be woken.
enrollment_completed = Signal()
# Management ended: CheckOut, an acknowledged erase, or an admin's release.
enrollment_ended = Signal()
