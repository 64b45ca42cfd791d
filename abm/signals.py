"""What the sync tells the apps above."""

from __future__ import annotations

from django.dispatch import Signal

# Inside the transaction that writes them: `serial_numbers` came, changed or went on some server.
devices_changed = Signal()
# After a run of the sync, whatever its end: `server_id`. Then Apple is told what follows from it.
synced = Signal()
