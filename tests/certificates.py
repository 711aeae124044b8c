"""Certificates made on the spot by the `openssl` command, good and bad, for servers of the tests."""

import contextlib
import ssl
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from tests.origin import Origin
from tests.raw import answering

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True)
class Certificate:
    """A certificate file with its key's."""

    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """What a server needs."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(self.certificate, self.key)
        return made


class Authority:
    """An authority that no machine trusts by itself."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.own = Certificate(folder / "authority.pem", folder / "authority.key")
        _openssl("req", "-x509", *_KEY, "-keyout", self.own.key, "-out", self.own.certificate, "-days", "2",
                 "-subj", "/CN=An authority of the tests", "-addext", "basicConstraints=critical,CA:true",
                 "-addext", "keyUsage=critical,keyCertSign,cRLSign")  # fmt: skip

    def issue(self, name: str, names: str, *, days: int = 2) -> Certificate:
        """A certificate for these names (as in subjectAltName); with negative days, one that has expired."""
        made = Certificate(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        request, extensions = self._folder / f"{name}.csr", self._folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={names}\nbasicConstraints=CA:false\n")
        _openssl("req", "-new", *_KEY, "-keyout", made.key, "-out", request, "-subj", f"/CN={name}")
        _openssl("x509", "-req", "-in", request, "-CA", self.own.certificate, "-CAkey", self.own.key, "-CAcreateserial",
                 "-out", made.certificate, "-days", str(days), "-extfile", extensions)  # fmt: skip
        return made

    def self_signed(self, names: str) -> Certificate:
        """A certificate that nobody but its own key vouches for."""
        made = Certificate(self._folder / "self.pem", self._folder / "self.key")
        _openssl("req", "-x509", *_KEY, "-keyout", made.key, "-out", made.certificate, "-days", "2",
                 "-subj", "/CN=self", "-addext", f"subjectAltName={names}")  # fmt: skip
        return made


@contextlib.asynccontextmanager
async def secured(data: bytes, certificate: Certificate) -> AsyncIterator[Origin]:
    """An origin that speaks https."""
    async with answering(Origin(data), certificate.context()) as origin:
        yield origin


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
