"""Mails to people; `people.py` decides who gets one."""

from __future__ import annotations

from celery import shared_task
from django.conf import settings
from django.core.mail import send_mail
from django.template.loader import render_to_string

from mdm.accounts import people
from mdm.accounts.models import User
from mdm.audit.actor import Actor


@shared_task(name="mdm.accounts.tasks.send_access_link")
def send_access_link(user_id: int) -> None:
    """Mail someone the address at which they choose a password."""
    user = User.objects.get(pk=user_id)
    link = people.access_link(Actor.system("mail"), user)
    words = {"user": user, "link": link, "server": settings.ENV.dashboard_url}
    send_mail(
        "[GuardMDM] Your access",
        render_to_string("mdm/people/mail.txt", words),
        None,
        [user.email],
    )
