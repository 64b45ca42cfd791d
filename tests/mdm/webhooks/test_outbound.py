"""Where this server sends nothing, whoever asks it to; and how long it waits."""

from __future__ import annotations

import ipaddress
import socket
import threading
from functools import partial

import pytest

from mdm import outbound
from mdm.outbound import NotThere, Unreached
from tests.mdm.webhooks.conftest import HERE
from tests.mdm.webhooks.receiver import Receiver, status, trickle, wait_for

post = partial(outbound.post, plain=True)

# Each form in which something within can be written.
WITHIN = (
    *("127.0.0.1", "127.9.9.9", "0.0.0.0", "0.1.2.3", "10.1.2.3", "172.16.0.1", "172.31.255.254"),
    *("192.168.1.1", "169.254.169.254", "100.64.0.1", "100.127.255.254", "192.0.0.8", "198.18.0.1"),
    *("192.0.2.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.2.3", "240.0.0.1"),
    *(
        "255.255.255.255",
        "168.63.129.16",
        "::1",
        "::",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:a9fe:a9fe",
    ),
    *("::127.0.0.1", "fe80::1", "fec0::1", "fc00::1", "fd12:3456::1", "ff02::1", "2001:db8::1"),
    *("64:ff9b::10.0.0.1", "64:ff9b:1::1", "2002:7f00:1::1", "2001:0:1::1", "3fff::1", "100::1"),
)
PUBLIC = ("93.184.215.14", "8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8")
# As a resolver reads them too, though no list of addresses has them so.
ODD = ("2130706433", "0x7f000001", "0177.0.0.1", "127.1", "localhost", "LOCALHOST")


def leads_to(*addresses: str):
    """A resolver that leads every name there, one after another where they are asked anew."""

    def resolve(host: str, port: int, **_: object):
        resolve.asked += 1
        family = socket.AF_INET6 if ":" in addresses[0] else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (each, port)) for each in addresses]

    resolve.asked = 0
    return resolve


def test_what_is_within_and_what_is_public() -> None:
    assert [each for each in WITHIN if outbound.may_ask(ipaddress.ip_address(each), ())] == []
    assert [each for each in PUBLIC if not outbound.may_ask(ipaddress.ip_address(each), ())] == []
    ten = (ipaddress.ip_network("10.0.0.0/8"),)
    assert outbound.may_ask(ipaddress.ip_address("10.1.2.3"), ten)
    assert outbound.may_ask(ipaddress.ip_address("::ffff:10.1.2.3"), ten)
    assert not outbound.may_ask(ipaddress.ip_address("192.168.1.1"), ten)


@pytest.mark.parametrize("address", WITHIN)
def test_nothing_goes_to_what_is_within_by_number_or_by_name(address: str) -> None:
    literal = f"[{address}]" if ":" in address else address
    with pytest.raises(NotThere, match="GUARD_WEBHOOK_NETWORKS"):
        outbound.check(f"https://{literal}/", plain=False, allowed=())
    for found in ([address], ["8.8.8.8", address]):
        with pytest.raises(NotThere):
            post("http://hook.example/", b"", {}, (), resolve=leads_to(*found))


@pytest.mark.parametrize("host", ODD)
def test_odd_ways_to_write_this_machine_lead_nowhere(host: str) -> None:
    with Receiver() as receiver:
        with pytest.raises(NotThere):
            post(f"http://{host}:{receiver.port}/", b"", {}, ())
        assert receiver.came == []


def test_a_name_that_leads_elsewhere_a_moment_later_wins_nothing() -> None:
    """It is asked once, and the connection goes to what was checked."""
    turns = iter([["127.0.0.1"], ["127.0.0.2"], ["127.0.0.2"]])

    def rebinding(host: str, port: int, **_: object):
        return leads_to(*next(turns))(host, port)

    with Receiver() as receiver, Receiver("127.0.0.2") as within:
        url = f"http://hook.example:{receiver.port}/"
        assert post(url, b"1", {}, [HERE], resolve=rebinding).status == 200
        assert len(receiver.came) == 1
        assert receiver.came[0].headers["host"] == f"hook.example:{receiver.port}"

        with pytest.raises(NotThere):
            post(f"http://hook.example:{within.port}/", b"2", {}, [HERE], resolve=rebinding)

        assert within.came == []


def test_a_redirect_is_an_answer_and_nothing_more() -> None:
    with Receiver() as receiver, Receiver("127.0.0.2") as within:
        receiver.answers = [status(307, Location=within.url)]

        assert post(receiver.url, b"", {}, [HERE]).status == 307

        assert within.came == []


@pytest.mark.parametrize("slow", [wait_for, trickle])
def test_it_waits_so_long_and_no_longer_however_slowly_an_answer_trickles(slow) -> None:
    over = threading.Event()
    with Receiver() as receiver:
        receiver.answers = [slow(over)]
        with pytest.raises(Unreached, match="No answer"):
            post(receiver.url, b"", {}, [HERE], seconds=0.3)
        over.set()


def test_of_an_answer_without_end_the_beginning_is_read() -> None:
    def endless(handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(b"<script>\x00\x07" + b"\xff" * 8192)

    with Receiver() as receiver:
        receiver.answers = [endless]

        said = post(receiver.url, b"", {}, [HERE]).said

    assert said.startswith("<script> ")
    assert len(said) <= 300
    assert said.isprintable()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "begins with https"),
        ("hook.example", "begins with https"),
        ("ftp://hook.example/", "begins with https"),
        ("file:///etc/passwd", "begins with https"),
        ("https://", "begins with https"),
        ("http://hook.example/", "begins with https"),
        ("https://ada:secret@hook.example/", "a user, a password"),
        ("https://hook.example/#x", "a #"),
        ("https://hook.example:99999/", "address"),
        ("https://hook .example/", "a host that cannot be"),
        ("https://" + "x" * 70000, "address"),
        ("https://xn--zz/", "address"),
    ],
)
def test_an_address_that_cannot_be_asked_is_refused_with_what_to_put_right(url, why) -> None:
    with pytest.raises(NotThere, match=why):
        outbound.check(url, plain=False, allowed=())


def test_an_address_is_kept_as_it_will_be_asked() -> None:
    assert outbound.check("https://HOOK.example/a?b=c d", plain=False, allowed=()) == (
        "https://hook.example/a?b=c%20d"
    )
    assert outbound.check("http://hook.example", plain=True, allowed=()) == "http://hook.example"
    assert outbound.check("https://bücher.example/", plain=False, allowed=())
