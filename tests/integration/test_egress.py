"""Who is contacted: judged at the dial, for every hop. Every dial is counted; none leaves this machine."""

import contextlib
import socket
from pathlib import Path

import aiohttp
import pytest

from arwd import errors, settings
from arwd.daemon import Daemon
from tests import internet, running
from tests import origin as origins
from tests.canary import WORD
from tests.internet import OTHER_PUBLIC, PUBLIC, Internet, egress, fetch, session
from tests.origin import Origin, Serve, Status
from tests.running import Running

ALWAYS_DENIED = (
    # unspecified, multicast, reserved
    "0.0.0.0", "0", "0.1.2.3", "[::]", "[::0.0.0.0]", "[0:0:0:0:0:0:0:0]", "[::ffff:0.0.0.0]", "224.0.0.1",
    "255.255.255.255", "240.1.1.1", "[ff02::1]", "[::ffff:224.0.0.1]",
    # link-local and metadata
    "169.254.169.254", "169.254.169.254.", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518",
    "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", "[::169.254.169.254]", "[64:ff9b::a9fe:a9fe]",
    "[2002:a9fe:a9fe::]", "[64:ff9b:1::a9fe:a9fe]", "[::ffff:0:a9fe:a9fe]", "[fe80::1]", "[fe80::1%25lo]",
    "[fe80::1%lo]", "[fd00:ec2::254]", "[fd20:ce::254]", "100.100.100.200", "192.0.0.192", "168.63.129.16",
    "169.254.0.1", "meta.example", "mixed-bad.example",
    # ourselves
    "127.0.0.1:8090", "[::1]:8090", "[::ffff:127.0.0.1]:8090", "localhost:8090", "LOCALHOST:8090", "self.example:8090",
)  # fmt: skip
PRIVATE = (
    "127.0.0.1", "127.1", "127.0.0.1.", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "127.8.8.8",
    "localhost", "LOCALHOST", "localhost.", "LocalHost.", "①②⑦.⓪.⓪.①", "127。0。0。1", "127%2e0.0.1", "[::1]",
    "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]", "10.0.0.1", "10.1", "0xa.0.0.1", "172.16.0.1", "192.168.1.1", "3232235777", "100.64.0.1",
    "198.18.0.1", "192.0.2.1", "[fd00::1]", "[fc00::1]", "[fec0::1]", "[2001:db8::1]", "[64:ff9b:1::101:101]",
    "inside.example", "mixed-inside.example",
)  # fmt: skip
ADDRESSES = {
    "meta.example": ("169.254.169.254", "fe80::1"),
    "mixed-bad.example": ("0.0.0.0", "::", "169.254.169.254"),
    "self.example": ("127.0.0.1", "::1"),
    "inside.example": ("10.0.0.1", "127.0.0.1", "fd00::1"),
    "mixed-inside.example": ("192.168.1.1", "::ffff:10.0.0.1", "::1"),
}


@pytest.fixture
def world(origin: Origin) -> Internet:
    """Names for the addresses above; the public addresses lead to the origin."""
    made = Internet()
    made.names |= {name: [addresses] for name, addresses in ADDRESSES.items()}
    made.leads_to = {PUBLIC: origin.port}
    return made


def test_the_corpus_is_wide_enough() -> None:
    assert len(set(ALWAYS_DENIED)) >= 40
    assert len(set(PRIVATE)) >= 30


@pytest.mark.parametrize(("own", "hosts"), [("127.0.0.1", ALWAYS_DENIED), ("192.0.2.7", ALWAYS_DENIED + PRIVATE)])
async def test_no_spelling_of_a_denied_address_is_dialled(
    own: str, hosts: tuple[str, ...], world: Internet, subtests: pytest.Subtests
) -> None:
    way_out = egress()
    async with session(world, way_out, own=own) as opened:
        way_out.policy.listen_on([(own, 8090), ("127.0.0.1", 8090), ("::1", 8090)])
        for scheme in ("http", "https"):
            for host in hosts:
                with subtests.test(f"{scheme}://{host}"):
                    with pytest.raises((errors.BlockedAddress, errors.InvalidResponse)):
                        await fetch(opened, f"{scheme}://{host}/m.gguf")
    assert world.dials == []


async def test_the_dial_itself_is_guarded_and_not_only_what_leads_to_it(
    world: Internet, subtests: pytest.Subtests
) -> None:
    way_out = egress()
    async with session(world, way_out) as opened:
        way_out.policy.listen_on([("192.0.2.7", 8090), ("127.0.0.1", 8090), ("::1", 8090)])
        for host in ALWAYS_DENIED + PRIVATE:
            with subtests.test(host):
                with pytest.raises((errors.BlockedAddress, aiohttp.ClientError, ValueError)):
                    await opened._direct.get(f"http://{host}/m.gguf", "it", {}, None)
    assert "0x7f.1" in world.looked_up  # such spellings are no literals to the HTTP client: they did come this far
    assert world.dials == []


@pytest.mark.parametrize("own", ["127.0.0.1", "192.0.2.7"])
async def test_nor_when_a_public_server_sends_us_there(
    own: str, world: Internet, origin: Origin, subtests: pytest.Subtests
) -> None:
    way_out = egress()
    async with session(world, way_out, own=own) as opened:
        way_out.policy.listen_on([(own, 8090), ("127.0.0.1", 8090), ("::1", 8090)])
        for host in ALWAYS_DENIED + PRIVATE:
            with subtests.test(host):
                location = f"http://{host}/m.gguf".encode().decode("latin-1")
                origin.script(Status(302, {"Location": location}))
                with pytest.raises((errors.BlockedAddress, errors.BadRedirect)) as caught:
                    await fetch(opened, "http://public.example/m.gguf")
                assert str(caught.value).startswith("http://public.example")
    assert set(world.dials) == {(PUBLIC, 80)}


async def test_a_name_that_changes_its_address_between_look_and_use_gains_nothing(
    world: Internet, origin: Origin, data: bytes
) -> None:
    world.names["rebind.example"] = [(PUBLIC,), ("127.0.0.1",)]
    world.leads_to["127.0.0.1"] = origin.port
    way_out = egress()
    async with session(world, way_out, own="192.0.2.7") as opened:
        assert await fetch(opened, "http://rebind.example/m.gguf") == data
    async with session(world, way_out, own="192.0.2.7") as opened:
        with pytest.raises(errors.BlockedAddress, match="private"):
            await fetch(opened, "http://rebind.example/m.gguf")
    assert world.looked_up == ["rebind.example"] * 2
    assert world.dials == [(PUBLIC, 80)]


async def test_of_a_name_s_addresses_the_denied_ones_are_skipped(world: Internet, data: bytes) -> None:
    world.names["mixed.example"] = [("10.0.0.1", "169.254.169.254", "fe80::1", PUBLIC, "::1")]
    async with session(world, own="192.0.2.7") as opened:
        assert await fetch(opened, "http://mixed.example/m.gguf") == data
    assert world.dials == [(PUBLIC, 80)]


@pytest.mark.parametrize("addresses", [("10.0.0.1", OTHER_PUBLIC), (OTHER_PUBLIC, "10.0.0.1")])
async def test_where_only_the_allowed_address_is_down_it_is_worth_another_try(
    addresses: tuple[str, ...], world: Internet
) -> None:
    world.names["mixed.example"] = [addresses]
    async with session(world, own="192.0.2.7") as opened:
        with pytest.raises(errors.Connect, match="may be contacted do not answer"):
            await fetch(opened, "http://mixed.example/m.gguf")
    assert set(world.dials) == {(OTHER_PUBLIC, 80)}


async def test_while_arwd_serves_this_machine_only_private_servers_are_as_good_as_any(
    world: Internet, origin: Origin, data: bytes
) -> None:
    world.leads_to |= {"10.0.0.1": origin.port, "127.0.0.1": origin.port}
    origin.script(Status(302, {"Location": "http://127.0.0.1/m.gguf"}), Serve())
    async with session(world) as opened:
        assert await fetch(opened, "http://10.0.0.1/m.gguf") == data
    assert world.dials == [("10.0.0.1", 80), ("127.0.0.1", 80)]


async def test_a_private_server_may_send_us_to_a_public_one_but_there_is_no_way_back(
    world: Internet, origin: Origin
) -> None:
    world.leads_to["10.0.0.1"] = origin.port
    hops = ["http://public.example/a", "http://10.0.0.1/b"]
    origin.script(*(Status(302, {"Location": hop}) for hop in hops), Serve())
    async with session(world) as opened:
        with pytest.raises(errors.BlockedAddress, match="public or behind the proxy, sent us on") as caught:
            await fetch(opened, "http://10.0.0.1/m.gguf")
    assert str(caught.value).startswith("http://10.0.0.1/m.gguf (sent on to http://10.0.0.1): ")
    assert world.dials == [("10.0.0.1", 80), (PUBLIC, 80)]


async def test_a_connection_that_is_kept_is_no_way_around(world: Internet, origin: Origin, data: bytes) -> None:
    world.leads_to["10.0.0.1"] = origin.port
    origin.script(Serve(), Status(302, {"Location": "http://10.0.0.1/secret"}), Serve())
    async with session(world) as opened:
        assert await fetch(opened, "http://10.0.0.1/m.gguf") == data
        with pytest.raises(errors.BlockedAddress):
            await fetch(opened, "http://public.example/m.gguf")
        accepts = origin.accepts
        assert await fetch(opened, "http://10.0.0.1/m.gguf") == data
    # It was there to be used, and whoever may use it did.
    assert origin.accepts == accepts
    assert [seen.target for seen in origin.requests] == ["/m.gguf", "/m.gguf", "/m.gguf"]


async def test_a_kept_connection_is_judged_anew_for_every_request(world: Internet, origin: Origin, data: bytes) -> None:
    world.leads_to["10.0.0.1"] = origin.port
    way_out = egress()
    async with session(world, way_out) as opened:
        assert await fetch(opened, "http://10.0.0.1/m.gguf") == data
        way_out.policy.listen_on([("192.0.2.7", 8090)])
        with pytest.raises(errors.BlockedAddress):
            await fetch(opened, "http://10.0.0.1/m.gguf")
    assert len(origin.requests) == 1


async def test_what_answers_is_what_was_judged(
    world: Internet, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(internet._Disguised, "getpeername", lambda self: ("169.254.169.254", 80))
    async with session(world) as opened:
        with pytest.raises(errors.BlockedAddress, match="link-local"):
            await fetch(opened, "http://public.example/m.gguf")
    assert origin.requests == []


async def test_egress_allow_lets_a_public_server_send_us_to_a_private_one(
    world: Internet, origin: Origin, data: bytes
) -> None:
    world.leads_to["10.0.0.1"] = origin.port
    origin.script(Status(307, {"Location": "http://10.0.0.1/m.gguf"}), Serve())
    async with session(world, egress(egress_allow=("10.0.0.0/30",)), own="192.0.2.7") as opened:
        assert await fetch(opened, "http://public.example/m.gguf") == data


async def test_egress_deny_closes_a_public_network(world: Internet) -> None:
    async with session(world, egress(egress_deny=("93.184.216.0/24",))) as opened:
        with pytest.raises(errors.BlockedAddress, match="egress_deny"):
            await fetch(opened, "http://public.example/m.gguf")
    assert world.dials == []


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


@pytest.mark.parametrize(("silent", "here"), [("2606:4700::1111", "::1"), (OTHER_PUBLIC, "127.0.0.1")])
async def test_an_address_that_does_not_answer_holds_nobody_up(
    silent: str, here: str, world: Internet, data: bytes
) -> None:
    """IPv6 that leads nowhere, for example: the other address is tried a moment later (RFC 8305)."""
    if here == "::1" and not has_ipv6():
        pytest.skip("this machine has no IPv6 at all")
    async with origins.deaf(here) as port:
        world.names["both.example"] = [(silent, PUBLIC)]
        world.leads_to[silent] = port
        async with session(world, egress(connect_timeout=20)) as opened:
            assert await fetch(opened, "http://both.example/m.gguf") == data
    assert world.dials == [(silent, 80), (PUBLIC, 80)]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_five_redirects_are_followed_and_a_sixth_is_not(
    status: int, world: Internet, origin: Origin, data: bytes
) -> None:
    again = Status(status, {"Location": "/next?token=s3cr3t"})
    async with session(world) as opened:
        origin.script(*[again] * 5, Serve())
        assert await fetch(opened, "http://public.example/m.gguf") == data
        origin.script(again)
        with pytest.raises(errors.TooManyRedirects) as caught:
            await fetch(opened, "http://public.example/m.gguf?token=s3cr3t")
    assert "s3cr3t" not in str(caught.value)


async def test_an_error_behind_a_redirect_shows_of_the_place_only_its_origin(world: Internet, origin: Origin) -> None:
    origin.script(Status(302, {"Location": "http://gone.example/exp=1~hmac=s3cr3t/m.gguf?s3cr3t"}))
    async with session(world) as opened:
        with pytest.raises(errors.UnknownName) as caught:
            await fetch(opened, "http://public.example/m.gguf?s3cr3t")
    assert str(caught.value) == "http://public.example/m.gguf (sent on to http://gone.example): no such host"


# The same, through a whole daemon.


async def test_a_job_for_a_denied_address_fails_at_once_and_says_why(daemon: Running) -> None:
    await daemon.download("m", f"http://169.254.169.254/latest/meta-data?token={WORD}")
    last = await daemon.settled("m")
    assert (last["status"], last["code"]) == ("error", "blocked_address")
    assert "link-local" in last["error"]


async def test_a_job_cannot_be_made_to_download_from_arwd_itself(daemon: Running) -> None:
    await daemon.download("m", f"{daemon.url}/models")
    last = await daemon.settled("m")
    assert (last["code"], "arwd's own address" in last["error"]) == ("blocked_address", True)


async def test_a_daemon_that_is_exposed_denies_loopback(daemon: Running, origin: Origin) -> None:
    port = int(daemon.url.rpartition(":")[2])
    daemon.daemon.egress.policy.listen_on([("127.0.0.1", port), ("192.0.2.7", port)])
    await daemon.download("m", origin.url())
    last = await daemon.settled("m")
    assert (last["code"], "egress_allow" in last["error"]) == ("blocked_address", True)
    assert origin.accepts == 0


async def test_unless_it_is_told_otherwise(tmp_path: Path, origin: Origin) -> None:
    async with running.daemon(tmp_path / "state", egress_allow=["127.0.0.0/8"]) as daemon:
        daemon.daemon.egress.policy.listen_on([("192.0.2.7", 1)])
        await daemon.download("m", origin.url())
        assert (await daemon.settled("m"))["status"] == "complete"


@pytest.mark.parametrize(("host", "is_exposed"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_a_daemon_knows_by_its_sockets_whether_it_is_exposed(tmp_path: Path, host: str, is_exposed: bool) -> None:
    way_out = egress()
    daemon = Daemon(settings.load({"state_dir": str(tmp_path)}, {}), "a-token", way_out)
    try:
        with socket.socket() as bound:
            bound.bind((host, 0))  # it never listens
            daemon.listen_on([bound])
        assert way_out.policy.is_exposed is is_exposed
    finally:
        daemon.database.close()
        daemon.layout.release()
