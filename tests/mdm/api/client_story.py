"""What a program does with the generated client, in the client's types: `test_client.py` makes the
client, has mypy read this, and runs it.
"""

from __future__ import annotations

from guardmdm_client import AuthenticatedClient
from guardmdm_client.api.commands import commands_create
from guardmdm_client.api.devices import devices_list, devices_retrieve
from guardmdm_client.api.entries import entries_list
from guardmdm_client.models import (
    DevicesListStateItem,
    Entry,
    Error,
    NewCommandRequest,
    PaginatedDeviceList,
    PaginatedEntryList,
    Sent,
)


def serial_numbers(client: AuthenticatedClient) -> list[str | None]:
    """Of every enrolled device."""
    page = devices_list.sync(client=client, state=[DevicesListStateItem.ENROLLED])
    assert isinstance(page, PaginatedDeviceList)
    return [device.serial_number for device in page.results]


def send(client: AuthenticatedClient, request_type: str, to: list[str], key: str) -> Sent | Error:
    """Once, however often this is called with one key."""
    wanted = NewCommandRequest(request_type=request_type, serial_numbers=to)
    sent = commands_create.sync(client=client, body=wanted, idempotency_key=key)
    assert sent is not None
    return sent


def entries(client: AuthenticatedClient, sent: Sent) -> list[Entry]:
    """What became of it, device by device."""
    page = entries_list.sync(client=client, command=sent.command.uuid)
    assert isinstance(page, PaginatedEntryList)
    return page.results


def read_again(client: AuthenticatedClient, device: int) -> int:
    """The status of reading a device that has not changed since."""
    first = devices_retrieve.sync_detailed(device, client=client)
    etag = first.headers["ETag"]
    return devices_retrieve.sync_detailed(device, client=client, if_none_match=etag).status_code
