"""What the server must hold before simulated devices can enroll: an admin, the lab's push
certificate, an open link; and its connection to the lab's Apple Business Manager. Each is made once
and found again; `manage.py demo` asks for them."""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass

from cryptography.hazmat.primitives.serialization import Encoding
from django.db import transaction

from abm import runs, servers, tokens
from abm.models import Server
from enrollment import authority, links
from enrollment.models import EnrollmentLink
from lab.authority import ensure_authority, write_private
from lab.control import ask
from lab.place import Place
from mdm.accounts.models import User
from mdm.audit.actor import Actor
from mdm.audit.record import record
from mdm.push import certificate

ADMIN = "admin"
ABM_SERVER = "Lab"
LINK_NAME = "Lab devices"
LINK_USES = 10_000
_ACTOR = Actor.system("lab")


def actor() -> Actor:
    """Who makes all of it."""
    return _ACTOR


@dataclass(frozen=True)
class Scene:
    """`password` is empty once the admin has chosen another. `authorities` is PEM."""

    link: str
    authorities: str
    username: str
    password: str

    def json(self) -> dict[str, str]:
        return asdict(self)


def set_scene(place: Place) -> Scene:
    """Make what is missing. Raises PushCertificateError while devices depend on another topic."""
    place.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _install_push_certificate(place)
    return Scene(_link(), _authorities(), ADMIN, _admin(place))


def someone(place: Place) -> dict[str, str]:
    """Who signs in at devices, for an order to the lab: the admin, while the password is known."""
    user = User.objects.filter(username=ADMIN).first()
    if user is None or not place.password.exists():
        return {}
    password = place.password.read_text()
    return {"username": ADMIN, "password": password} if user.check_password(password) else {}


def connect_abm(place: Place, devices: int) -> Server:
    """Connect the server to the running lab's portal by the exchange of a token, as an admin does,
    and have `devices` assigned to it there: those that the lab plays, and more. A worker tries the
    token, and the sync follows. Raises LabError.
    """
    server = servers.connected().filter(name=ABM_SERVER).first()
    if server is None:
        server = servers.create(_ACTOR, ABM_SERVER)
    status = ask(place.socket, "abm", act="status")
    there = next((each for each in status["servers"] if each["name"] == ABM_SERVER), None)
    certificate = servers.current_key_pair(server).certificate
    if there is None:
        there = ask(place.socket, "abm", act="server", name=ABM_SERVER, certificate=certificate)
    ask(place.socket, "abm", act="own", name=ABM_SERVER)
    count = ask(place.socket, "abm", act="status")["count"]
    if count < devices:
        ask(place.socket, "abm", act="buy", count=devices - count, name=ABM_SERVER)
    if server.server_uuid != there["uuid"] or server.sealed_token is None:
        ask(place.socket, "abm", act="certificate", name=ABM_SERVER, certificate=certificate)
        token = ask(place.socket, "abm", act="token", name=ABM_SERVER)
        tokens.upload(_ACTOR, server, token["p7m"].encode())
    else:
        runs.publish(server.pk)
    return server


def _install_push_certificate(place: Place) -> None:
    apple = ensure_authority(place.authority)
    found, _ = apple.push.load()
    installed = certificate.active()
    if installed is not None and int(installed.serial, 16) == found.serial_number:
        return
    certificate.install(_ACTOR, apple.push.certificate.read_bytes(), apple.push.key.read_bytes())


def _link() -> str:
    for link in EnrollmentLink.objects.filter(name=LINK_NAME).order_by("-id"):
        if links.closed(link) is None:
            return links.url(link)
    return links.url(links.create(_ACTOR, name=LINK_NAME, max_uses=LINK_USES))


def _authorities() -> str:
    return authority.current().certificate.public_bytes(Encoding.PEM).decode("ascii")


def _admin(place: Place) -> str:
    """The admin's password: generated once, kept beside the lab's other secrets."""
    if not place.password.exists():
        write_private(place.password, secrets.token_urlsafe(12).encode())
    password = place.password.read_text()
    with transaction.atomic():
        user = User.objects.filter(username=ADMIN).first()
        if user is None:
            user = User.objects.create_superuser(ADMIN, "admin@example.com", password)
            record(_ACTOR, "user.create", subject_kind="user", subject_id=user.pk)
    return password if user.check_password(password) else ""
