"""Whether mails go out: one is sent to whoever asks, and what the mail server said is shown."""

from __future__ import annotations

import re
import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate, make_msgid, parseaddr
from typing import Any

from django.conf import settings
from django.core.mail import get_connection
from django.core.mail.backends.smtp import EmailBackend
from django.core.mail.utils import DNS_NAME

from mdm.accounts.models import User
from mdm.health.probes import Found


def look(asked_by: int | None) -> Found:
    """Send whoever asked a mail. Where no mail server is set, nothing is sent at all."""
    backend = get_connection()
    if not isinstance(backend, EmailBackend):
        return Found(
            False,
            "Mails are only written to this server's log. Set GUARD_SMTP_URL and GUARD_MAIL_FROM.",
        )
    address = User.objects.filter(pk=asked_by or 0).values_list("email", flat=True).first()
    if not address:
        return Found(False, "Nothing was sent yet: the test mail goes to the person who asks.")
    where = f"{settings.EMAIL_HOST}:{settings.EMAIL_PORT}"
    try:
        backend.open()
        said = _send(backend.connection, address)
    except smtplib.SMTPAuthenticationError as error:
        words = f"{where} refuses the user and password of GUARD_SMTP_URL: {_said(error, address)}."
    except smtplib.SMTPResponseException as error:
        words = f"{where} does not take the mail to whoever asked: {_said(error, address)}."
    except ssl.SSLError as error:
        words = f"{where} cannot be trusted, or speaks no TLS: {error.reason or error}."
    except (OSError, smtplib.SMTPException) as error:
        words = f"{where} cannot be reached or does not speak SMTP: {_plain(error)}."
    else:
        return Found(
            True,
            f"{where} took a mail from {settings.DEFAULT_FROM_EMAIL} to whoever asked: {said}. See"
            " that it arrived, and not among the spam.",
        )
    finally:
        backend.close()
    return Found(False, words)


def _send(line: Any, address: str) -> str:
    """What the server says at the end, such as the number of the mail in its queue.

    smtplib's `sendmail` would keep that to itself.
    """
    sender = parseaddr(settings.DEFAULT_FROM_EMAIL)[1]
    line.ehlo_or_helo_if_needed()
    for code, said in (line.mail(sender), line.rcpt(address), line.data(_mail(address))):
        if not 200 <= code < 300:
            raise smtplib.SMTPResponseException(code, said)
    return _words(code, said, address)


def _mail(address: str) -> bytes:
    mail = EmailMessage()
    mail["Subject"] = f"{settings.ACCOUNT_EMAIL_SUBJECT_PREFIX}Test"
    mail["From"], mail["To"] = settings.DEFAULT_FROM_EMAIL, address
    mail["Date"], mail["Message-ID"] = formatdate(), make_msgid(domain=str(DNS_NAME))
    mail.set_content(
        f"Mails from {settings.ENV.dashboard_url} arrive. Somebody there, probably you, asked for"
        " this one.\n"
    )
    return mail.as_bytes()


def _said(error: smtplib.SMTPResponseException, address: str) -> str:
    return _words(error.smtp_code, error.smtp_error, address)


def _words(code: int, said: bytes | str, address: str) -> str:
    """Without the person's address, which not everybody is to read who reads what was found."""
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    text = re.sub(re.escape(address), "whoever asked", text, flags=re.IGNORECASE)
    return f"{code} {' '.join(text.split())}"[:200].rstrip(".")


def _plain(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__)[:200]
