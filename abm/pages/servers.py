"""Settings > ABM Integration: generating a token, renewing it, and how each server stands."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.text import slugify

from abm import servers as domain
from abm import state, tokens
from abm.models import Server, TokenUpload
from abm.pages import sync
from abm.tokens import ServerTokenError, TokenRefused
from mdm.audit.actor import Actor
from mdm.pages.frame import action, back, complain, form_page, is_fragment, page, say


@page("server.read")
def servers(request: HttpRequest) -> HttpResponse:
    """Every server with its state; connecting the first one begins here."""
    listed = list(domain.with_counts())
    for each in listed:
        each.state = state.of(each)  # type: ignore[attr-defined]
    return render(request, "abm/servers.html", {"servers": listed})


@form_page("abm.connect")
def create(request: HttpRequest) -> HttpResponse:
    """Generate token: a name, and then the certificate to upload."""
    problem = ""
    name = request.POST.get("name", "")
    if request.method == "POST":
        try:
            made = domain.create(Actor.of(request), name)
        except domain.BadServer as refused:
            problem = str(refused)
        else:
            return redirect("abm:server", made.pk)
    context = {"problem": problem, "name": name}
    return render(request, "abm/server_create.html", context, status=422 if problem else 200)


@page("server.read")
def server(request: HttpRequest, pk: int) -> HttpResponse:
    found = _find(pk)
    context = _context(found)
    if is_fragment(request, "token-check"):
        if context["mark"] == request.GET.get("mark"):
            return HttpResponse(status=204)
        return HttpResponse(headers={"HX-Refresh": "true"})
    return render(request, "abm/server.html", context)


@action("abm.connect")
def upload(request: HttpRequest, pk: int) -> HttpResponse:
    """A server token's file. What the file itself gives away is answered at once; then Apple is
    asked, and the page shows what it said."""
    found = _find(pk)
    file = request.FILES.get("token")
    data = file.read(tokens.LARGEST_FILE + 1) if file is not None else b""
    problem = "" if data else "Choose the file first: Apple names it like “…_smime.p7m”."
    if data:
        try:
            tokens.upload(Actor.of(request), found, data)
        except (TokenRefused, ServerTokenError) as refused:
            problem = str(refused)
    if problem:
        return render(
            request, "abm/server.html", {**_context(found), "problem": problem}, status=422
        )
    return redirect("abm:server", found.pk)


@action("abm.sync")
def check(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask Apple again: about the uploaded token, or with a sync."""
    found = _find(pk)
    if tokens.check_again(Actor.of(request), found):
        return redirect("abm:server", found.pk)
    sync.ask(request, [found], full=False)
    return back(request, "abm:server", pk=found.pk)


@page("abm.connect")
def certificate(request: HttpRequest, pk: int) -> HttpResponse:
    """The certificate that ABM encrypts the server's tokens for."""
    found = _find(pk)
    pair = domain.current_key_pair(found)
    name = slugify(str(found)) or "server"
    return HttpResponse(
        pair.certificate,
        content_type="application/x-pem-file",
        headers={"Content-Disposition": f'attachment; filename="guardmdm-{name}.pem"'},
    )


@action("abm.connect")
def new_key(request: HttpRequest, pk: int) -> HttpResponse:
    found = _find(pk)
    domain.new_key_pair(Actor.of(request), found)
    say(
        request,
        "A new certificate is ready. Upload it in ABM before you download the next token; tokens"
        " for the earlier certificate can still be read.",
    )
    return redirect("abm:server", found.pk)


@action("abm.connect")
def change(request: HttpRequest, pk: int) -> HttpResponse:
    found = _find(pk)
    try:
        size = int(request.POST.get("page_size", ""))
        batch = request.POST.get("assigning_batch", "")
        domain.change(
            Actor.of(request),
            found,
            name=request.POST.get("name", ""),
            page_size=size,
            assigning_batch=int(batch) if batch else None,
        )
    except ValueError:
        complain(request, "Give both sizes as numbers.")
    except domain.BadServer as refused:
        complain(request, str(refused))
    else:
        say(request, f"{found} was changed.")
    return redirect("abm:server", found.pk)


@form_page("abm.connect")
def disconnect(request: HttpRequest, pk: int) -> HttpResponse:
    found = _find(pk)
    if request.method == "POST":
        if request.POST.get("confirmation", "").strip().casefold() != str(found).casefold():
            complain(request, f"Nothing was changed. Type {found} to confirm.")
            return redirect("abm:server_disconnect", found.pk)
        domain.disconnect(Actor.of(request), found)
        say(request, f"{found} is disconnected. In ABM nothing was changed.")
        return redirect("abm:servers")
    return render(request, "mdm/confirm.html", _disconnecting(found))


def _disconnecting(found: Server) -> dict[str, object]:
    return {
        "title": f"Disconnect {found}",
        "button": "Disconnect",
        "words": "Its token and keys are forgotten here, and its devices leave the list of ABM"
        " devices. Devices that are enrolled stay enrolled. In ABM nothing changes; to connect it"
        " again, a new certificate and a new token are needed.",
        "confirmation": str(found),
        "back": reverse("abm:server", args=[found.pk]),
    }


def _find(pk: int) -> Server:
    return get_object_or_404(Server, pk=pk, disconnected_at=None)


def _context(found: Server) -> dict[str, object]:
    latest = found.uploads.order_by("-pk").first()
    stands = state.of(found)
    return {
        "server": found,
        "state": stands,
        "latest": latest,
        "checking": latest is not None and latest.state == TokenUpload.State.CHECKING,
        "refused": latest is not None and latest.state == TokenUpload.State.REFUSED,
        "mark": f"{latest.pk}.{latest.state}.{latest.sentence}" if latest else "",
        "limits": [(label, domain.maximum(found, uri)) for label, uri in _LIMITS],
        "device_count": found.devices.filter(removed_at=None).count(),
        "runs": found.runs.order_by("-pk")[:5],
        "largest_page": domain.maximum(found, "/devices/sync"),
    }


_LIMITS = (
    ("Devices a page of the list", "/server/devices"),
    ("Devices a page of changes", "/devices/sync"),
)
