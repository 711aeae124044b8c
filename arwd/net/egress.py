"""The settings of the way out, read and checked: files opened, networks parsed, variables looked up."""

import ssl
from collections.abc import Mapping
from pathlib import Path

from arwd.errors import SettingsError
from arwd.net import addresses, credentials, proxies
from arwd.net.options import Options


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
        kept = environ.get("CREDENTIALS_DIRECTORY")
        self.credentials = credentials.read(options.credentials, [Path(kept)] if kept else [])
        self.trust = _trust(options.ca_bundle)

    @property
    def secrets(self) -> frozenset[str]:
        """What no log line may hold."""
        return self.credentials.secrets | self.proxies.secrets


def _trust(bundle: str) -> ssl.SSLContext | bool:
    """Whose certificates are believed: the system's authorities, and those of the bundle."""
    if not bundle:
        return True
    context = ssl.create_default_context()
    context.set_alpn_protocols(("http/1.1",))
    try:
        context.load_verify_locations(cafile=Path(bundle).expanduser())
    except ssl.SSLError as error:
        raise SettingsError(f"The file ca_bundle {bundle} holds no certificates in PEM form.") from error
    except OSError as error:
        raise SettingsError(f"Cannot read the file ca_bundle {bundle}: {error.strerror}.") from error
    return context
