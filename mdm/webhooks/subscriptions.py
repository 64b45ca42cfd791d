"""Webhooks as admins have them: made, changed, switched, tried, their deliveries replayed.

WebhookError
├── BadWebhook      a field cannot be used; `field` names it
└── SwitchedOff     it is off, and sends nothing

The text of a secret is shown once, by who made or rotated it. An address may hold a secret too: the
audit log has its host alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from mdm import outbound
from mdm.audit.actor import Actor
from mdm.audit.record import allow, record
from mdm.secrets import seal
from mdm.webhooks import kinds as table
from mdm.webhooks import signing
from mdm.webhooks.models import Delivery, Subscription
from mdm.webhooks.outbox import emit

SECRET = "webhook_secret"
# For how long the secret before signs as well.
OVERLAP = timedelta(days=1)
MOST = 50
_AHEAD = timedelta(days=30)

_State = Delivery.State


class WebhookError(Exception):
    """Its message is a sentence for people."""


class BadWebhook(WebhookError):
    """What was given for `field` cannot be used."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class SwitchedOff(WebhookError):
    """It sends nothing now."""


@transaction.atomic
def create(actor: Actor, *, name: str, url: str, kinds: Iterable[str]) -> tuple[Subscription, str]:
    """Make a webhook; returns it with the text of its secret. Raises NotAllowed, BadWebhook."""
    allow(actor, "webhook.manage")
    if Subscription.objects.count() >= MOST:
        raise BadWebhook("name", f"There are {MOST} webhooks, and no more are kept.")
    secret = signing.new_secret()
    made = Subscription.objects.create(
        name=_name(name),
        url=_url(url),
        kinds=_kinds(kinds),
        active_since=timezone.now(),
        sealed_secret=seal(SECRET, secret.encode()),
        created_by=actor.name,
    )
    made.refresh_from_db()
    _record(actor, "webhook.create", made, after=_facts(made))
    return made, secret


@transaction.atomic
def change(
    actor: Actor,
    webhook: Subscription,
    *,
    name: str | None = None,
    url: str | None = None,
    kinds: Iterable[str] | None = None,
) -> Subscription:
    """Change what is given. Raises NotAllowed, BadWebhook."""
    allow(actor, "webhook.manage")
    found = _held(webhook)
    before = _facts(found)
    found.name = found.name if name is None else _name(name)
    if url is not None and (url := _url(url)) != found.url:
        # How the receiver at the address before did says nothing of this one.
        found.url, found.failing_since = url, None
    found.kinds = found.kinds if kinds is None else _kinds(kinds)
    found.save(update_fields=["name", "url", "kinds", "failing_since"])
    _record(actor, "webhook.change", found, before=before, after=_facts(found))
    return found


@transaction.atomic
def switch(actor: Actor, webhook: Subscription, on: bool) -> Subscription:
    """Let it hear of what happens from now on, or of nothing; what waits then ends as failed, and
    can be replayed. Raises NotAllowed.
    """
    allow(actor, "webhook.manage")
    found = _held(webhook)
    if found.active == on and not found.off_because:
        return found
    if on:
        found.active, found.active_since = True, timezone.now()
        found.off_because, found.failing_since = "", None
        found.save(update_fields=["active", "active_since", "off_because", "failing_since"])
    else:
        _switch_off(found, "")
    _record(actor, "webhook.on" if on else "webhook.off", found)
    return found


@transaction.atomic
def rotate(actor: Actor, webhook: Subscription) -> tuple[Subscription, str]:
    """Give it a new secret, whose text is returned; the old one signs too for a day. Raises
    NotAllowed.
    """
    allow(actor, "webhook.manage")
    found, secret = _held(webhook), signing.new_secret()
    found.sealed_old_secret = found.sealed_secret
    found.old_secret_until = timezone.now() + OVERLAP
    found.sealed_secret = seal(SECRET, secret.encode())
    found.save(update_fields=["sealed_secret", "sealed_old_secret", "old_secret_until"])
    _record(actor, "webhook.rotate", found)
    return found, secret


@transaction.atomic
def delete(actor: Actor, webhook: Subscription) -> None:
    """Delete it with the log of its deliveries. Raises NotAllowed."""
    allow(actor, "webhook.manage")
    found = _held(webhook)
    _record(actor, "webhook.delete", found, before=_facts(found))
    found.deliveries.all()._raw_delete("default")
    found.delete()


@transaction.atomic
def test(actor: Actor, webhook: Subscription) -> Delivery:
    """Have a test event sent within a second or two, ahead of what waits, once. Raises NotAllowed
    and SwitchedOff.
    """
    allow(actor, "webhook.manage")
    found = _held(webhook)
    if not found.active:
        raise SwitchedOff("This webhook is off. Switch it on, then try it.")
    now = timezone.now()
    event = emit(table.TEST.name, str(found.pk), {"by": actor.name})
    event.spread_at = now
    event.save(update_fields=["spread_at"])
    made = Delivery.objects.create(
        subscription=found, event=event, at=event.at, due_at=now - _AHEAD
    )
    _record(actor, "webhook.test", found)
    return made


@transaction.atomic
def replay(actor: Actor, delivery: Delivery) -> Delivery:
    """Send it once more, with its id and all its tries. Raises NotAllowed and SwitchedOff."""
    allow(actor, "webhook.manage")
    _replay(actor, delivery.subscription, Delivery.objects.filter(pk=delivery.pk))
    delivery.refresh_from_db()
    return delivery


@transaction.atomic
def replay_failed(actor: Actor, webhook: Subscription) -> int:
    """Send all once more that failed; returns how many. Raises NotAllowed and SwitchedOff."""
    allow(actor, "webhook.manage")
    failed = Delivery.objects.filter(subscription=webhook, state=_State.FAILED)
    return _replay(actor, webhook, failed.exclude(event__kind=table.TEST.name))


def give_up(pk: int, because: str) -> None:
    """Switch one off that does not take events any more."""
    with transaction.atomic():
        found = Subscription.objects.select_for_update().filter(pk=pk, active=True).first()
        if found is not None:
            _switch_off(found, because)
            _record(Actor.system("webhooks"), "webhook.off", found, after={"because": because})


def _replay(actor: Actor, webhook: Subscription, rows: QuerySet[Delivery]) -> int:
    if not _held(webhook).active:
        raise SwitchedOff("This webhook is off. Switch it on, then send these again.")
    over = rows.filter(state__in=[_State.DELIVERED, _State.FAILED])
    count = over.update(state=_State.WAITING, due_at=timezone.now(), tries=0)
    if count:
        _record(actor, "webhook.replay", webhook, after={"deliveries": count})
    return count


def _switch_off(found: Subscription, because: str) -> None:
    found.active, found.off_because = False, because
    found.save(update_fields=["active", "off_because"])
    undelivered = found.deliveries.filter(due_at__isnull=False)
    undelivered.update(state=_State.FAILED, due_at=None)


def _held(webhook: Subscription) -> Subscription:
    """The row as it is, until this transaction ends."""
    return Subscription.objects.select_for_update().get(pk=webhook.pk)


def _name(text: str) -> str:
    name = " ".join(text.split())
    if not name or len(name) > 100:
        raise BadWebhook("name", "Give it a name of up to 100 characters.")
    return name


def _url(text: str) -> str:
    try:
        url = outbound.check(
            text.strip(), plain=not settings.ENV.production, allowed=settings.ENV.webhook_networks
        )
    except outbound.NotThere as refused:
        raise BadWebhook("url", str(refused)) from None
    # As it will be asked: some characters take several.
    if len(url) > 2000:
        raise BadWebhook("url", "An address has 2,000 characters at most.")
    return url


def _kinds(names: Iterable[str]) -> list[str]:
    chosen, known = set(names), table.choices()
    if unknown := chosen.difference(known):
        raise BadWebhook("kinds", f"There are no events {', '.join(sorted(unknown))[:200]}.")
    if not chosen:
        raise BadWebhook("kinds", "Choose at least one kind of event.")
    return [name for name in known if name in chosen]


def _facts(webhook: Subscription) -> dict[str, object]:
    return {"name": webhook.name, "host": webhook.host, "kinds": webhook.kinds}


def _record(
    actor: Actor,
    action: str,
    webhook: Subscription,
    before: dict[str, object] | None = None,
    after: dict[str, object] | None = None,
) -> None:
    record(
        actor,
        action,
        subject_kind="webhook",
        subject_id=webhook.pk,
        before=before,
        after=after or {"name": webhook.name},
    )
