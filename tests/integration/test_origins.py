"""A secret belongs to one origin. Redirects carry none of it along: the other side's requests are searched for it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from arwd import errors, net
from tests import canary, running
from tests import origin as origins
from tests.internet import egress, fetch
from tests.origin import Origin, Serve, Status

TOKEN = canary.secret("hub")
OTHER_TOKEN = canary.secret("other")
COOKIE = f"session={canary.secret('cookie')}"
KEY = canary.secret("key")
QUERY = f"X-Amz-Signature={canary.secret('signature')}"
SECRETS = (TOKEN, COOKIE, KEY, QUERY)


@pytest.fixture
async def other(data: bytes) -> AsyncIterator[Origin]:
    async with origins.running(data) as served:
        yield served


def token_file(tmp_path: Path, token: str) -> str:
    path = tmp_path / f"{token}.token"
    path.touch(0o600)
    path.write_text(token)
    return str(path)


def base(origin: Origin) -> str:
    return f"http://127.0.0.1:{origin.port}"


@pytest.fixture
async def session(tmp_path: Path, origin: Origin) -> AsyncIterator[net.Session]:
    """One that has a token for the first origin."""
    opened = net.Session(egress(credentials={base(origin): token_file(tmp_path, TOKEN)}))
    yield opened
    await opened.close()


def said(origin: Origin) -> str:
    """Everything that an origin was told."""
    lines = [f"{seen.method} {seen.target} {dict(seen.headers)}" for seen in origin.requests]
    return "\n".join(lines)


def redirect(status: int, target: str) -> Status:
    cookie = f"{COOKIE}; Path=/; Domain=127.0.0.1"
    return Status(status, {"Location": target, "Set-Cookie": cookie, "WWW-Authenticate": f'Bearer realm="{target}"'})


def asked_for(origin: Origin) -> tuple[str, dict[str, str]]:
    """A URL with a secret in its query, and headers of the caller's, one of them secret."""
    return origin.url(f"model.gguf?{QUERY}"), {"Range": "bytes=10-", "If-Range": '"v1"', "X-Api-Key": KEY}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_another_port_is_another_origin(
    status: int, session: net.Session, origin: Origin, other: Origin, data: bytes
) -> None:
    origin.script(redirect(status, other.url()))
    assert await fetch(session, *asked_for(origin)) == data[10:]
    assert not [secret for secret in SECRETS if secret in said(other)]
    # The first did have them all, and the second was asked for the same bytes.
    assert all(secret in said(origin) for secret in (TOKEN, KEY, QUERY))
    assert other.requests[0].method == "GET"
    assert (other.requests[0].headers["Range"], other.requests[0].headers["If-Range"]) == ("bytes=10-", '"v1"')
    assert {"authorization", "cookie", "referer"} & {name.lower() for name in other.requests[0].headers} == set()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_another_name_of_the_same_server_is_another_origin(
    status: int, session: net.Session, origin: Origin, data: bytes
) -> None:
    origin.script(redirect(status, f"http://localhost:{origin.port}/model.gguf"), Serve())
    assert await fetch(session, *asked_for(origin)) == data[10:]
    origin.requests.pop(0)
    assert len(origin.requests) == 1
    assert not [secret for secret in SECRETS if secret in said(origin)]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_on_the_way_back_the_first_gets_its_own_again_and_the_other_never(
    status: int, session: net.Session, origin: Origin, other: Origin, data: bytes
) -> None:
    origin.script(redirect(status, other.url()), Serve())
    other.script(redirect(status, f"{base(origin)}/again.gguf"))
    assert await fetch(session, *asked_for(origin)) == data[10:]
    assert not [secret for secret in SECRETS if secret in said(other)]
    again = origin.requests[1]
    assert again.target == "/again.gguf"
    assert (again.headers["Authorization"], again.headers["X-Api-Key"]) == (f"Bearer {TOKEN}", KEY)
    assert "Cookie" not in again.headers


async def test_each_origin_is_told_its_own_token(tmp_path: Path, origin: Origin, other: Origin) -> None:
    tokens = {base(origin): token_file(tmp_path, TOKEN), base(other): token_file(tmp_path, OTHER_TOKEN)}
    opened = net.Session(egress(credentials=tokens))
    origin.script(redirect(302, other.url()))
    await fetch(opened, origin.url())
    await opened.close()
    assert [seen.headers["Authorization"] for seen in origin.requests] == [f"Bearer {TOKEN}"]
    assert [seen.headers["Authorization"] for seen in other.requests] == [f"Bearer {OTHER_TOKEN}"]


async def test_a_server_that_asks_for_a_login_gets_none(session: net.Session, origin: Origin, other: Origin) -> None:
    challenge = Status(401, {"WWW-Authenticate": f'Bearer realm="{base(origin)}/token", Basic realm="x"'})
    other.script(challenge)
    async with session.get(other.url(), {}) as response:
        assert response.status == 401
    assert len(other.requests) == 1
    assert origin.requests == []


async def test_a_cookie_is_never_sent_back(session: net.Session, origin: Origin) -> None:
    origin.script(Status(200, {"Set-Cookie": COOKIE}), Serve())
    await fetch(session, origin.url())
    await fetch(session, origin.url())
    assert len(origin.requests) == 2
    assert COOKIE not in said(origin)


@pytest.mark.parametrize(
    "location",
    [
        f"https://u:{TOKEN}@127.0.0.1/m", f"ftp://127.0.0.1/{TOKEN}", f"http://127.0.0.1:{TOKEN}/", f"file:///{TOKEN}",
        f"http://127.1/{TOKEN}", f"http://{TOKEN}\\@h/", f"//{TOKEN}:x", "",
    ],
)  # fmt: skip
async def test_a_redirect_that_is_refused_repeats_nothing_of_what_the_server_says(
    location: str, session: net.Session, origin: Origin
) -> None:
    origin.script(Status(302, {"Location": location}))
    with pytest.raises(errors.BadRedirect) as caught:
        await fetch(session, origin.url(f"model.gguf?{QUERY}"))
    assert not [secret for secret in SECRETS if secret in str(caught.value)]
    assert len(origin.requests) == 1


async def test_two_locations_or_none_are_refused(session: net.Session, origin: Origin) -> None:
    origin.script(Status(302))
    with pytest.raises(errors.BadRedirect):
        await fetch(session, origin.url())
    origin.script(Status(302, {"Location": "/a", "location": "/b"}))
    with pytest.raises(errors.BadRedirect):
        await fetch(session, origin.url())


async def test_a_daemon_sends_the_token_and_shows_it_nowhere(tmp_path: Path, origin: Origin) -> None:
    credentials = {base(origin): token_file(tmp_path, TOKEN)}
    async with running.daemon(
        tmp_path / "state", credentials=credentials, proxy=f"http://u:{canary.secret('p')}@127.0.0.1:1", retry_for=0
    ) as daemon:
        settings = (await daemon.call("GET", "/probe"))[1]["settings"]
        assert settings["credentials"] == {base(origin): "•••"}
        assert settings["proxy"] == "http://127.0.0.1:1"
        await daemon.download("m", origin.url())
        assert (await daemon.settled("m"))["code"] == "connect"  # the proxy is not there
    async with running.daemon(tmp_path / "state", credentials=credentials) as daemon, daemon.events() as stream:
        await daemon.download("m", origin.url())
        await stream.status("complete")
    assert {seen.headers["Authorization"] for seen in origin.requests} == {f"Bearer {TOKEN}"}
