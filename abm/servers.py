"""Our MDM servers in Apple Business Manager: making one, what Apple says of it, naming it, ending
it. Its token is `tokens.py`, its state `state.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from django.db import transaction
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.utils import timezone

from abm import runs, store
from abm.client import MOST_SERIALS
from abm.models import AbmDevice, KeyPair, LedgerEntry, Server
from abm.wire import records
from abm.wire.records import Account
from abm.wire.server_token import make_key_pair
from mdm import secrets
from mdm.audit.actor import Actor
from mdm.audit.record import allow, record
from mdm.webhooks.outbox import emit

MAX_NAME = 125
# Where Apple does not say how many devices a page may have.
USUAL_MAXIMUM = 1_000
_LARGEST_PAGE = 10_000


class BadServer(Exception):
    """What is wrong with a name or a page size."""


def create(actor: Actor, name: str) -> Server:
    """A server with a key pair, whose certificate is to be uploaded to ABM. Raises NotAllowed,
    BadServer.
    """
    allow(actor, "abm.connect")
    name, pair = _name(name), _made_key_pair()
    with transaction.atomic():
        server = Server.objects.create(name=name)
        pair.server = server
        pair.save()
        _record(actor, "abm.server.create", server, after={"name": server.name})
    return server


def new_key_pair(actor: Actor, server: Server) -> KeyPair:
    """Another key pair beside those there are: tokens for the earlier ones are still read.

    Raises NotAllowed.
    """
    allow(actor, "abm.connect")
    pair = _made_key_pair()
    with transaction.atomic():
        pair.server = server
        pair.save()
        _record(actor, "abm.server.key", server, after={"key_pair": pair.pk})
    return pair


def current_key_pair(server: Server) -> KeyPair:
    """The newest: the one whose certificate is offered for upload."""
    return server.key_pairs.latest("pk")


def change(
    actor: Actor,
    server: Server,
    *,
    name: str | None = None,
    page_size: int | None = None,
    assigning_batch: int | None = None,
) -> None:
    """Raises NotAllowed, BadServer."""
    allow(actor, "abm.connect")
    after: dict[str, object] = {}
    if name is not None:
        after["name"] = _name(name)
    if page_size is not None:
        after["page_size"] = _page_size(server, page_size)
    if assigning_batch is not None:
        after["assigning_batch"] = _assigning_batch(assigning_batch)
    before = {key: getattr(server, key) for key in after}
    if before == after:
        return
    for key, value in after.items():
        setattr(server, key, value)
    with transaction.atomic():
        server.save(update_fields=list(after))
        _record(actor, "abm.server.change", server, before=before, after=after)


def disconnect(actor: Actor, server: Server) -> None:
    """Forget the token and the keys; its devices leave the list here, and stay enrolled. Nothing
    changes in ABM. Raises NotAllowed.
    """
    allow(actor, "abm.connect")
    with transaction.atomic():
        # First of all: a run that goes on writes nothing from here.
        Server.objects.filter(pk=server.pk).update(
            disconnected_at=timezone.now(),
            sealed_token=None,
            run_id=None,
            phase=Server.Phase.LIST,
            cursor="",
        )
        _take_off_the_list(server)
        server.key_pairs.all().delete()
        server.uploads.all().delete()
        _record(actor, "abm.server.disconnect", server, before={"name": str(server)})
        emit("abm.server.disconnected", str(server.pk), {"name": str(server)})
    server.refresh_from_db()


def connected() -> QuerySet[Server]:
    """The servers that were not disconnected, in the order in which they were made."""
    return Server.objects.filter(disconnected_at=None).order_by("pk")


def with_counts() -> QuerySet[Server]:
    """The connected servers, each with its `device_count`."""
    listed = AbmDevice.objects.filter(server=OuterRef("pk"), removed_at=None)
    counted = listed.order_by().values("server").annotate(count=Count("pk")).values("count")
    return connected().annotate(device_count=Coalesce(Subquery(counted), 0))


def due(now: datetime | None = None) -> list[int]:
    """The servers that the beat has synced: with a token in its time, and no pause to keep."""
    moment = now or timezone.now()
    rows = connected().filter(sealed_token__isnull=False).exclude(token_expires_at__lte=moment)
    return list(rows.exclude(retry_at__gt=moment).values_list("pk", flat=True))


def sync_due() -> int:
    """Call workers to all servers that are due; returns how many. The beat's five minutes."""
    found = due()
    for server_id in found:
        runs.publish(server_id)
    return len(found)


def ask_for_lists() -> int:
    """Have the next run of each server read its whole list; once a night."""
    return connected().filter(sealed_token__isnull=False).update(list_asked_at=timezone.now())


def note_account(server: Server, account: Account) -> None:
    """Keep what Apple says of the server, if it says something new."""
    if server.account == account.more:
        return
    for key, value in facts_of(account).items():
        setattr(server, key, value)
    server.save(update_fields=[*facts_of(account)])


def facts_of(account: Account) -> Mapping[str, object]:
    """The columns of a server that its account fills."""
    return {
        "server_uuid": account.server_uuid,
        "server_name": account.server_name,
        "org_name": account.org_name,
        "admin_id": account.admin_id,
        "account": account.more,
        "account_read_at": timezone.now(),
    }


def maximum(server: Server, uri: str) -> int:
    """How many devices one page may have, as Apple says in /account."""
    return records.maximum(server.account, uri) or USUAL_MAXIMUM


def page_size(server: Server, uri: str) -> int:
    """How many devices to ask for at a time."""
    return min(server.page_size, maximum(server, uri))


def _made_key_pair() -> KeyPair:
    """Takes a while: nothing is to be locked meanwhile."""
    made = make_key_pair("GuardMDM", timezone.now())
    return KeyPair(
        certificate=made.certificate_pem.decode(),
        sealed_key=secrets.seal("server_token_key", made.key_pem),
    )


def _name(name: str) -> str:
    cleaned = " ".join(name.replace("\0", "").split())
    if not cleaned:
        raise BadServer("Give the server a name, such as the one it has in ABM.")
    if len(cleaned) > MAX_NAME:
        raise BadServer(f"A name has at most {MAX_NAME} characters.")
    return cleaned


def _page_size(server: Server, size: int) -> int:
    most = min(maximum(server, "/devices/sync"), _LARGEST_PAGE)
    if not 1 <= size <= most:
        raise BadServer(f"Apple gives this server pages of 1 to {most:,} devices.")
    return size


def _assigning_batch(size: int) -> int:
    if not 1 <= size <= MOST_SERIALS:
        raise BadServer(f"Apple takes 1 to {MOST_SERIALS:,} devices in a request.")
    return size


def _take_off_the_list(server: Server) -> None:
    devices = server.devices.filter(removed_at=None)
    serials = list(devices.values_list("serial_number", flat=True))
    gone = {"source": LedgerEntry.Source.OURS, "decision": LedgerEntry.Decision.REMOVED}
    LedgerEntry.objects.bulk_create(
        (LedgerEntry(server=server, serial_number=serial, **gone) for serial in serials),
        batch_size=2_000,
    )
    devices.update(removed_at=timezone.now())
    store.settle_current(serials)


def _record(actor: Actor, action: str, server: Server, **more: Mapping[str, object]) -> None:
    record(actor, action, subject_kind="abm_server", subject_id=server.pk, **more)
