"""The settings of the way out, read and checked: files opened, networks parsed, variables looked up."""

import codecs
import ssl
from collections.abc import Mapping
from pathlib import Path

from arwd import fs, tokens
from arwd.errors import SettingsError
from arwd.net import addresses, credentials, proxies
from arwd.net.options import Options

_MOST_BUNDLE = 16 << 20
"""Bytes of a bundle that are read: the largest have one."""


class Egress:
    """Whom arwd may contact, through whom, trusting whom, and with which tokens."""

    def __init__(self, options: Options, environ: Mapping[str, str]) -> None:
        """SettingsError names the setting that is wrong."""
        self.options = options
        self.policy = addresses.AddressPolicy(
            addresses.networks("egress_allow", options.egress_allow),
            addresses.networks("egress_deny", options.egress_deny),
        )
        self.proxies = proxies.read(options.proxy, environ)
        self.credentials = credentials.read(options.credentials, tokens.kept_by_manager(environ))
        self.trust = _trust(options.ca_bundle)

    @property
    def secrets(self) -> frozenset[str]:
        """What no log line may hold."""
        return self.credentials.secrets | self.proxies.secrets


def _trust(bundle: str) -> ssl.SSLContext | bool:
    """Whose certificates are believed: the system's authorities, and those of the bundle."""
    if not bundle:
        return True
    data, _ = fs.read_setting("ca_bundle", Path(bundle).expanduser(), _MOST_BUNDLE)
    context = ssl.create_default_context()
    context.set_alpn_protocols(("http/1.1",))
    # Whom the bundle names is trusted for himself: an intermediate, or one server's certificate, needs no root.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        # What stands between certificates is for people, in whatever encoding; a mark before them hides the first.
        text = data.removeprefix(codecs.BOM_UTF8)
        context.load_verify_locations(cadata=text.decode("ascii", "replace").replace("\N{REPLACEMENT CHARACTER}", "?"))
    except (ssl.SSLError, ValueError) as error:
        raise SettingsError(f"The file ca_bundle {bundle} holds no certificates in PEM form.") from error
    return context
