"""Writing to those who may approve a destructive command that waits for a second person."""

from __future__ import annotations

from smtplib import SMTPException

import structlog
from django.conf import settings
from django.core.mail import send_mail
from django.template.loader import render_to_string
from django.utils import timezone

from commands.models import Approval, Command
from mdm.accounts.models import Grant, User
from mdm.accounts.rights import BY_NAME

_log = structlog.get_logger(__name__)

_RIGHT = BY_NAME["approval.decide"]


def tell() -> int:
    """Write to everyone who may decide what nobody was told of yet; returns how many approvals that
    were. Any number may run it at once.

    An approval is marked before the mails go, and stays so where any of them went: an address that
    is refused must not have the others written to again and again. Where none could be sent, the
    next run tries again.
    """
    waiting = Approval.objects.filter(state=Approval.State.WAITING, expires_at__gt=timezone.now())
    count = 0
    for pk in waiting.filter(told_at=None).order_by("pk").values_list("pk", flat=True):
        if not Approval.objects.filter(pk=pk, told_at=None).update(told_at=timezone.now()):
            continue  # someone else is at it
        if _write(Approval.objects.select_related("command").get(pk=pk)):
            count += 1
        else:
            Approval.objects.filter(pk=pk).update(told_at=None)
    return count


def who_may_decide(command: Command) -> list[User]:
    """Those who may approve it and have a mail address: never the one who asked for it."""
    grants = Grant.objects.current().filter(user__is_active=True).exclude(user__email="")
    rows = grants.exclude(user=command.asked_by_id).select_related("user").order_by("user")
    return list({grant.user: None for grant in rows if grant.held.has(_RIGHT)})


def _write(approval: Approval) -> bool:
    """Whether somebody was written to, or nobody is there to be."""
    command = approval.command
    devices = f"{command.targets:,} device{'' if command.targets == 1 else 's'}"
    subject = f"[GuardMDM] {command.asked_by} wants {command.request_type} for {devices}"
    server = settings.ENV.dashboard_url
    context = {"approval": approval, "command": command, "devices": devices, "server": server}
    users = who_may_decide(command)
    sent = 0
    for user in users:
        words = render_to_string("commands/approval_mail.txt", {**context, "user": user})
        try:
            send_mail(" ".join(subject.split()), words, None, [user.email])
        except (OSError, SMTPException) as error:
            _log.warning("A mail about an approval was not sent", user=user.pk, error=str(error))
        else:
            sent += 1
    return bool(sent or not users)
