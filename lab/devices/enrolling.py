"""From a link to an identity: open the page, download the profile, run SCEP. The check-in messages
that follow are sent by `lab.devices.device`."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

from cryptography.hazmat.primitives.asymmetric import rsa

from lab.devices.memory import Management, pem_of, pem_of_key
from lab.devices.profile import MIME, Profile, read_profile
from lab.errors import EnrollmentFailed, LabError, ServerRefused, ServerUnreachable
from lab.http import Answer, Web
from lab.scep import request_identity


async def download(web: Web, link: str) -> Profile:
    """The profile behind an enrollment link: the link itself, or the download on its page.
    Raises LabError."""
    answer = await _open(web, link)
    if answer.content_type != MIME:
        answer = await _open(web, _download_address(answer))
    if answer.content_type != MIME:
        raise EnrollmentFailed(f"The link led to {answer.content_type or 'nothing'}, no profile.")
    return read_profile(answer.body)


async def obtain_management(
    web: Web, profile: Profile, key: rsa.RSAPrivateKey, trusted: bytes
) -> Management:
    """Run the profile's SCEP payload with `key`; returns what the device keeps of the MDM
    payload. `trusted` are PEM certificates trusted beside the profile's own. Raises
    EnrollmentFailed; ServerUnreachable and ServerRefused where it may be tried again."""
    payload = profile.mdm()
    try:
        certificate = await request_identity(web.fetch, profile.identity(), key)
    except ServerUnreachable:
        raise
    except LabError as error:
        if isinstance(error, ServerRefused) and error.status >= 500:
            raise
        raise EnrollmentFailed(f"No identity: {error}") from error
    return Management(
        server_url=payload["ServerURL"],
        check_in_url=payload.get("CheckInURL", payload["ServerURL"]),
        topic=payload["Topic"],
        access_rights=payload.get("AccessRights", 0),
        sign_message=payload.get("SignMessage", False),
        check_out_when_removed=payload.get("CheckOutWhenRemoved", False),
        capabilities=list(payload.get("ServerCapabilities", [])),
        profile_identifier=profile.identifier,
        authorities=(trusted + profile.authorities()).decode("ascii"),
        certificate=pem_of(certificate),
        key=pem_of_key(key),
    )


async def _open(web: Web, url: str) -> Answer:
    answer = await web.ask("GET", url)
    if answer.status != 200:
        raise EnrollmentFailed(f"The link answered {answer.status}.")
    return answer


def _download_address(page: Answer) -> str:
    reader = _Page()
    reader.feed(page.body.decode("utf-8", "replace"))
    if reader.download is None:
        raise EnrollmentFailed("The link's page offers no profile to download.")
    url = urljoin(page.url, reader.download)
    if urlsplit(url).scheme != "https":
        raise EnrollmentFailed("The profile would come over a connection that is not TLS.")
    return url


class _Page(HTMLParser):
    """Finds the profile's address as a person finds the button: by what it leads to."""

    def __init__(self) -> None:
        super().__init__()
        self.download: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        target = given.get("href") if tag == "a" else given.get("action") if tag == "form" else None
        if target is None or self.download is not None:
            return
        path = target.partition("?")[0]
        if path.endswith(".mobileconfig") or given.get("type") == MIME or "download" in given:
            self.download = target
