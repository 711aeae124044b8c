"""Who may be dialled: every address has a kind, in every disguise. Nothing is dialled here."""

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arwd.errors import SettingsError
from arwd.net import AddressPolicy, routes
from arwd.net.addresses import Kind, kind_of, networks, parse

NOWHERE = ["0.0.0.0", "0.1.2.3", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"]
GUARDED = ["169.254.169.254", "169.254.0.1", "168.63.129.16", "100.100.100.200", "192.0.0.192"]
PRIVATE = [
    "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.0.1", "172.16.0.1",
    "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.19.255.255",
    "198.51.100.1", "203.0.113.1",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1", "9.255.255.255", "11.0.0.0", "93.184.215.14", "100.63.255.255", "100.128.0.0", "126.255.255.255",
    "128.0.0.0", "168.63.129.17", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255",
    "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255",
]  # fmt: skip
V6 = {
    Kind.NOWHERE: ["::", "ff02::1", "ff0e::1", "ffff::"],
    Kind.GUARDED: [
        "fe80::1", "fe80::1%eth0", "febf::1", "fd00:ec2::254", "fd20:ce::254", "fd00:c1::a9fe:a9fe", "fd00:42::42",
        "64:ff9b:1::a9fe:a9fe", "2606:4700::5efe:a9fe:a9fe",
    ],
    Kind.PRIVATE: [
        "::1", "fc00::1", "fd00::1", "fdff::1", "fec0::1", "fd00:ec2::255", "100::1", "2001::1", "2001:1ff::1",
        "2001:db8::1", "3fff::1", "4000::1", "1fff::1", "64:ff9b:1::101:101", "64:ff9b:1::1", "2606:4700::5efe:a00:1",
        "2606:4700::200:5efe:7f00:1", "fd00::5efe:101:101",
    ],
    Kind.PUBLIC: [
        "2000::1", "2001:200::1", "2003::1", "2606:4700::1111", "2a00::1", "3ffe::1",
        "2606:4700::5efe:101:101", "2606:4700::200:5eff:a00:1",
    ],
}  # fmt: skip
V4 = {Kind.NOWHERE: NOWHERE, Kind.GUARDED: GUARDED, Kind.PRIVATE: PRIVATE, Kind.PUBLIC: PUBLIC}


def disguises(address: str) -> list[str]:
    """The same IPv4 address as IPv6 can carry it: mapped, translated, compatible, NAT64, 6to4."""
    a, b, c, d = map(int, address.split("."))
    tail = f"{a:02x}{b:02x}:{c:02x}{d:02x}"
    carried = [f"::ffff:{address}", f"::ffff:{tail}", f"::ffff:0:{tail}", f"64:ff9b::{tail}"]
    carried += [f"2002:{tail}::", f"2002:{tail}:1::5"]
    # `::` and `::1` are addresses in their own right.
    return carried if address in ("0.0.0.0", "0.0.0.1") else [*carried, f"::{tail}"]


@pytest.mark.parametrize(("kind", "address"), [(kind, each) for kind, all_ in V4.items() for each in all_])
def test_an_address_has_its_kind_in_every_disguise(kind: Kind, address: str) -> None:
    found = {name: kind_of(parse(name)) for name in (address, *disguises(address))}
    assert found == dict.fromkeys(found, kind)


@pytest.mark.parametrize(("kind", "address"), [(kind, each) for kind, all_ in V6.items() for each in all_])
def test_ipv6_has_kinds_too(kind: Kind, address: str) -> None:
    assert kind_of(parse(address)) is kind


@pytest.mark.parametrize(
    "address", ["64:ff9b:1::101:101", "64:ff9b::101:101", "2606:4700::5efe:101:101", "2002:101:101::"]
)
def test_a_denied_network_is_denied_in_every_disguise(address: str) -> None:
    assert policy(own=LOCAL).refusal(address, 80) is None
    assert "egress_deny" in str(policy(deny=("1.1.1.0/24",), own=LOCAL).refusal(address, 80))


def test_so_it_is_behind_the_nat64_of_a_local_network() -> None:
    assert policy(own=LOCAL).refusal("64:ff9b:1::101:101", 80) is None
    assert "egress_deny" in str(policy(deny=("1.1.1.0/24",), own=LOCAL).refusal("64:ff9b:1::101:101", 80))


@given(st.ip_addresses(v=4))
def test_what_python_calls_private_is_not_public_here(address: ipaddress.IPv4Address) -> None:
    if not address.is_global:
        assert kind_of(parse(str(address))) is not Kind.PUBLIC


def policy(allow: tuple[str, ...] = (), deny: tuple[str, ...] = (), own: tuple[str, ...] = ()) -> AddressPolicy:
    made = AddressPolicy(networks("egress_allow", allow), networks("egress_deny", deny))
    made.listen_on((host, 8090) for host in own)
    return made


LOCAL = ("127.0.0.1", "::1")
EXPOSED = ("192.0.2.7",)


def let_through(judge: AddressPolicy, *, after_public: bool = False) -> set[Kind]:
    """The kinds of which every address may be dialled; a kind of which some may is a failure."""
    passed = set()
    for kind in Kind:
        refusals = [judge.refusal(each, 80, after_public=after_public) for each in V4[kind] + V6[kind]]
        assert all(refusals) or not any(refusals), kind
        if not any(refusals):
            passed.add(kind)
    return passed


def test_while_arwd_listens_on_loopback_private_addresses_may_be_dialled() -> None:
    assert let_through(policy()) == {Kind.PUBLIC, Kind.PRIVATE}
    assert let_through(policy(own=LOCAL)) == {Kind.PUBLIC, Kind.PRIVATE}


@pytest.mark.parametrize("own", ["192.0.2.7", "0.0.0.0", "::", "fd00::1", "::ffff:10.0.0.1"])
def test_while_arwd_is_exposed_only_public_addresses_may_be_dialled(own: str) -> None:
    judge = policy(own=("127.0.0.1", own))
    assert judge.is_exposed
    assert let_through(judge) == {Kind.PUBLIC}


@pytest.mark.parametrize("own", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_loopback_in_any_spelling_is_no_exposure(own: str) -> None:
    assert not policy(own=(own,)).is_exposed


def test_a_public_server_cannot_send_us_to_a_private_one() -> None:
    assert let_through(policy(own=LOCAL), after_public=True) == {Kind.PUBLIC}


@pytest.mark.parametrize("after_public", [False, True])
@pytest.mark.parametrize("disguise", ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::a01:203", "2002:a01:203::"])
def test_egress_allow_opens_a_private_network(disguise: str, after_public: bool) -> None:
    judge = policy(allow=("10.1.0.0/16",), own=EXPOSED)
    assert judge.refusal(disguise, 80, after_public=after_public) is None
    assert judge.refusal("10.2.0.1", 80, after_public=after_public) is not None


@pytest.mark.parametrize("network", ["169.254.0.0/16", "169.254.169.0/24", "0.0.0.0/0"])
def test_a_network_does_not_open_what_is_guarded(network: str) -> None:
    assert policy(allow=(network,)).refusal("169.254.169.254", 80) is not None


@pytest.mark.parametrize("entry", ["169.254.169.254/32", "169.254.169.254", "::ffff:169.254.169.254/128"])
def test_its_exact_address_does(entry: str) -> None:
    judge = policy(allow=(entry,), own=EXPOSED)
    assert judge.refusal("169.254.169.254", 80) is None
    assert judge.refusal("169.254.169.253", 80) is not None


@pytest.mark.parametrize("address", ["0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "ff02::1"])
def test_nothing_opens_what_is_nowhere(address: str) -> None:
    assert policy(allow=(address,)).refusal(address, 80) is not None


@pytest.mark.parametrize("entry", ["1.1.1.0/24", "1.1.1.1", "::ffff:1.1.1.0/120"])
def test_egress_deny_wins(entry: str) -> None:
    judge = policy(deny=(entry,), allow=("1.1.1.1/32", "0.0.0.0/0"))
    assert "egress_deny" in (judge.refusal("1.1.1.1", 80) or "")
    assert judge.refusal("::ffff:1.1.1.1", 80) is not None
    assert judge.refusal("1.1.2.1", 80) is None


def test_a_whole_way_of_wrapping_can_be_denied() -> None:
    judge = policy(deny=("64:ff9b::/96",))
    assert judge.refusal("64:ff9b::101:101", 80) is not None
    assert judge.refusal("1.1.1.1", 80) is None


@pytest.mark.parametrize("setting", ["egress_allow", "egress_deny"])
@pytest.mark.parametrize("entry", ["10.0.0.1/8", "10.0.0.0/33", "ten", "", "10.0.0", "fe80::1%lo", "https://h"])
def test_what_is_no_network_is_an_error_that_names_the_setting_and_the_entry(setting: str, entry: str) -> None:
    with pytest.raises(SettingsError, match=setting) as caught:
        networks(setting, ["10.0.0.0/8", entry])
    assert entry in str(caught.value)


def test_arwd_does_not_download_from_itself() -> None:
    judge = policy(own=LOCAL, allow=("127.0.0.1/32",))
    for spelling in ("127.0.0.1", "::ffff:127.0.0.1", "::127.0.0.1", "::1", "0:0:0:0:0:0:0:1"):
        assert judge.refusal(spelling, 8090) == "this is arwd's own address"
    assert judge.refusal("127.0.0.1", 8091) is None


@pytest.mark.parametrize("wildcard", ["0.0.0.0", "::"])
def test_nor_by_any_other_address_of_this_machine(wildcard: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Whoever reaches an address from that same address reaches himself.
    sources = {"1.1.1.1": "1.1.1.1", "9.9.9.9": "1.1.1.1", "8.8.8.8": None}
    monkeypatch.setattr(routes, "source_for", lambda host: sources[host])
    judge = policy(own=(wildcard,), allow=("127.0.0.0/8",))
    assert judge.refusal("1.1.1.1", 8090) == "this is arwd's own address"
    assert judge.refusal("127.9.9.9", 8090) == "this is arwd's own address"
    assert judge.refusal("9.9.9.9", 8090) is None
    assert judge.refusal("8.8.8.8", 8090) is None
    assert judge.refusal("1.1.1.1", 80) is None


def test_the_routing_table_knows_from_where_loopback_is_reached() -> None:
    assert routes.source_for("127.0.0.1") == "127.0.0.1"
    assert routes.source_for("127.9.9.9") in ("127.9.9.9", "127.0.0.1")


def test_without_a_way_out_there_is_no_route(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lonely(socket.socket):
        def connect(self, address: object) -> None:
            raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(routes.socket, "socket", Lonely)
    assert routes.source_for("127.0.0.1") is None
    assert not routes.has_any()
    monkeypatch.setattr(routes, "source_for", lambda host: "2001:db8::7" if ":" in host else None)
    assert routes.has_any()
