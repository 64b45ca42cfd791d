"""What can be sent: each command with its purpose, its parameters and what it asks for."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from commands.catalog import all_types
from mdm.pages.frame import page


@page("command.read")
def catalog(request: HttpRequest) -> HttpResponse:
    return render(request, "commands/catalog.html", {"commands": all_types()})
