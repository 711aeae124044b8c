"""Whose word is taken for who a server is. The wrong ones are told apart, and each sentence says what to do."""

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from arwd import errors, net
from arwd.errors import SettingsError
from tests import running
from tests.certificates import Authority, Certificate, secured
from tests.internet import egress, fetch
from tests.origin import Origin

pytestmark = pytest.mark.needs("openssl")

HERE = "IP:127.0.0.1"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def good(authority: Authority) -> Certificate:
    return authority.issue("good", HERE)


@pytest.fixture
async def session(authority: Authority) -> AsyncIterator[net.Session]:
    """One that trusts the authority of the tests."""
    opened = net.Session(egress(ca_bundle=str(authority.own.certificate)))
    yield opened
    await opened.close()


def url(origin: Origin, host: str = "127.0.0.1") -> str:
    return f"https://{host}:{origin.port}/m.gguf"


async def test_a_private_authority_is_trusted_through_ca_bundle(
    session: net.Session, good: Certificate, data: bytes
) -> None:
    async with secured(data, good) as origin:
        assert await fetch(session, url(origin)) == data


async def refusal(session: net.Session, certificate: Certificate, host: str = "127.0.0.1") -> errors.Tls:
    async with secured(b"never seen", certificate) as origin:
        with pytest.raises(errors.Tls) as caught:
            await fetch(session, url(origin, host) + "?token=s3cr3t")
        assert origin.requests == []
    assert not caught.value.retryable
    assert "s3cr3t" not in str(caught.value)
    return caught.value


async def test_without_it_the_authority_is_unknown(good: Certificate) -> None:
    opened = net.Session(egress())
    assert "set ca_bundle" in str(await refusal(opened, good))
    await opened.close()


async def test_an_expired_certificate_is_refused_as_such(session: net.Session, authority: Authority) -> None:
    assert "has expired" in str(await refusal(session, authority.issue("expired", HERE, days=-1)))


async def test_a_certificate_signed_by_itself_is_refused_as_such(session: net.Session, authority: Authority) -> None:
    assert "signed by itself" in str(await refusal(session, authority.self_signed(HERE)))


async def test_a_certificate_for_others_is_refused_as_such(session: net.Session, authority: Authority) -> None:
    elsewhere = authority.issue("elsewhere", "DNS:elsewhere.example,IP:192.0.2.1")
    assert "does not name this address" in str(await refusal(session, elsewhere))
    assert "for another name" in str(await refusal(session, elsewhere, "localhost"))


async def test_a_self_signed_certificate_can_be_trusted_by_itself(authority: Authority, data: bytes) -> None:
    certificate = authority.self_signed(HERE)
    opened = net.Session(egress(ca_bundle=str(certificate.certificate)))
    async with secured(data, certificate) as origin:
        assert await fetch(opened, url(origin)) == data
    await opened.close()


async def test_one_server_s_certificate_is_trusted_without_its_authority(
    good: Certificate, data: bytes, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes("# Für uns: Häuser, 東京\r\n".encode() + good.certificate.read_bytes().replace(b"\n", b"\r\n"))
    opened = net.Session(egress(ca_bundle=str(bundle)))
    async with secured(data, good) as origin:
        assert await fetch(opened, url(origin)) == data
    await opened.close()


async def test_the_first_of_a_bundle_counts_whatever_mark_an_editor_put_before_it(
    good: Certificate, authority: Authority, data: bytes, tmp_path: Path
) -> None:
    bundle, other = tmp_path / "bundle.pem", authority.self_signed(HERE)
    bundle.write_bytes(b"\xef\xbb\xbf" + good.certificate.read_bytes() + other.certificate.read_bytes())
    opened = net.Session(egress(ca_bundle=str(bundle)))
    async with secured(data, good) as origin:
        assert await fetch(opened, url(origin)) == data
    await opened.close()


def test_a_pipe_and_a_directory_in_place_of_a_bundle_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(SettingsError, match=r"Cannot read .*setting ca_bundle"):
            egress(ca_bundle=str(path))


@pytest.mark.parametrize("is_reset", [True, False])
async def test_a_connection_lost_in_the_handshake_is_worth_another_try(session: net.Session, is_reset: bool) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        if is_reset:
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        with pytest.raises(errors.Handshake) as caught:
            await fetch(session, f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/m.gguf")
    assert caught.value.retryable


async def test_a_server_that_does_not_speak_tls_is_told_from_one_that_went_away(
    session: net.Session,
) -> None:
    async def speak_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(speak_http, "127.0.0.1", 0)
    async with server:
        with pytest.raises(errors.Tls, match="speak https on this port") as caught:
            await fetch(session, f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/m.gguf")
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(None, "Cannot read .*setting ca_bundle"), (b"", "no certificates"), (b"-----BEGIN junk", "no certificates")],
)
def test_a_bundle_that_is_none_is_an_error_that_names_the_setting(
    tmp_path: Path, content: bytes | None, sentence: str
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=sentence):
        egress(ca_bundle=str(path))


async def test_a_job_ends_with_the_code_and_the_sentence(tmp_path: Path, good: Certificate, data: bytes) -> None:
    async with running.daemon(tmp_path / "state") as daemon, secured(data, good) as origin:
        await daemon.download("m", url(origin))
        last = await daemon.settled("m")
    assert (last["status"], last["code"]) == ("error", "tls")
    assert "ca_bundle" in last["error"]


async def test_and_completes_with_the_bundle(
    tmp_path: Path, authority: Authority, good: Certificate, data: bytes
) -> None:
    bundle = str(authority.own.certificate)
    async with running.daemon(tmp_path / "state", ca_bundle=bundle) as daemon, secured(data, good) as origin:
        await daemon.download("m", url(origin))
        assert (await daemon.settled("m"))["bytes"] == len(data)
