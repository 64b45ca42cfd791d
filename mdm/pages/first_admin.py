"""The set-up page: open while there is nobody, gone afterwards."""

from __future__ import annotations

from allauth.account.utils import perform_login
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from mdm.accounts import first_admin as domain
from mdm.audit import refused
from mdm.audit.actor import Actor
from mdm.pages.frame import complain


@never_cache
@sensitive_post_parameters("token", "password")
def set_up(request: HttpRequest) -> HttpResponse:
    """Make the first admin, and sign them in."""
    if not domain.is_missing():
        raise Http404
    filled = {"name": request.POST.get("name", ""), "email": request.POST.get("email", "")}
    if request.method != "POST":
        return render(request, "mdm/people/set_up.html", {"filled": filled})
    try:
        user = domain.make(
            request.POST.get("token", ""), **filled, password=request.POST.get("password", "")
        )
    except domain.NotFirst as late:
        complain(request, str(late))
        return redirect("account_login")
    except domain.BadFirst as bad:
        if "token" in bad.errors:
            refused.count(Actor.stranger(request), "people.set_up", bad.errors["token"])
        context = {"filled": filled, "errors": bad.errors}
        return render(request, "mdm/people/set_up.html", context, status=422)
    response: HttpResponse = perform_login(
        request, user, email_verification="none", redirect_url="/"
    )
    return response
