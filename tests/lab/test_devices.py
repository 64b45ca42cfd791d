"""Simulated devices against a scripted server: real TLS, SCEP by the product's formats, every
request's signature verified by the product's code."""

from __future__ import annotations

import asyncio
import plistlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256

from lab.apns import Postbox
from lab.apns.postbox import Push
from lab.devices import Device, IPad, IPhone, Mac, Model, Surroundings, hardware
from lab.devices.channel import DEVICE, USER, Pace
from lab.devices.faults import DeviceFault
from lab.devices.identity import Presentation
from lab.devices.memory import MemoryFile
from lab.errors import EnrollmentFailed, LabError, ServerRefused, ServerUnreachable
from lab.fleet import Fleet
from lab.http import Webs
from tests.lab.loop import in_loop
from tests.lab.scripted import TOPIC, ScriptedServer

QUICK = Pace(retry_first=0.01, retry_most=0.02, unlock_after=None, restart=0.01, attempts=3)
KINDS: dict[type[Device], Model] = {
    IPhone: Model.IPHONE,
    IPad: Model.IPAD,
    Mac: Model.MAC,
}
QUIET = {"RequestType": "DeviceInformation", "Queries": ["UDID"]}


@pytest.fixture(scope="module")
def keys() -> list[rsa.RSAPrivateKey]:
    return [rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(4)]


@dataclass
class World:
    """A server and what devices need; `device` makes one that has enrolled."""

    server: ScriptedServer
    surroundings: Surroundings
    devices: list[Device] = field(default_factory=list)

    async def device(self, kind: type[Device] = IPhone, path: Path | None = None) -> Device:
        device = self.fresh(kind, path)
        await device.enroll(f"{self.server.url}/enroll", self.server.ca_pem)
        return device

    def fresh(self, kind: type[Device] = IPhone, path: Path | None = None) -> Device:
        device = kind(hardware(KINDS[kind], 7), self.surroundings, MemoryFile(path))
        self.devices.append(device)
        return device

    def wake(self, device: Device, channel: str = DEVICE) -> None:
        memory = device.memory.channels[channel]
        self.surroundings.postbox.accept(memory.token, Push(memory.push_magic, 2**40))

    async def send(
        self, device: Device, *commands: dict[str, Any], channel: str = DEVICE
    ) -> list[dict[str, Any]]:
        """Queue commands, wake the device, and return what it reported, in order."""
        begun = len(self.server.said)
        self.server.commands.extend(commands)
        talker = device.channels[channel]
        talker.idle.clear()
        self.wake(device, channel)
        await talker.idle.wait()
        return [said.message for said in self.server.said[begun:]]


@asynccontextmanager
async def world(keys: list[rsa.RSAPrivateKey], **surroundings: Any) -> AsyncIterator[World]:
    turn = iter(keys * 100)

    async def key(size: int) -> rsa.RSAPrivateKey:
        return next(turn)

    made = Surroundings(Postbox(), Webs(), key, QUICK, **surroundings)
    async with ScriptedServer() as server:
        here = World(server, made)
        try:
            yield here
        finally:
            for device in here.devices:
                device.stop()
            await made.webs.close()


# --- Enrolling ---------------------------------------------------------------------------------


@in_loop
async def test_an_iphone_enrolls_from_a_link_and_says_what_iphones_say(
    keys: list[rsa.RSAPrivateKey],
) -> None:
    async with world(keys) as here:
        device = await here.device(IPhone)
        authenticate, token_update = here.server.messages()
        assert device.memory.state == "enrolled"
        assert authenticate["MessageType"] == "Authenticate"
        assert authenticate["ProductName"].startswith("iPhone")
        assert authenticate["Topic"] == TOPIC
        assert "DeviceName" not in authenticate
        assert len(token_update["UnlockToken"]) > 1000
        assert token_update["AwaitingConfiguration"] is False
        assert len(token_update["Token"]) == 32


@in_loop
async def test_a_mac_escrows_its_bootstrap_token_and_opens_its_users_channel(
    keys: list[rsa.RSAPrivateKey],
) -> None:
    async with world(keys) as here:
        device = await here.device(Mac)
        kinds = [m["MessageType"] for m in here.server.messages()]
        assert kinds == ["Authenticate", "TokenUpdate", "SetBootstrapToken", "TokenUpdate"]
        own, users = here.server.messages("TokenUpdate")
        assert "UserID" not in own
        assert "UnlockToken" not in own
        assert users["UserID"] == device.hardware.owner.user_id
        assert users["UserShortName"] == device.hardware.owner.short_name
        assert users["Token"] != own["Token"]
        assert here.server.messages("Authenticate")[0]["DeviceName"] == device.hardware.name


@in_loop
async def test_a_mac_without_the_capabilities_keeps_to_the_device_channel(
    keys: list[rsa.RSAPrivateKey],
) -> None:
    async with world(keys) as here:
        here.server.payload["ServerCapabilities"] = []
        await here.device(Mac)
        kinds = [m["MessageType"] for m in here.server.messages()]
        assert kinds == ["Authenticate", "TokenUpdate"]


@pytest.mark.parametrize("digest", ["sha256", "sha1"])
@in_loop
async def test_every_message_is_signed_by_the_identity_that_scep_issued(
    keys: list[rsa.RSAPrivateKey], digest: str
) -> None:
    async with world(keys, digest=digest) as here:
        device = await here.device()
        await here.send(device, QUIET)
        assert device.memory.management is not None
        own = device.memory.management.x509
        # The scripted server has verified each signature; here is whose they were.
        assert {said.signer for said in here.server.said} == {own.fingerprint(SHA256())}
        assert len(here.server.said) == 4


@pytest.mark.parametrize(
    ("presentation", "header"),
    [(Presentation.CLIENT_CERT, "client-cert"), (Presentation.NGINX, "x-client-cert")],
)
@in_loop
async def test_a_device_behind_a_proxy_shows_its_certificate_in_the_header(
    keys: list[rsa.RSAPrivateKey], presentation: Presentation, header: str
) -> None:
    async with world(keys, presentation=presentation) as here:
        here.server.payload["SignMessage"] = False
        here.server.identity_header = header
        await here.device()
        assert all("mdm-signature" not in said.headers for said in here.server.said)


@in_loop
async def test_a_device_does_not_talk_to_a_server_whose_certificate_it_was_not_given(
    keys: list[rsa.RSAPrivateKey], apple: Any
) -> None:
    async with world(keys) as here:
        device = here.fresh()
        other = apple.root.certificate.read_bytes()
        with pytest.raises(ServerUnreachable, match="CERTIFICATE_VERIFY_FAILED"):
            await device.enroll(f"{here.server.url}/enroll", other)
        assert here.server.served == {}


@in_loop
async def test_a_profile_that_was_tampered_with_is_not_installed(
    keys: list[rsa.RSAPrivateKey],
) -> None:
    async with world(keys) as here:
        genuine = here.server.profile
        here.server.profile = lambda **_: genuine().replace(  # type: ignore[method-assign]
            b"Device management", b"Device Management"
        )
        with pytest.raises(LabError, match="could not be verified"):
            await here.fresh().enroll(f"{here.server.url}/enroll", here.server.ca_pem)
        assert here.server.served["POST /scep"] == 0


@in_loop
async def test_a_page_without_a_profile_says_so(keys: list[rsa.RSAPrivateKey]) -> None:
    async with world(keys) as here:
        here.server.page = "<p>This link was used up.</p>"
        with pytest.raises(EnrollmentFailed, match="no profile to download"):
            await here.fresh().enroll(f"{here.server.url}/enroll", here.server.ca_pem)


@in_loop
async def test_a_refused_authenticate_leaves_no_identity_behind(
    keys: list[rsa.RSAPrivateKey],
) -> None:
    async with world(keys) as here:
        here.server.refuse["Authenticate"] = 403
        device = here.fresh()
        with pytest.raises(ServerRefused):
            await device.enroll(f"{here.server.url}/enroll", here.server.ca_pem)
        assert (device.memory.state, device.memory.management) == ("failed", None)


@in_loop
async def test_a_token_update_is_repeated_until_the_server_takes_it(
    keys: list[rsa.RSAPrivateKey],
) -> None:
    async with world(keys) as here:
        here.server.statuses.extend([200, 503, 502])
        device = await here.device()
        assert device.memory.state == "enrolled"
        tokens = {m["Token"] for m in here.server.messages("TokenUpdate")}
        assert len(here.server.messages("TokenUpdate")) == 3
        assert len(tokens) == 1


# --- Answering ---------------------------------------------------------------------------------


@in_loop
async def test_a_push_makes_the_device_connect_obey_and_report(
    keys: list[rsa.RSAPrivateKey],
) -> None:
    async with world(keys) as here:
        device = await here.device()
        queries = {
            "RequestType": "DeviceInformation",
            "Queries": ["DeviceName", "SerialNumber", "WiFiMAC", "HostName"],
        }
        idle, report = await here.send(device, queries)
        assert (idle["Status"], idle["UDID"]) == ("Idle", device.hardware.udid)
        assert report["CommandUUID"] == "COMMAND-DeviceInformation"
        assert report["QueryResponses"] == {
            "DeviceName": device.hardware.name,
            "SerialNumber": device.hardware.serial,
            "WiFiMAC": device.hardware.wifi_mac,
        }


@in_loop
async def test_a_push_with_another_enrollments_magic_wakes_nobody(
    keys: list[rsa.RSAPrivateKey],
) -> None:
    async with world(keys) as here:
        device = await here.device()
        here.surroundings.postbox.accept(device.memory.channels[DEVICE].token, Push("other", 0))
        assert not device.channels[DEVICE].wanted.is_set()
        assert device.counts["push"] == 0


@pytest.mark.parametrize("kind", [IPhone, IPad, Mac])
@in_loop
async def test_every_query_is_answered_in_the_shape_of_the_platform(
    keys: list[rsa.RSAPrivateKey], kind: type[Device]
) -> None:
    async with world(keys) as here:
        device = await here.device(kind)
        names = ["SecurityInfo", "ProfileList", "CertificateList", "InstalledApplicationList"]
        reports = await here.send(device, *({"RequestType": name} for name in names))
        security, profiles, certificates, apps = reports[1:]
        assert ("FDE_Enabled" in security["SecurityInfo"]) == (kind is Mac)
        assert ("PasscodePresent" in security["SecurityInfo"]) == (kind is not Mac)
        assert [p["PayloadIdentifier"] for p in profiles["ProfileList"]] == ["guardmdm.enrollment"]
        assert [c["IsIdentity"] for c in certificates["CertificateList"]] == [True, False]
        assert len(apps["InstalledApplicationList"]) > 40
        assert all(("Path" in app) == (kind is Mac) for app in apps["InstalledApplicationList"])


@in_loop
async def test_a_large_device_reports_hundreds_of_apps(keys: list[rsa.RSAPrivateKey]) -> None:
    async with world(keys) as here:
        device = await here.device()
        await device.play(DeviceFault.LARGE)
        _, report = await here.send(device, {"RequestType": "InstalledApplicationList"})
        identifiers = [app["Identifier"] for app in report["InstalledApplicationList"]]
        assert len(identifiers) == len(set(identifiers)) >= 600


@in_loop
async def test_an_app_query_for_some_apps_and_keys_gets_just_those(
    keys: list[rsa.RSAPrivateKey],
) -> None:
    async with world(keys) as here:
        device = await here.device()
        command = {
            "RequestType": "InstalledApplicationList",
            "Identifiers": ["com.apple.Pages"],
            "Items": ["Identifier", "Name"],
        }
        _, report = await here.send(device, command)
        pages = {"Identifier": "com.apple.Pages", "Name": "Pages"}
        assert report["InstalledApplicationList"] == [pages]


@in_loop
async def test_what_an_iphone_does_not_know_is_a_format_error_and_what_a_mac_does_not_an_error(
    keys: list[rsa.RSAPrivateKey],
) -> None:
    async with world(keys) as here:
        phone, mac = await here.device(IPhone), await here.device(Mac)
        _, of_phone = await here.send(phone, {"RequestType": "Levitate"})
        _, of_mac = await here.send(mac, {"RequestType": "Levitate"})
        assert of_phone["Status"] == "CommandFormatError"
        assert "ErrorChain" not in of_phone
        assert of_mac["Status"] == "Error"
        assert of_mac["ErrorChain"][0]["ErrorDomain"] == "MDMClientError"


@in_loop
async def test_a_right_that_was_not_granted_is_refused_by_the_device(
    keys: list[rsa.RSAPrivateKey],
) -> None:
    async with world(keys) as here:
        here.server.payload["AccessRights"] = 8191 - 1024 - 32
        device = await here.device()
        info = {"RequestType": "DeviceInformation", "Queries": ["WiFiMAC", "OSVersion"]}
        _, refused, told = await here.send(device, {"RequestType": "SecurityInfo"}, info)
        assert refused["Status"] == "Error"
        assert list(told["QueryResponses"]) == ["OSVersion"]


@in_loop
async def test_a_profile_is_installed_listed_and_removed(keys: list[rsa.RSAPrivateKey]) -> None:
    async with world(keys) as here:
        device = await here.device()
        profile = {
            "PayloadType": "Configuration",
            "PayloadVersion": 1,
            "PayloadIdentifier": "com.example.wifi",
            "PayloadUUID": "0E7A5C52-0000-4000-8000-000000000001",
            "PayloadContent": [],
        }
        listing = {"RequestType": "ProfileList"}
        removal = {"RequestType": "RemoveProfile", "Identifier": "com.example.wifi"}
        payload = plistlib.dumps(profile)
        install = {"RequestType": "InstallProfile", "Payload": payload}
        reports = await here.send(device, install, listing, removal, removal, listing)
        assert [r["Status"] for r in reports[1:5]] == [
            "Acknowledged",
            "Acknowledged",
            "Acknowledged",
            "Error",
        ]
        found = [[p["PayloadIdentifier"] for p in reports[i]["ProfileList"]] for i in (2, 5)]
        assert found == [["com.example.wifi", "guardmdm.enrollment"], ["guardmdm.enrollment"]]


@in_loop
async def test_a_profile_that_is_none_fails_with_a_chain_of_errors(
    keys: list[rsa.RSAPrivateKey],
) -> None:
    async with world(keys) as here:
        device = await here.device()
        _, report = await here.send(device, {"RequestType": "InstallProfile", "Payload": b"no"})
        assert report["Status"] == "Error"
        domains = [link["ErrorDomain"] for link in report["ErrorChain"]]
        assert domains == ["MCInstallationErrorDomain", "MCProfileErrorDomain"]


@in_loop
async def test_removing_the_enrollment_profile_ends_in_a_check_out_and_no_reply(
    keys: list[rsa.RSAPrivateKey],
) -> None:
    async with world(keys) as here:
        device = await here.device()
        token = device.memory.channels[DEVICE].token
        here.server.commands.append(
            {"RequestType": "RemoveProfile", "Identifier": "guardmdm.enrollment"}
        )
        here.wake(device)
        await here.server.until("CheckOut")
        while device.memory.state == "enrolled":
            await asyncio.sleep(0)
        assert here.server.messages("Acknowledged") == []
        assert device.memory.state == "unenrolled"
        assert here.surroundings.postbox.retired_at(token) is not None


@in_loop
async def test_a_renewed_enrollment_profile_brings_a_new_identity_and_keeps_the_device(
    keys: list[rsa.RSAPrivateKey],
) -> None:
    async with world(keys) as here:
        device = await here.device(Mac)
        begun = len(here.server.said)
        install = {"RequestType": "InstallProfile", "Payload": here.server.profile()}
        await here.send(device, install)
        said = here.server.said[begun:]
        kinds = [s.message.get("MessageType") or s.message["Status"] for s in said]
        assert kinds == ["Idle", "Authenticate", "TokenUpdate", "TokenUpdate", "Acknowledged"]
        assert len({s.signer for s in said[1:]}) == 1
        assert said[0].signer != said[1].signer


@in_loop
async def test_another_servers_enrollment_profile_is_refused(
    keys: list[rsa.RSAPrivateKey],
) -> None:
    async with world(keys) as here:
        device = await here.device()
        plist = {
            "PayloadType": "Configuration",
            "PayloadVersion": 1,
            "PayloadIdentifier": "com.example.other",
            "PayloadUUID": "0E7A5C52-0000-4000-8000-000000000002",
            "PayloadContent": [{"PayloadType": "com.apple.mdm"}],
        }
        install = {"RequestType": "InstallProfile", "Payload": plistlib.dumps(plist)}
        _, report = await here.send(device, install)
        assert report["ErrorChain"][0]["ErrorCode"] == 12012


@in_loop
async def test_an_iphone_clears_its_passcode_only_for_its_own_unlock_token(
    keys: list[rsa.RSAPrivateKey],
) -> None:
    async with world(keys) as here:
        device = await here.device()
        token = here.server.messages("TokenUpdate")[0]["UnlockToken"]
        wrong = {"RequestType": "ClearPasscode", "UnlockToken": b"guessed"}
        right = {"RequestType": "ClearPasscode", "UnlockToken": token}
        security = {"RequestType": "SecurityInfo"}
        _, refused, still, done, gone = await here.send(device, wrong, security, right, security)
        assert (refused["Status"], done["Status"]) == ("Error", "Acknowledged")
        assert still["SecurityInfo"]["PasscodePresent"] is True
        assert gone["SecurityInfo"]["PasscodePresent"] is False


@pytest.mark.parametrize("request_type", ["RestartDevice", "ShutDownDevice"])
@in_loop
async def test_an_unsupervised_iphone_refuses_to_restart_or_shut_down(
    keys: list[rsa.RSAPrivateKey], request_type: str
) -> None:
    async with world(keys) as here:
        device = await here.device()
        _, report = await here.send(device, {"RequestType": request_type})
        assert report["Status"] == "Error"
        assert report["ErrorChain"]
        assert device.memory.powered


@in_loop
async def test_a_mac_restarts_and_comes_back(keys: list[rsa.RSAPrivateKey]) -> None:
    async with world(keys) as here:
        device = await here.device(Mac)
        here.server.commands.append({"RequestType": "RestartDevice"})
        here.wake(device)
        await here.server.until("Acknowledged")
        # Whether it is still there, away or back by now: this push is not lost.
        here.wake(device)
        await here.server.until("Idle", 2)
        assert device.memory.powered


@in_loop
async def test_a_mac_that_is_shut_down_is_away_until_it_is_switched_on(
    keys: list[rsa.RSAPrivateKey],
) -> None:
    async with world(keys) as here:
        device = await here.device(Mac)
        here.server.commands.append({"RequestType": "ShutDownDevice"})
        here.wake(device)
        await here.server.until("Acknowledged")
        while device.memory.powered:
            await asyncio.sleep(0)
        here.wake(device)
        held = here.surroundings.postbox.held(device.memory.channels[DEVICE].token)
        assert held is not None
        device.power_on()
        await here.server.until("Idle", 2)


@in_loop
async def test_a_mac_locks_only_with_a_pin_and_is_away_until_it_is_entered(
    keys: list[rsa.RSAPrivateKey],
) -> None:
    async with world(keys) as here:
        device = await here.device(Mac)
        _, refused = await here.send(device, {"RequestType": "DeviceLock"})
        assert refused["Status"] == "Error"
        here.server.commands.append({"RequestType": "DeviceLock", "PIN": "123456"})
        here.wake(device)
        await here.server.until("Acknowledged")
        while device.memory.powered:
            await asyncio.sleep(0)
        device.unlock()
        here.wake(device)
        await here.server.until("Idle", 3)


@in_loop
async def test_an_erased_device_answers_once_and_enrolls_as_a_fresh_machine(
    keys: list[rsa.RSAPrivateKey],
) -> None:
    async with world(keys) as here:
        device = await here.device()
        token = device.memory.channels[DEVICE].token
        here.server.commands.extend([{"RequestType": "EraseDevice"}, QUIET])
        here.wake(device)
        await here.server.until("Acknowledged")
        while device.memory.state != "erased":
            await asyncio.sleep(0)
        assert here.surroundings.postbox.retired_at(token) is not None
        assert here.server.messages("CheckOut") == []
        here.server.commands.clear()
        await device.enroll(f"{here.server.url}/enroll", here.server.ca_pem)
        first, second = here.server.messages("Authenticate")
        assert first == second
        signers = [s.signer for s in here.server.said if "SerialNumber" in s.message]
        assert signers[0] != signers[1]
        assert device.memory.channels[DEVICE].token != token


@in_loop
async def test_an_erase_that_the_server_never_heard_of_is_done_all_the_same(
    keys: list[rsa.RSAPrivateKey],
) -> None:
    async with world(keys) as here:
        device = await here.device()
        here.server.refuse["Acknowledged"] = 503
        here.server.commands.append({"RequestType": "EraseDevice"})
        here.wake(device)
        await here.server.until("Acknowledged")
        while device.memory.state != "erased":
            await asyncio.sleep(0)
        assert len(here.server.messages("Acknowledged")) == 1


# --- Not now, and other trouble ----------------------------------------------------------------


@in_loop
async def test_a_locked_iphone_puts_off_what_it_may_and_asks_again_once_unlocked(
    keys: list[rsa.RSAPrivateKey],
) -> None:
    async with world(keys) as here:
        device = await here.device()
        device.lock()
        put_off = {"RequestType": "SecurityInfo"}
        _, not_now, answered = await here.send(device, put_off, QUIET)
        assert (not_now["Status"], answered["Status"]) == ("NotNow", "Acknowledged")
        here.server.commands.append(put_off)
        device.unlock()
        await here.server.until("Acknowledged", 2)
        assert len(here.server.messages("Idle")) == 2


@in_loop
async def test_unlocking_a_device_that_put_nothing_off_starts_no_conversation(
    keys: list[rsa.RSAPrivateKey],
) -> None:
    async with world(keys) as here:
        device = await here.device()
        device.lock()
        await here.send(device, QUIET)
        device.unlock()
        assert not device.channels[DEVICE].wanted.is_set()


@in_loop
async def test_a_sleeping_mac_puts_off_everything_but_lock_and_erase(
    keys: list[rsa.RSAPrivateKey],
) -> None:
    async with world(keys) as here:
        device = await here.device(Mac)
        device.lock()
        _, query, lock = await here.send(device, QUIET, {"RequestType": "DeviceLock"})
        assert (query["Status"], lock["Status"]) == ("NotNow", "Error")


@in_loop
async def test_a_reply_that_was_not_taken_is_sent_again_the_same(
    keys: list[rsa.RSAPrivateKey],
) -> None:
    async with world(keys) as here:
        device = await here.device()
        here.server.statuses.extend([200, 500, 503])
        reports = await here.send(device, QUIET)
        assert [r["Status"] for r in reports] == ["Idle", *["Acknowledged"] * 3]
        assert reports[1] == reports[2] == reports[3]


@in_loop
async def test_an_unsent_reply_survives_the_end_of_the_lab(
    keys: list[rsa.RSAPrivateKey], tmp_path: Path
) -> None:
    async with world(keys) as here:
        device = await here.device(path=tmp_path / "device.json")
        here.server.refuse["Acknowledged"] = 503
        here.server.commands.append(QUIET)
        here.wake(device)
        await here.server.until("Acknowledged")
        device.stop()
        here.server.refuse.clear()
        begun = len(here.server.said)
        again = here.fresh(path=tmp_path / "device.json")
        again.start()
        report = await here.server.until("Acknowledged", 2)
        assert report["CommandUUID"] == "COMMAND-DeviceInformation"
        assert here.server.said[begun].message["Status"] == "Acknowledged"


@in_loop
async def test_a_message_that_the_server_calls_bad_is_dropped(
    keys: list[rsa.RSAPrivateKey],
) -> None:
    async with world(keys) as here:
        device = await here.device()
        here.server.statuses.extend([200, 400])
        reports = await here.send(device, QUIET)
        assert [r["Status"] for r in reports] == ["Idle", "Acknowledged"]


@pytest.mark.parametrize(
    ("status", "body"), [(401, b""), (403, b'{"code": "com.apple.unrecognized.device"}')]
)
@in_loop
async def test_a_401_and_an_unrecognized_device_make_it_drop_its_management(
    keys: list[rsa.RSAPrivateKey], status: int, body: bytes
) -> None:
    async with world(keys) as here:
        device = await here.device()
        here.server.refuse["Idle"], here.server.refusal_body = status, body
        here.wake(device)
        await here.server.until("Idle")
        while device.memory.state == "enrolled":
            await asyncio.sleep(0)
        assert (device.memory.state, device.memory.management) == ("unenrolled", None)
        assert here.server.messages("CheckOut") == []


@in_loop
async def test_a_plain_403_changes_nothing(keys: list[rsa.RSAPrivateKey]) -> None:
    async with world(keys) as here:
        device = await here.device()
        here.server.statuses.append(403)
        reports = await here.send(device, QUIET)
        assert [r["Status"] for r in reports] == ["Idle", "Idle", "Acknowledged"]
        assert device.memory.state == "enrolled"


@in_loop
async def test_a_device_cut_off_before_its_reply_comes_back_idle(
    keys: list[rsa.RSAPrivateKey],
) -> None:
    async with world(keys) as here:
        device = await here.device()
        await device.play(DeviceFault.LOST_REPLY)
        here.server.commands.extend([QUIET, QUIET])
        here.wake(device)
        await here.server.until("Acknowledged")
        assert [m["Status"] for m in here.server.messages()[2:]] == ["Idle", "Idle", "Acknowledged"]


@in_loop
async def test_a_stuttering_device_sends_its_reply_twice(keys: list[rsa.RSAPrivateKey]) -> None:
    async with world(keys) as here:
        device = await here.device()
        await device.play(DeviceFault.REPEAT)
        reports = await here.send(device, QUIET)
        assert reports[1] == reports[2]


@in_loop
async def test_an_ordered_error_fails_one_command(keys: list[rsa.RSAPrivateKey]) -> None:
    async with world(keys) as here:
        device = await here.device()
        await device.play(DeviceFault.ERROR)
        _, failed, fine = await here.send(device, QUIET, QUIET)
        assert (failed["Status"], fine["Status"]) == ("Error", "Acknowledged")
        assert failed["ErrorChain"]


@in_loop
async def test_a_new_push_token_is_told_and_the_old_one_given_up(
    keys: list[rsa.RSAPrivateKey],
) -> None:
    async with world(keys) as here:
        device = await here.device()
        old = device.memory.channels[DEVICE].token
        await device.play(DeviceFault.NEW_TOKEN)
        told = here.server.messages("TokenUpdate")[1]["Token"].hex()
        assert told == device.memory.channels[DEVICE].token != old
        assert here.surroundings.postbox.retired_at(old) is not None
        assert len(await here.send(device, QUIET)) == 2


@in_loop
async def test_a_mac_answers_for_its_user_on_the_users_channel_only(
    keys: list[rsa.RSAPrivateKey],
) -> None:
    async with world(keys) as here:
        device = await here.device(Mac)
        lock = {"RequestType": "DeviceLock", "PIN": "123456"}
        idle, answered, refused = await here.send(device, QUIET, lock, channel=USER)
        assert idle["UserID"] == answered["UserID"] == device.hardware.owner.user_id
        assert (answered["Status"], refused["Status"]) == ("Acknowledged", "Error")
        assert device.memory.powered


@in_loop
async def test_what_is_no_command_does_not_end_the_device(keys: list[rsa.RSAPrivateKey]) -> None:
    async with world(keys) as here:
        device = await here.device()
        here.server._next = lambda path: b"<html>proxy error</html>"  # type: ignore[method-assign]
        await here.send(device)
        assert "no command" in device.problem
        del here.server._next
        assert len(await here.send(device, QUIET)) == 2


# --- Many --------------------------------------------------------------------------------------


@in_loop
async def test_a_fleet_enrolls_its_mix_and_is_the_same_after_a_restart(
    keys: list[rsa.RSAPrivateKey], tmp_path: Path
) -> None:
    async with world(keys) as here:
        fleet = Fleet(here.surroundings, tmp_path)
        fleet.add(12, f"{here.server.url}/enroll", here.server.ca_pem)
        await fleet.settle()
        assert fleet.states() == {"enrolled": 12}
        assert {row["kind"] for row in fleet.rows()} == {"iphone", "ipad", "mac"}
        fleet.stop()

        said = len(here.server.said)
        again = Fleet(here.surroundings, tmp_path)
        again.resume()
        assert again.states() == {"enrolled": 12}
        identity = [d.memory.management for d in again]
        assert identity == [d.memory.management for d in fleet]
        for device in again:
            here.wake(device)
        await here.server.until("Idle", 12)
        assert len(here.server.said) == said + 12
        again.stop()


@in_loop
async def test_a_fleet_keeps_trying_while_the_server_is_down(
    keys: list[rsa.RSAPrivateKey],
) -> None:
    async with world(keys) as here:
        here.server.statuses.extend([503, 200, 200])
        fleet = Fleet(here.surroundings)
        fleet.add(1, f"{here.server.url}/enroll", here.server.ca_pem)
        await fleet.settle()
        assert fleet.states() == {"enrolled": 1}
        assert len(here.server.messages("Authenticate")) == 2
        # It keeps the identity that it has.
        assert here.server.served["POST /scep"] == 1
        fleet.stop()


@in_loop
async def test_a_fleet_keeps_trying_while_no_identity_is_issued(
    keys: list[rsa.RSAPrivateKey],
) -> None:
    async with world(keys) as here:
        here.server.scep_statuses.extend([503, 502])
        fleet = Fleet(here.surroundings)
        fleet.add(1, f"{here.server.url}/enroll", here.server.ca_pem)
        await fleet.settle()
        assert fleet.states() == {"enrolled": 1}
        fleet.stop()


@in_loop
async def test_a_fleet_gives_up_where_an_identity_is_refused(
    keys: list[rsa.RSAPrivateKey],
) -> None:
    async with world(keys) as here:
        here.server.scep_statuses.append(403)
        fleet = Fleet(here.surroundings)
        fleet.add(1, f"{here.server.url}/enroll", here.server.ca_pem)
        await fleet.settle()
        assert fleet.states() == {"failed": 1}


@in_loop
async def test_a_fleet_gives_up_on_a_device_that_is_refused(
    keys: list[rsa.RSAPrivateKey],
) -> None:
    async with world(keys) as here:
        here.server.refuse["Authenticate"] = 403
        fleet = Fleet(here.surroundings)
        fleet.add(1, f"{here.server.url}/enroll", here.server.ca_pem)
        await fleet.settle()
        assert fleet.states() == {"failed": 1}
        assert fleet.rows()[0]["problem"] == "The server answered 403."


def test_the_same_seed_gives_the_same_machines_and_no_two_are_alike() -> None:
    first = [hardware(kind, number) for kind in Model for number in range(300)]
    again = [hardware(kind, number) for kind in Model for number in range(300)]
    assert first == again
    assert len({machine.serial for machine in first}) == len(first)
    assert len({machine.udid for machine in first}) == len(first)
    assert hardware(Model.MAC, 1, seed=1) != hardware(Model.MAC, 1, seed=2)
