"""The web view in which Setup Assistant has someone sign in before it enrolls, where the ADE
profile has an address for that. The person at the device reads the form and fills it in. Source:
Apple's "Authenticating through web views": MachineInfo goes with the first page alone, in a header,
and the last page is the profile, of the same domain.
"""

from __future__ import annotations

import base64
import ssl
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import httpx

from lab.devices.profile import MIME
from lab.errors import EnrollmentFailed, ServerRefused, ServerUnreachable

_HEADER = "x-apple-aspen-deviceinfo"
_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class Person:
    """Who stands at the device, and what they type."""

    username: str
    password: str = field(repr=False)


async def sign_in(
    address: str, message: bytes, trusted: bytes, person: Person, user_agent: str
) -> bytes:
    """The enrollment profile that ends it. `message` is the signed MachineInfo, `trusted` the PEM
    certificates for TLS. Raises EnrollmentFailed, ServerRefused, ServerUnreachable.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=trusted.decode("ascii"))
    header = {_HEADER: base64.b64encode(message).decode("ascii")}
    try:
        async with httpx.AsyncClient(
            verify=context,
            timeout=_TIMEOUT,
            follow_redirects=True,
            trust_env=False,
            headers={"User-Agent": user_agent},
        ) as view:
            page = await view.get(address, headers=header)
            if page.status_code != 200:
                raise ServerRefused(page.status_code, page.content)
            form = _Form.on(page)
            last = await view.post(
                urljoin(str(page.url), form.action),
                data=form.filled(person),
                # As WebKit names the page that a form was on; Django wants it over TLS.
                headers={"Referer": str(page.url)},
            )
    except (httpx.HTTPError, OSError) as error:
        reason = str(error) or type(error).__name__
        raise ServerUnreachable(f"GET {address}: {reason}") from error
    if last.status_code >= 500:
        raise ServerRefused(last.status_code, last.content)
    if last.headers.get("content-type", "").partition(";")[0] != MIME:
        said = _Form.problem_on(last) or f"The page answered {last.status_code}."
        raise EnrollmentFailed(f"{person.username} could not sign in. {said}")
    if _domain(str(last.url)) != _domain(address):
        raise EnrollmentFailed("The profile came from another domain than the first page.")
    return last.content


def _domain(address: str) -> list[str]:
    return (urlsplit(address).hostname or "").split(".")[-2:]


class _Form(HTMLParser):
    """The form that a page holds, as a person sees it, and what it complains about."""

    def __init__(self) -> None:
        super().__init__()
        self.action = ""
        self.fields: dict[str, str] = {}
        self.types: dict[str, str] = {}
        self.problem = ""
        self._inside, self._alert = False, False

    @classmethod
    def on(cls, page: httpx.Response) -> _Form:
        form = cls._read(page)
        if not {"text", "password"} <= set(form.types.values()):
            raise EnrollmentFailed("The page has no form with a name and a password.")
        return form

    @classmethod
    def problem_on(cls, page: httpx.Response) -> str:
        return cls._read(page).problem

    @classmethod
    def _read(cls, page: httpx.Response) -> _Form:
        form = cls()
        form.feed(page.text)
        return form

    def filled(self, person: Person) -> dict[str, str]:
        typed = {"text": person.username, "email": person.username, "password": person.password}
        return {name: typed.get(self.types[name], kept) for name, kept in self.fields.items()}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self._alert = given.get("role") == "alert"
        if tag == "form":
            self._inside = given.get("method", "").lower() == "post"
            self.action = given.get("action", "") if self._inside else self.action
        elif tag == "input" and self._inside and given.get("name"):
            self.fields[given["name"]] = given.get("value", "")
            self.types[given["name"]] = given.get("type", "text")

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "form"
        self._alert = False

    def handle_data(self, data: str) -> None:
        if self._alert:
            self.problem += data.strip()
