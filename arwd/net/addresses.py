"""Who may be dialled. Rule: every address is of one kind, and the kind, our own exposure and the settings decide.

The tables are our own: `ipaddress.is_global` calls some multicast, NAT64 and 6to4 addresses global.
"""

import enum
import ipaddress
from collections.abc import Iterable
from typing import Final

from arwd.errors import SettingsError
from arwd.net import routes

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Kind(enum.Enum):
    """What an address leads to."""

    PUBLIC = "public"
    PRIVATE = "private"
    """This machine, a private network, or one that only documents and benchmarks use."""
    GUARDED = "guarded"
    """Link-local, or where a cloud tells a machine its secrets."""
    NOWHERE = "nowhere"
    """Unspecified, multicast, reserved: no one machine."""


def _networks(*blocks: str) -> tuple[Network, ...]:
    return tuple(map(ipaddress.ip_network, blocks))


_TABLE: Final = (  # the first that fits
    (Kind.NOWHERE, _networks("0.0.0.0/8", "224.0.0.0/3", "::/128", "ff00::/8")),
    (
        Kind.GUARDED,
        _networks(
            "169.254.0.0/16",  # link-local, and the metadata of most clouds
            "168.63.129.16/32",  # Azure's host
            "100.100.100.200/32",  # Alibaba's metadata
            "192.0.0.192/32",  # Oracle's metadata
            "fe80::/10",
            "fd00:ec2::254/128",  # Amazon's metadata over IPv6
            "fd20:ce::254/128",  # Google's
            "fd00:c1::a9fe:a9fe/128",  # Oracle's
            "fd00:42::42/128",  # Scaleway's
        ),
    ),
    (
        Kind.PRIVATE,
        _networks(
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "2001::/23",
            "2001:db8::/32",
            "3fff::/20",
        ),
    ),
)
_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
_LOOPBACK: Final = ipaddress.IPv6Address("::1")
_LOCAL_NAT64: Final = ipaddress.IPv6Network("64:ff9b:1::/48")
_ISATAP: Final = 0x0000_5EFE
"""What stands before the IPv4 address in an interface identifier (RFC 5214); one bit says whether that is unique."""
_ISATAP_MASK: Final = 0xFDFF_FFFF
_MAPPED: Final = ipaddress.IPv6Network("::ffff:0:0/96")
_EMBEDS_IPV4: Final = {  # network -> how far the IPv4 address lies from the right end, in bits
    _MAPPED: 0,
    ipaddress.IPv6Network("::ffff:0:0:0/96"): 0,
    ipaddress.IPv6Network("::/96"): 0,
    ipaddress.IPv6Network("64:ff9b::/96"): 0,
    ipaddress.IPv6Network("2002::/16"): 80,
}


def parse(host: str) -> Address:
    """The address that a literal means, taken out of IPv6 that only carries IPv4. ValueError if it is none."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if address.version == 6 and address != _LOOPBACK and int(address):
        for block, shift in _EMBEDS_IPV4.items():
            if address in block:
                return ipaddress.IPv4Address(int(address) >> shift & 0xFFFF_FFFF)
    return address


def kind_of(address: Address) -> Kind:
    """PURE: what a parsed address leads to."""
    for kind, blocks in _TABLE:
        if _within(address, blocks):
            return kind
    inner = carried(address)
    if inner is not None and kind_of(inner) is Kind.GUARDED:
        return Kind.GUARDED
    is_public_inside = inner is None or kind_of(inner) is Kind.PUBLIC
    if address.version == 4 or (address in _GLOBAL_UNICAST and is_public_inside):
        return Kind.PUBLIC
    return Kind.PRIVATE


def carried(address: Address) -> ipaddress.IPv4Address | None:
    """PURE: the IPv4 address that an IPv6 address may lead on to, where only the network can tell."""
    if address.version == 4:
        return None
    # NAT64 of a local network: where the address lies is that network's own affair, mostly at the end.
    if address in _LOCAL_NAT64 or int(address) >> 32 & _ISATAP_MASK == _ISATAP:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return None


def networks(setting: str, texts: Iterable[str]) -> tuple[Network, ...]:
    """The networks of a setting. SettingsError names it, and the entry that is none."""
    found: list[Network] = []
    for text in texts:
        try:
            network = ipaddress.ip_network(text.replace("%", "/zone"))  # a zone would be dropped without a word
        except ValueError as error:
            raise SettingsError(
                f"The setting {setting} is wrong: {text.rpartition('@')[2]} is not a network. Write an address, or a "
                "network such as 10.0.0.0/8 without bits behind its length."
            ) from error
        if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
            inside = int(network.network_address) & 0xFFFF_FFFF
            network = ipaddress.IPv4Network((inside, network.prefixlen - 96))
        found.append(network)
    return tuple(found)


class AddressPolicy:
    """Judges addresses at the dial itself: no name, literal or redirect gets past it (DNS rebinding)."""

    def __init__(self, allow: tuple[Network, ...] = (), deny: tuple[Network, ...] = ()) -> None:
        self._allow = allow
        self._deny = deny
        self._own: frozenset[tuple[Address, int]] = frozenset()

    def listen_on(self, own: Iterable[tuple[str, int]]) -> None:
        """These are our own addresses: a download from ourselves would be a loop."""
        self._own = frozenset((parse(host), port) for host, port in own)

    @property
    def is_exposed(self) -> bool:
        """Do we listen where others than this machine's programs can reach us?"""
        return any(not address.is_loopback for address, _ in self._own)

    def refusal(self, host: str, port: int, *, after_public: bool = False) -> str | None:
        """Why this literal address may not be dialled, None if it may.

        `after_public`: a public server sent us there, and must not send us where it could not go itself.
        """
        literal = ipaddress.ip_address(host.partition("%")[0])
        address = parse(host)
        kind = kind_of(address)
        if self._is_own(address, port):
            return "this is arwd's own address"
        if kind is Kind.NOWHERE:
            return "its address is unspecified, multicast or reserved, which no one machine has"
        inner = carried(address)
        if any(_within(each, self._deny) for each in (address, literal, *(() if inner is None else (inner,)))):
            return "the setting egress_deny forbids its address"
        opened_by = [each for each in self._allow if _within(address, (each,)) or _within(literal, (each,))]
        if kind is Kind.PUBLIC or any(each.num_addresses == 1 for each in opened_by):
            return None
        if kind is Kind.GUARDED:
            return "its address is link-local or holds a cloud's secrets; egress_allow opens it only as a /32 or /128"
        if opened_by:
            return None
        if after_public:
            return "a server, public or behind the proxy, sent us on to a private address; egress_allow can open it"
        if self.is_exposed:
            return "its address is private, and arwd listens beyond this machine; egress_allow can open it"
        return None

    def _is_own(self, address: Address, port: int) -> bool:
        ours = {own for own, own_port in self._own if own_port == port}
        if address in ours:
            return True
        # Bound to all addresses: ours is then any address that this machine would reach from itself.
        return any(own.is_unspecified for own in ours) and (
            address.is_loopback or routes.source_for(str(address)) == str(address)
        )


def _within(address: Address, blocks: Iterable[Network]) -> bool:
    return any(address.version == block.version and address in block for block in blocks)
