"""Identities that a proxy passes on: whose word counts, how it is read, and that it decides."""

from __future__ import annotations

import plistlib
import ssl
from dataclasses import replace
from ipaddress import ip_network
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from django.utils import timezone

from commands import queue
from commands.models import QueueEntry
from enrollment.wire.authority import create_authority
from mdm import refusals
from mdm.audit.actor import Actor
from mdm.env import IdentityMode
from mdm.models import Enrollment, Refusal
from tests import machines
from tests.machines import CHECKIN, CONNECT, Answered, Machine
from tests.mdm.hostile import everything
from tests.mdm.protocol import cms

pytestmark = pytest.mark.django_db

PROXY = "10.1.2.3"
MODES = [IdentityMode.CLIENT_CERT, IdentityMode.NGINX]
HEADERS = {IdentityMode.CLIENT_CERT: "HTTP_CLIENT_CERT", IdentityMode.NGINX: "HTTP_X_CLIENT_CERT"}


@pytest.fixture(autouse=True)
def server(db):
    machines.install_authority()
    machines.install_push_certificate()
    refusals.tally.__init__()


@pytest.fixture(params=MODES)
def mode(request, settings) -> IdentityMode:
    proxies = (ip_network("10.1.2.0/24"), ip_network("fd00::/8"))
    settings.ENV = replace(settings.ENV, identity_mode=request.param, trusted_proxies=proxies)
    return request.param


def spelled(certificate, mode: IdentityMode) -> str:
    """The certificate as this kind of proxy writes it into its header."""
    own = certificate.public_bytes(Encoding.DER)
    if mode is IdentityMode.CLIENT_CERT:
        return f":{cms.header(own)}:"
    return quote(ssl.DER_cert_to_PEM_cert(own), safe="")


def say(
    machine: Machine, message: dict, mode: IdentityMode, *, header: str | None = None, peer=PROXY
) -> Answered:
    """A message through the proxy; `header` takes the place of what the proxy would say."""
    body = plistlib.dumps({**message, **machine.ids})
    content_type = CONNECT if "Status" in message else CHECKIN
    passed_on = spelled(machine.certificate, mode) if header is None else header
    given = {HEADERS[mode]: passed_on, "REMOTE_ADDR": peer}
    return machines.put("/mdm/connect", body, content_type, **given)


def authenticate(machine: Machine) -> dict:
    return {
        "MessageType": "Authenticate",
        "Topic": machine.topic,
        "SerialNumber": machine.serial_number,
    }


def token_update(machine: Machine) -> dict:
    return {
        "MessageType": "TokenUpdate",
        "Topic": machine.topic,
        "Token": b"t",
        "PushMagic": "m",
    }


def enrolled(mode: IdentityMode) -> Machine:
    machine = Machine.new()
    assert say(machine, authenticate(machine), mode).status == 200
    assert say(machine, token_update(machine), mode).status == 200
    return machine


def test_a_device_enrolls_and_obeys_through_the_proxy(mode):
    machine = enrolled(mode)
    assert machine.enrollment.state == Enrollment.State.ENROLLED
    made = queue.enqueue(
        Actor.system("test"),
        request_type="ProfileList",
        parameters={},
        enrollments=[machine.enrollment.pk],
    )

    assert say(machine, {"Status": "Idle"}, mode).command == "ProfileList"
    answer = {"Status": "Acknowledged", "CommandUUID": str(made.command.uuid), "ProfileList": []}
    assert say(machine, answer, mode).status == 200

    assert QueueEntry.objects.get().state == QueueEntry.State.ACKNOWLEDGED


@pytest.mark.parametrize("peer", ["10.1.2.255", "::ffff:10.1.2.3", "fd12::1"])
def test_a_peer_in_a_listed_network_is_believed(mode, peer):
    assert say(enrolled(mode), {"Status": "Idle"}, mode, peer=peer).status == 200


@pytest.mark.parametrize("peer", ["127.0.0.1", "10.1.3.1", "::1", "::ffff:10.1.3.1", "", "x"])
def test_a_peer_that_is_not_listed_is_not_believed(mode, peer):
    machine = enrolled(mode)
    before = everything()

    assert say(machine, {"Status": "Idle"}, mode, peer=peer).status == 403
    assert say(machine, {"MessageType": "CheckOut"}, mode, peer=peer).status == 403

    assert everything() == before
    assert Refusal.objects.filter(reason="untrusted_proxy").exists()


def test_two_headers_are_one_too_many(mode):
    machine, thief = enrolled(mode), enrolled(mode)
    genuine, forged = (spelled(one.certificate, mode) for one in (machine, thief))

    for both in (f"{genuine},{genuine}", f"{forged},{genuine}", f"{genuine}, {forged}"):
        assert say(machine, {"Status": "Idle"}, mode, header=both).status == 400


@pytest.mark.parametrize("header", ["", ":", "::", "%", ":AAAA:", "-----BEGIN CERTIFICATE-----"])
def test_a_header_without_a_certificate_is_a_bad_request(mode, header):
    machine = enrolled(mode)
    before = everything()

    for message in ({"Status": "Idle"}, {"MessageType": "CheckOut"}, authenticate(machine)):
        assert 400 <= say(machine, message, mode, header=header).status < 404

    assert everything() == before


def test_a_certificate_of_another_authority_enrolls_nothing(mode):
    foreign = create_authority("Test Device CA", timezone.now())
    stranger = Machine.new(certificate=machines.issue(own=foreign, known=False))

    assert say(stranger, authenticate(stranger), mode).status == 403

    assert not Enrollment.objects.exists()


def test_another_devices_certificate_speaks_for_nobody_else(mode):
    machine, other = enrolled(mode), enrolled(mode)
    before = everything()

    theirs = spelled(other.certificate, mode)
    for message in ({"Status": "Idle"}, {"MessageType": "CheckOut"}, token_update(machine)):
        assert say(machine, message, mode, header=theirs).status == 403
    assert say(machine, authenticate(machine), mode, header=theirs).status == 403

    assert everything() == before


def test_a_signature_is_no_identity_where_the_proxy_gives_them(mode):
    machine = enrolled(mode)
    body = plistlib.dumps({"Status": "Idle", **machine.ids})

    signed = {"HTTP_MDM_SIGNATURE": machine.sign(body), "REMOTE_ADDR": PROXY}

    assert machines.put("/mdm/connect", body, CONNECT, **signed).status == 400


def test_the_form_of_another_proxy_is_not_understood(mode):
    machine = enrolled(mode)
    (other,) = set(MODES) - {mode}

    said = say(machine, {"Status": "Idle"}, mode, header=spelled(machine.certificate, other))

    assert said.status == 400


@pytest.mark.parametrize("form", MODES)
def test_where_devices_sign_a_certificate_header_is_ignored(form, settings):
    machine, thief = Machine.enrolled(), Machine.enrolled()
    settings.ENV = replace(settings.ENV, trusted_proxies=(ip_network(PROXY),))
    body = plistlib.dumps({"Status": "Idle", **machine.ids})
    header = {HEADERS[form]: spelled(machine.certificate, form), "REMOTE_ADDR": PROXY}

    unsigned = machines.put("/mdm/connect", body, CONNECT, **header)
    forged = machines.put(
        "/mdm/connect", body, CONNECT, HTTP_MDM_SIGNATURE=thief.sign(body), **header
    )

    assert (unsigned.status, forged.status) == (400, 403)


def test_the_header_may_have_another_name(settings):
    proxies = (ip_network(PROXY),)
    settings.ENV = replace(
        settings.ENV,
        identity_mode=IdentityMode.NGINX,
        identity_header="SSL-Client",
        trusted_proxies=proxies,
    )
    machine = Machine.new()
    body = plistlib.dumps({**authenticate(machine), **machine.ids})
    given = {
        "HTTP_SSL_CLIENT": spelled(machine.certificate, IdentityMode.NGINX),
        "REMOTE_ADDR": PROXY,
    }

    assert machines.put("/mdm/checkin", body, CHECKIN, **given).status == 200
