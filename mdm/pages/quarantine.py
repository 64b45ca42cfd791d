"""Quarantine: who turned up with an identity not issued for them, and an admin's word on it."""

from __future__ import annotations

from typing import Any

from cryptography import x509
from django.db.models import Case, IntegerField, QuerySet, Value, When
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from mdm import quarantine
from mdm.audit.actor import Actor
from mdm.models import Device, Enrollment, Quarantine
from mdm.pages.frame import complain, form_page, page, say, table_page
from mdm.protocol.binding import Binding
from mdm.tables import Column, Filter, Table

State = Quarantine.State

REASONS = {
    "identity_of_another": "Its certificate was issued to another device.",
    "bound_to_another_serial": "Its certificate was issued for another serial number.",
    "live_enrollment": "This device is enrolled with another certificate. It was erased without"
    " telling, or someone poses as it.",
}


@page("server.read")
def waiting(request: HttpRequest) -> HttpResponse:
    rows = Quarantine.objects.defer("certificate", "body").annotate(
        undecided=Case(
            When(state=State.WAITING, then=Value(0)),
            default=Value(1),
            output_field=IntegerField(),
        )
    )
    return table_page(request, "mdm/quarantine/list.html", TABLE.view(request, rows))


@form_page("quarantine.decide", read="server.read")
def case(request: HttpRequest, pk: int) -> HttpResponse:
    found = get_object_or_404(Quarantine, pk=pk)
    if request.method == "POST":
        return _decide(request, found)
    enrollment = (
        Enrollment.objects.filter(key=found.enrollment_key).select_related("device").first()
    )
    device = enrollment.device if enrollment else _same_serial(found)
    context = {
        "case": found,
        "reason": REASONS.get(found.reason, found.reason),
        "enrollment": enrollment,
        "device": device,
        "identity": _identity(found),
        "binding": _binding(found.binding),
        "undecided": found.state == State.WAITING,
    }
    return render(request, "mdm/quarantine/case.html", context)


def _decide(request: HttpRequest, found: Quarantine) -> HttpResponse:
    actor = Actor.of(request)
    try:
        if request.POST.get("decision") == "accept":
            quarantine.accept(actor, found.pk)
            say(request, "Accepted. The device's next attempt is let in.")
        else:
            quarantine.reject(actor, found.pk)
            say(request, "Rejected. The device stays out.")
    except quarantine.AlreadyDecided as refused:
        complain(request, str(refused))
    return redirect("quarantine")


def _same_serial(found: Quarantine) -> Device | None:
    if not found.serial_number:
        return None
    return Device.objects.filter(serial_number=found.serial_number).first()


def _identity(found: Quarantine) -> dict[str, Any]:
    certificate = x509.load_der_x509_certificate(bytes(found.certificate))
    return {
        "subject": certificate.subject.rfc4514_string(),
        "since": certificate.not_valid_before_utc,
        "sha256": bytes(found.identity_sha256).hex(),
    }


def _binding(text: str) -> Binding | None:
    return Binding.from_uri(text) if text else None


def _by_state(rows: QuerySet[Quarantine], value: str) -> QuerySet[Quarantine]:
    return rows.filter(state=value)


TABLE = Table(
    slug="quarantine",
    label="Quarantine",
    one="case",
    many="cases",
    order=("undecided", "-last_at"),
    empty="mdm/quarantine/empty.html",
    columns=(
        Column(
            key="who",
            label="Says it is",
            value=lambda row: row.serial_number or row.enrollment_key,
            template="mdm/cells/case.html",
        ),
        Column(
            key="reason",
            label="Why it waits",
            value=lambda row: REASONS.get(row.reason, row.reason),
            css="break",
        ),
        Column(
            key="state",
            label="State",
            value=lambda row: row.get_state_display(),
            template="mdm/cells/case_state.html",
        ),
        Column(key="count", label="Attempts", value=lambda row: row.count, css="num"),
        Column(key="last", label="Last attempt", value=lambda row: row.last_at),
    ),
    filters=(Filter(key="state", label="State", choices=lambda: State.choices, apply=_by_state),),
)
