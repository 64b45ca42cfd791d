"""The push stand-in keeps Apple's rules, seen by aioapns and by bare HTTP/2."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aioapns.exceptions import MaxAttemptsExceeded

from lab.apns import ApnsStandIn, Fault, FaultKind, Postbox
from lab.authority import Authority
from tests.lab.loop import in_loop
from tests.lab.push_client import TOKEN, RawClient, aioapns_client, good_headers, push

NOW = 1_800_000_000.0
PAYLOAD = b'{"mdm": "magic"}'


@asynccontextmanager
async def stand_in(apple: Authority) -> AsyncIterator[tuple[ApnsStandIn, int, list[str]]]:
    """A stand-in, its port, and the pushes that a device with TOKEN has received."""
    received: list[str] = []
    apns = ApnsStandIn(apple, Postbox(now=lambda: NOW))
    apns.postbox.register(TOKEN, apple.topic)
    apns.postbox.attach(TOKEN, received.append)
    port = await apns.start()
    try:
        yield apns, port, received
    finally:
        await apns.stop()


@in_loop
async def test_a_push_by_aioapns_reaches_the_device_that_holds_the_token(
    apple: Authority, tmp_path: Path
) -> None:
    async with stand_in(apple) as (apns, port, received):
        result = await push(aioapns_client(apple, port, tmp_path), magic="wake up")
        assert result.is_successful
        assert received == ["wake up"]
        assert apns.counts == {"200": 1}


@in_loop
async def test_many_pushes_share_one_connection(apple: Authority, tmp_path: Path) -> None:
    async with stand_in(apple) as (apns, port, received):
        client = aioapns_client(apple, port, tmp_path)
        results = await asyncio.gather(*(push(client) for _ in range(200)))
        assert all(result.is_successful for result in results)
        assert len(received) == 200
        assert len(apns.connections) == 1


@in_loop
async def test_a_token_that_was_never_given_out_is_bad(apple: Authority, tmp_path: Path) -> None:
    async with stand_in(apple) as (_, port, _):
        result = await push(aioapns_client(apple, port, tmp_path), token="cd" * 32)
        assert (result.status, result.description) == ("400", "BadDeviceToken")


@in_loop
async def test_a_token_given_up_is_unregistered_since_then(
    apple: Authority, tmp_path: Path
) -> None:
    async with stand_in(apple) as (apns, port, received):
        apns.postbox.retire(TOKEN)
        result = await push(aioapns_client(apple, port, tmp_path))
        assert (result.status, result.description) == ("410", "Unregistered")
        assert result.timestamp == int(NOW * 1000)
        assert received == []


@in_loop
async def test_only_the_newest_push_is_held_for_a_device_that_is_away(
    apple: Authority, tmp_path: Path
) -> None:
    async with stand_in(apple) as (apns, port, received):
        client = await RawClient.connect(apple, port)
        apns.postbox.detach(TOKEN)
        for magic in ("older", "newer"):
            body = json.dumps({"mdm": magic}).encode()
            answer = await client.request(body, **good_headers(apple))
            assert answer.status == 200
        apns.postbox.attach(TOKEN, received.append)
        assert received == ["newer"]


@pytest.mark.parametrize("expiration", ["0", str(int(NOW) - 1), None])
@in_loop
async def test_a_push_that_expired_while_the_device_was_away_is_gone(
    apple: Authority, expiration: str | None
) -> None:
    async with stand_in(apple) as (apns, port, received):
        client = await RawClient.connect(apple, port)
        apns.postbox.detach(TOKEN)
        headers = {**good_headers(apple), "apns_expiration": expiration}
        assert (await client.request(PAYLOAD, **headers)).status == 200
        apns.postbox.attach(TOKEN, received.append)
        assert received == []


@in_loop
async def test_held_pushes_and_given_up_tokens_survive_a_restart(apple: Authority) -> None:
    async with stand_in(apple) as (apns, port, received):
        apns.postbox.detach(TOKEN)
        client = await RawClient.connect(apple, port)
        await client.request(PAYLOAD, **good_headers(apple))
        apns.postbox.register("ee" * 32, apple.topic)
        apns.postbox.retire("ee" * 32)
        saved = json.loads(json.dumps(apns.postbox.snapshot()))
    restored = Postbox(now=lambda: NOW)
    restored.restore(saved)
    restored.attach(TOKEN, received.append)
    assert received == ["magic"]
    assert restored.retired_at("ee" * 32) == int(NOW * 1000)


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        ({"path": "/4/device/" + TOKEN}, 404, "BadPath"),
        ({"method": "GET"}, 405, "MethodNotAllowed"),
        ({"path": "/3/device/"}, 400, "MissingDeviceToken"),
        ({"path": "/3/device/xyz"}, 400, "BadDeviceToken"),
        ({"apns_topic": None}, 400, "MissingTopic"),
        ({"apns_topic": "com.apple.mgmt.External.another"}, 400, "TopicDisallowed"),
        ({"apns_topic": "nonsense"}, 400, "BadTopic"),
        ({"apns_push_type": None}, 400, "InvalidPushType"),
        ({"apns_push_type": "alert"}, 400, "InvalidPushType"),
        ({"apns_priority": "7"}, 400, "BadPriority"),
        ({"apns_expiration": "tomorrow"}, 400, "BadExpirationDate"),
        ({"apns_id": "17"}, 400, "BadMessageId"),
        ({"apns_collapse_id": "x" * 65}, 400, "BadCollapseId"),
        ({"body": b""}, 400, "PayloadEmpty"),
        ({"body": b"not json"}, 400, "PayloadEmpty"),
        ({"body": b'{"aps": {}}'}, 400, "PayloadEmpty"),
        ({"body": b'{"mdm": "magic", "aps": {}}'}, 400, "PayloadEmpty"),
        ({"body": b'{"mdm": "' + b"x" * 4096 + b'"}'}, 413, "PayloadTooLarge"),
    ],
)
@in_loop
async def test_a_wrong_request_gets_apples_status_and_reason(
    apple: Authority, change: dict[str, object], status: int, reason: str
) -> None:
    async with stand_in(apple) as (_, port, received):
        client = await RawClient.connect(apple, port)
        request = {"body": PAYLOAD, **good_headers(apple), **change}
        answer = await client.request(**request)  # type: ignore[arg-type]
        assert (answer.status, json.loads(answer.body)["reason"]) == (status, reason)
        assert received == []


@in_loop
async def test_a_token_of_another_topic_is_refused(apple: Authority) -> None:
    async with stand_in(apple) as (apns, port, received):
        apns.postbox.register(TOKEN, "com.apple.mgmt.External.another")
        client = await RawClient.connect(apple, port)
        answer = await client.request(PAYLOAD, **good_headers(apple))
        assert json.loads(answer.body) == {"reason": "DeviceTokenNotForTopic"}
        assert received == []


@in_loop
async def test_a_client_without_a_certificate_is_refused(apple: Authority) -> None:
    async with stand_in(apple) as (_, port, received):
        client = await RawClient.connect(apple, port, certificate=False)
        answer = await client.request(PAYLOAD, **good_headers(apple))
        assert (answer.status, json.loads(answer.body)["reason"]) == (403, "MissingProviderToken")
        assert received == []


@in_loop
async def test_the_clients_id_is_echoed_and_one_is_made_where_it_gave_none(
    apple: Authority,
) -> None:
    async with stand_in(apple) as (_, port, _):
        client = await RawClient.connect(apple, port)
        headers = good_headers(apple)
        assert (await client.request(PAYLOAD, **headers)).headers["apns-id"] == headers["apns_id"]
        made = await client.request(PAYLOAD, **{**headers, "apns_id": None})
        assert len(made.headers["apns-id"]) == 36


@pytest.mark.parametrize(
    ("kind", "status", "body"),
    [
        (FaultKind.BAD_TOKEN, 400, {"reason": "BadDeviceToken"}),
        (FaultKind.FORBIDDEN, 403, {"reason": "BadCertificate"}),
        (FaultKind.UNREGISTERED, 410, {"reason": "Unregistered", "timestamp": 1234}),
        (FaultKind.TOO_MANY_REQUESTS, 429, None),
        (FaultKind.INTERNAL_ERROR, 500, {"reason": "InternalServerError"}),
        (FaultKind.UNAVAILABLE, 503, {"reason": "ServiceUnavailable"}),
    ],
)
@in_loop
async def test_a_status_to_order_spoils_one_push_and_no_more(
    apple: Authority, kind: FaultKind, status: int, body: dict[str, object] | None
) -> None:
    async with stand_in(apple) as (apns, port, received):
        client = await RawClient.connect(apple, port)
        apns.faults.order(Fault(kind, timestamp=1234))
        answer = await client.request(PAYLOAD, **good_headers(apple))
        assert answer.status == status
        assert (json.loads(answer.body) if answer.body else None) == body
        assert received == []
        assert (await client.request(PAYLOAD, **good_headers(apple))).status == 200
        assert received == ["magic"]


@in_loop
async def test_a_fault_for_one_token_leaves_the_others_alone(apple: Authority) -> None:
    async with stand_in(apple) as (apns, port, received):
        apns.postbox.register("cd" * 32, apple.topic)
        apns.faults.order(Fault(FaultKind.UNAVAILABLE, count=None, token="cd" * 32))
        client = await RawClient.connect(apple, port)
        headers = good_headers(apple)
        for _ in range(2):
            spoiled = await client.request(PAYLOAD, path="/3/device/" + "cd" * 32, **headers)
            assert spoiled.status == 503
        assert (await client.request(PAYLOAD, **headers)).status == 200
        assert received == ["magic"]


@in_loop
async def test_goaway_drops_the_push_in_flight_and_the_connection(apple: Authority) -> None:
    async with stand_in(apple) as (apns, port, received):
        apns.faults.order(Fault(FaultKind.GOAWAY))
        client = await RawClient.connect(apple, port)
        answer = await client.request(PAYLOAD, **good_headers(apple))
        assert answer.status == 0
        assert json.loads(answer.goaway or b"{}") == {"reason": "Shutdown"}
        assert received == []


@in_loop
async def test_aioapns_reports_a_goaway_as_a_failed_attempt(
    apple: Authority, tmp_path: Path
) -> None:
    async with stand_in(apple) as (apns, port, received):
        apns.faults.order(Fault(FaultKind.GOAWAY))
        with pytest.raises(MaxAttemptsExceeded):
            await push(aioapns_client(apple, port, tmp_path))
        assert received == []


@in_loop
async def test_a_reset_ends_the_stream_and_spares_the_connection(apple: Authority) -> None:
    async with stand_in(apple) as (apns, port, received):
        apns.faults.order(Fault(FaultKind.RESET))
        client = await RawClient.connect(apple, port)
        assert (await client.request(PAYLOAD, **good_headers(apple))).reset
        assert (await client.request(PAYLOAD, **good_headers(apple))).status == 200
        assert received == ["magic"]


@in_loop
async def test_a_closed_connection_ends_without_an_answer(apple: Authority) -> None:
    async with stand_in(apple) as (apns, port, received):
        apns.faults.order(Fault(FaultKind.CLOSE))
        client = await RawClient.connect(apple, port)
        answer = await client.request(PAYLOAD, **good_headers(apple))
        assert (answer.status, answer.goaway) == (0, None)
        assert received == []


@in_loop
async def test_silence_answers_nothing_while_other_pushes_pass(
    apple: Authority, tmp_path: Path
) -> None:
    async with stand_in(apple) as (apns, port, received):
        client = aioapns_client(apple, port, tmp_path)
        assert (await push(client)).is_successful
        apns.faults.order(Fault(FaultKind.SILENCE))
        unanswered = asyncio.ensure_future(push(client, magic="lost"))
        await asyncio.sleep(0)
        assert (await push(client, magic="second")).is_successful
        assert (await push(client, magic="third")).is_successful
        assert not unanswered.done()
        assert received == ["magic", "second", "third"]
        unanswered.cancel()


@in_loop
async def test_a_slow_answer_comes_after_those_that_were_asked_later(
    apple: Authority, tmp_path: Path
) -> None:
    async with stand_in(apple) as (apns, port, received):
        client = aioapns_client(apple, port, tmp_path)
        assert (await push(client)).is_successful
        apns.faults.order(Fault(FaultKind.SLOW, seconds=1.0))
        slow = asyncio.ensure_future(push(client, magic="slow"))
        await asyncio.sleep(0)
        assert (await push(client, magic="fast")).is_successful
        assert (await slow).is_successful
        assert received == ["magic", "fast", "slow"]


@in_loop
async def test_a_body_waits_for_a_client_that_has_not_widened_its_window(apple: Authority) -> None:
    async with stand_in(apple) as (apns, port, _):
        apns.faults.order(Fault(FaultKind.UNAVAILABLE))
        client = await RawClient.connect(apple, port)
        await client.narrow_windows(10)
        answer = await client.request(PAYLOAD, **good_headers(apple))
        assert (answer.status, answer.body) == (503, b"")
        late = await client.widen_window(100)
        assert json.loads(late.body) == {"reason": "ServiceUnavailable"}


@in_loop
async def test_what_is_no_http2_ends_the_connection_only(apple: Authority) -> None:
    async with stand_in(apple) as (_, port, received):
        client = await RawClient.connect(apple, port)
        await client.talk_nonsense()
        other = await RawClient.connect(apple, port)
        assert (await other.request(PAYLOAD, **good_headers(apple))).status == 200
        assert received == ["magic"]
