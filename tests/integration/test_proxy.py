"""Through a proxy: it looks names up and sees no more than it must; literal addresses are judged all the same."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from arwd import errors, net
from tests import processes
from tests import proxy as proxies
from tests.certificates import Authority, secured
from tests.internet import Internet, fetch
from tests.origin import Origin, Serve, Status
from tests.proxy import Proxy

BASIC = "Basic bWU6czNjcjN0"  # me:s3cr3t


@pytest.fixture
async def proxy(origin: Origin) -> AsyncIterator[Proxy]:
    async with proxies.running(origin.port) as running:
        yield running


@contextlib.asynccontextmanager
async def through(
    url: str,
    world: Internet | None = None,
    *,
    environ: dict[str, str] | None = None,
    own: str = "127.0.0.1",
    **options: object,
) -> AsyncIterator[net.Session]:
    """A session behind this proxy."""
    way_out = net.Egress(net.Options(proxy=url, **options), environ or {})  # type: ignore[arg-type]
    way_out.policy.listen_on([(own, 8090)])
    opened = net.Session(way_out, resolver=world)
    try:
        yield opened
    finally:
        await opened.close()


async def test_a_proxy_looks_the_names_up(proxy: Proxy, origin: Origin, data: bytes) -> None:
    world = Internet()
    async with through(proxy.url(), world) as session:
        assert await fetch(session, "http://models.example/m.gguf?token=x") == data
    assert world.looked_up == []
    assert proxy.heads[0].startswith("GET http://models.example/m.gguf?token=x HTTP/1.1\r\n")
    assert origin.requests[0].headers["Host"] == "models.example"


async def test_without_the_setting_the_environment_is_not_asked(
    origin: Origin, proxy: Proxy, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url())
    async with through("") as session:
        assert await fetch(session, origin.url()) == data
    assert proxy.heads == []


async def test_environment_means_the_variables_that_others_read(proxy: Proxy, origin: Origin, data: bytes) -> None:
    environ = {"HTTP_PROXY": proxy.url("me:s3cr3t@"), "NO_PROXY": "127.0.0.1"}
    proxy.wants = BASIC
    async with through("environment", environ=environ) as session:
        assert await fetch(session, "http://models.example/m.gguf") == data
        assert await fetch(session, origin.url()) == data
    assert len(proxy.heads) == 1


async def test_the_proxy_s_password_is_for_the_proxy(proxy: Proxy, origin: Origin, data: bytes) -> None:
    proxy.wants = BASIC
    async with through(proxy.url("me:s3cr3t@")) as session:
        for _ in range(2):  # also over a connection that is there already
            assert await fetch(session, "http://models.example/m.gguf") == data
    assert not [seen for seen in origin.requests if BASIC in str(seen.headers)]


@pytest.mark.needs("openssl")
async def test_https_goes_through_a_tunnel_that_the_proxy_cannot_read(tmp_path: Path, data: bytes) -> None:
    authority = Authority(tmp_path)
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text("t0ken")
    certificate = authority.issue("models", "DNS:models.example")
    async with secured(data, certificate) as origin, proxies.running(origin.port) as proxy:
        proxy.wants = BASIC
        async with through(
            proxy.url("me:s3cr3t@"),
            ca_bundle=str(authority.own.certificate),
            credentials={"https://models.example": str(token)},
        ) as session:
            assert await fetch(session, "https://models.example/m.gguf?sig=x") == data
            proxy.wants = "nothing"
            with pytest.raises(errors.ProxyRefused, match="see the setting proxy"):
                await fetch(session, "https://other.example/m.gguf")
    assert proxy.heads[0].startswith("CONNECT models.example:443 HTTP/1.1\r\n")
    assert "t0ken" not in "".join(proxy.heads)
    assert origin.requests[0].headers["Authorization"] == "Bearer t0ken"
    assert "Proxy-Authorization" not in origin.requests[0].headers


async def test_a_token_for_http_on_this_machine_is_not_told_to_a_proxy(
    tmp_path: Path, proxy: Proxy, data: bytes
) -> None:
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text("t0ken")
    async with through(proxy.url(), credentials={"http://localhost": str(token)}) as session:
        assert await fetch(session, "http://localhost/m.gguf") == data
    assert "t0ken" not in "".join(proxy.heads)


@pytest.mark.parametrize(
    ("status", "kind", "is_retried"),
    [(407, errors.ProxyRefused, False), (403, errors.ProxyRefused, False), (502, errors.Connect, True)],
)
async def test_a_proxy_that_refuses_a_tunnel_is_told_from_the_server(
    status: int, kind: type[errors.Connect], is_retried: bool, proxy: Proxy
) -> None:
    proxy.status = status
    async with through(proxy.url()) as session:
        with pytest.raises(errors.Connect, match="proxy") as caught:
            await fetch(session, "https://models.example/m.gguf?token=s3cr3t")
    assert (type(caught.value), caught.value.retryable, caught.value.code) == (kind, is_retried, "connect")
    assert "s3cr3t" not in str(caught.value)


async def test_a_407_to_a_plain_request_is_the_proxy_s_too(proxy: Proxy) -> None:
    proxy.status = 407
    async with through(proxy.url()) as session:
        with pytest.raises(errors.ProxyRefused, match="see the setting proxy") as caught:
            await fetch(session, "http://models.example/m.gguf")
    assert "s3cr3t" not in str(caught.value)


async def test_a_407_of_a_server_itself_is_not(origin: Origin) -> None:
    origin.script(Status(407))
    async with through("") as session, session.get(origin.url(), {}) as response:
        assert response.status == 407


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_is_not_there_may_come_back(scheme: str) -> None:
    async with through(f"http://127.0.0.1:{processes.free_port()}") as session:
        with pytest.raises(errors.Connect, match="no connection to the proxy") as caught:
            await fetch(session, f"{scheme}://models.example/m.gguf")
    assert caught.value.retryable


async def test_a_proxy_s_name_that_nobody_knows_is_no_fault_of_the_model_s() -> None:
    async with through("http://proxy.example:1", Internet()) as session:
        with pytest.raises(errors.Connect, match="proxy's name"):
            await fetch(session, "http://models.example/m.gguf")


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "[::ffff:169.254.169.254]", "[fe80::1]", "0.0.0.0", "127.0.0.1:8090"]
)
async def test_a_literal_address_that_is_denied_is_not_asked_of_a_proxy_either(host: str, proxy: Proxy) -> None:
    async with through(proxy.url()) as session:
        for scheme in ("http", "https"):
            with pytest.raises(errors.BlockedAddress):
                await fetch(session, f"{scheme}://{host}/m.gguf")
    assert proxy.heads == []


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "localhost", "a.localhost", "[::1]"])
async def test_nor_a_private_one_while_arwd_is_exposed(host: str, proxy: Proxy) -> None:
    async with through(proxy.url(), own="192.0.2.7") as session:
        with pytest.raises(errors.BlockedAddress):
            await fetch(session, f"http://{host}/m.gguf")
    assert proxy.heads == []


async def test_who_is_reached_through_a_proxy_cannot_send_us_inside(proxy: Proxy, origin: Origin) -> None:
    inside = [f"http://127.0.0.1:{origin.port}/m.gguf", "http://10.0.0.1/m.gguf"]
    for location in inside:
        origin.script(Status(302, {"Location": location}), Serve())
        async with through("environment", environ={"HTTP_PROXY": proxy.url(), "NO_PROXY": "127.0.0.1"}) as session:
            with pytest.raises(errors.BlockedAddress, match="public or behind the proxy, sent us on"):
                await fetch(session, "http://models.example/m.gguf")
    assert len(proxy.heads) == len(inside)
    assert len(origin.requests) == len(inside)
