"""Settings > Push certificate: what is in use, when it ends, and putting in the next one."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from mdm.audit.actor import Actor
from mdm.models import PushCertificate
from mdm.pages.frame import form_page, say
from mdm.push import certificate
from mdm.push.pem import PushCertificateError

# A certificate with its key takes a few kilobytes; more is not read.
_LARGEST = 100_001


@form_page("push_certificate.install", read="server.read")
def show(request: HttpRequest) -> HttpResponse:
    problem = ""
    if request.method == "POST":
        try:
            installed = _install(request)
        except PushCertificateError as refused:
            problem = str(refused)
        else:
            say(request, f"The push certificate is in use until {installed.not_after:%B %d, %Y}.")
            return redirect("push_certificate")
    context = {
        "certificate": certificate.active(),
        "warnings": certificate.warnings(),
        "earlier": PushCertificate.objects.filter(active=False).order_by("-id")[:10],
        "problem": problem,
    }
    return render(request, "mdm/push/certificate.html", context, status=422 if problem else 200)


def _install(request: HttpRequest) -> PushCertificate:
    data = _uploaded(request, "certificate")
    if not data:
        raise PushCertificateError("Choose the certificate's file first.")
    return certificate.install(
        Actor.of(request),
        data,
        key=_uploaded(request, "key"),
        password=request.POST.get("password") or None,
    )


def _uploaded(request: HttpRequest, name: str) -> bytes | None:
    file = request.FILES.get(name)
    return file.read(_LARGEST) if file is not None else None
