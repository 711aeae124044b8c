"""The page at `/` in a real browser, as someone uses it who knows nothing of the API."""

import contextlib
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright, expect

from tests import canary, hub, processes, running
from tests.hub import Repo
from tests.models import SEVERAL
from tests.origin import Origin, Serve, Stall, Status
from tests.running import Running

pytestmark = pytest.mark.needs("chromium")

CHROMIUM = "/usr/bin/chromium"
# Nothing but the page: no sandbox (tests may run as root), no GPU, and no word to anyone outside.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
TOKEN = canary.secret("page")


class Watched:
    """What a page complained of."""

    def __init__(self, page: Page) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def _note(self, message: ConsoleMessage) -> None:
        # The browser itself reports breaches of the content security policy here, as errors.
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield launched
        await launched.close()


@pytest.fixture
async def page(browser: Browser) -> Page:
    page = await browser.new_page()
    page.set_default_timeout(10_000)
    return page


@pytest.fixture
def watched(page: Page) -> Watched:
    return Watched(page)


async def opened(page: Page, url: str) -> None:
    await page.goto(url)
    await expect(page.get_by_role("status")).to_have_text("live")


async def add(page: Page, url: str, **fields: str) -> None:
    """Fill in the form as a person would."""
    if fields:
        await page.get_by_text("Name and digest").click()
    for label, value in fields.items():
        await page.get_by_label({"model_id": "Id", "sha256": "SHA-256"}[label]).fill(value)
    await page.get_by_label("Download a model").fill(url)
    await page.get_by_role("button", name="Add").click()


async def test_the_page_follows_a_download_to_its_digest(
    daemon: Running, origin: Origin, data: bytes, page: Page, watched: Watched
) -> None:
    origin.script(Stall(600_000), Serve())
    await opened(page, daemon.url)
    await expect(page.get_by_text("Nothing yet.")).to_be_visible()
    await add(page, origin.url("tiny%20model.gguf") + "#part")
    job = page.get_by_role("listitem").filter(has_text="tiny model")
    await expect(job).to_contain_text("downloading")
    await expect(job).to_contain_text("600 kB of 1.0 MB")
    share = float(await job.get_by_role("progressbar").get_attribute("value") or 0)
    assert share == pytest.approx(100 * 600_000 / len(data))
    await expect(page.get_by_text("Nothing yet.")).to_be_hidden()
    await daemon.call("POST", "/models/download/pause", {"id": "tiny model.gguf"})
    await expect(job).to_contain_text("paused")
    await daemon.call("POST", "/models/download/resume", {"id": "tiny model.gguf"})
    await expect(job).to_contain_text("complete")
    await expect(job).to_contain_text(hashlib.sha256(data).hexdigest())
    await expect(job.get_by_role("progressbar")).to_be_hidden()
    await expect(job.get_by_role("button", name="Cancel")).to_be_hidden()
    assert (daemon.models / "tiny model.gguf").read_bytes() == data
    assert watched.complaints == []
    assert {url[: len(daemon.url)] for url in watched.requests} == {daemon.url}


async def test_a_reload_shows_what_was_there(daemon: Running, origin: Origin, page: Page, watched: Watched) -> None:
    await opened(page, daemon.url)
    await add(page, origin.url("m.gguf"), model_id="publisher/name")
    await expect(page.get_by_role("listitem")).to_contain_text("complete")
    before = await page.get_by_role("listitem").inner_text()
    await page.reload()
    await expect(page.get_by_role("listitem")).to_contain_text("complete")
    assert await page.get_by_role("listitem").inner_text() == before
    assert watched.complaints == []


async def test_the_cancel_button_asks_and_the_part_is_gone(daemon: Running, origin: Origin, page: Page) -> None:
    origin.script(Stall(300_000))
    asked: list[str] = []
    await opened(page, daemon.url)
    await add(page, origin.url("m.gguf"))
    job = page.get_by_role("listitem")
    await expect(job).to_contain_text("300 kB of 1.0 MB")

    async def refuse(dialog) -> None:
        asked.append(dialog.message)
        await dialog.dismiss()

    page.once("dialog", refuse)
    await job.get_by_role("button", name="Cancel").click()
    assert "Cancel m.gguf?" in asked[0]
    assert (await daemon.job("m.gguf"))["status"] == "downloading"
    page.once("dialog", lambda dialog: dialog.accept())
    await job.get_by_role("button", name="Cancel").click()
    await expect(job).to_contain_text("canceled")
    await expect(job.get_by_role("button", name="Cancel")).to_be_hidden()
    assert daemon.files() == []


async def test_who_waits_says_for_what(
    daemon: Running, origin: Origin, data: bytes, page: Page, watched: Watched
) -> None:
    digest = hashlib.sha256(data).hexdigest()
    origin.script(Stall(300_000), Serve())
    await opened(page, daemon.url)
    await add(page, origin.url("a.bin"), model_id="a", sha256=digest)
    await expect(page.get_by_role("listitem")).to_contain_text("300 kB")
    await daemon.download("b", origin.url("b.bin"), sha256=digest)
    second = page.get_by_role("listitem").filter(has_text="another job fetches the same bytes")
    await expect(second).to_have_count(1)
    origin.go_on.set()
    await expect(page.get_by_role("listitem").filter(has_text="complete")).to_have_count(2)
    await expect(second).to_have_count(0)
    assert watched.complaints == []


async def test_a_full_disk_is_said_and_goes_by_itself(tmp_path: Path, origin: Origin, page: Page) -> None:
    async with running.daemon(tmp_path, reserve=1 << 60) as daemon:
        await opened(page, daemon.url)
        await add(page, origin.url("m.gguf"))
        job = page.get_by_role("listitem")
        await expect(job).to_contain_text("waits for room on the disk")
        await page.reload()
        await expect(job).to_contain_text("waits for room on the disk")


async def test_a_failure_is_shown_in_the_daemons_words(
    daemon: Running, origin: Origin, page: Page, watched: Watched
) -> None:
    await opened(page, daemon.url)
    await add(page, origin.url("m.gguf"), sha256="00" * 32)
    await expect(page.get_by_role("listitem")).to_contain_text("checksum mismatch")
    origin.script(Status(404))
    await add(page, origin.url("gone.gguf"))
    await expect(page.get_by_role("listitem").filter(has_text="gone")).to_contain_text("404")
    assert watched.complaints == []


async def test_long_names_fit_a_narrow_screen(daemon: Running, origin: Origin, page: Page) -> None:
    await page.set_viewport_size({"width": 380, "height": 700})
    await opened(page, daemon.url)
    await daemon.download("publisher/" + "a-name-without-a-place-to-break-it_" * 6, origin.url("m" * 100 + ".gguf"))
    await expect(page.get_by_role("listitem")).to_contain_text("sha256")
    assert await page.evaluate("() => document.documentElement.scrollWidth") <= 380


async def test_a_refusal_of_the_form_is_shown_and_what_was_typed_stays(
    daemon: Running, origin: Origin, page: Page
) -> None:
    await opened(page, daemon.url)
    await add(page, "ftp://127.0.0.1/m.gguf")
    await expect(page.get_by_role("alert")).to_contain_text("invalid url scheme")
    await expect(page.get_by_label("Download a model")).to_have_value("ftp://127.0.0.1/m.gguf")
    await add(page, origin.url("m.gguf"))
    await expect(page.get_by_role("listitem")).to_contain_text("complete")
    await expect(page.get_by_role("alert")).to_be_hidden()


async def test_an_address_with_a_stray_per_cent_is_no_obstacle(
    daemon: Running, origin: Origin, page: Page, watched: Watched
) -> None:
    await opened(page, daemon.url)
    await add(page, origin.url("100%.gguf"))
    await expect(page.get_by_role("listitem")).to_contain_text("complete")
    assert watched.complaints == []


async def test_markup_in_a_name_is_shown_as_text(daemon: Running, origin: Origin, page: Page, watched: Watched) -> None:
    name = "<img src=x onerror=alert(1)>"
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    await opened(page, daemon.url)
    await daemon.download(name, origin.url("m.gguf"), filename="<b>m.gguf")
    await expect(page.get_by_text(name, exact=True)).to_be_visible()
    await expect(page.get_by_role("listitem")).to_contain_text("complete")
    await page.reload()
    await expect(page.get_by_text(name, exact=True)).to_be_visible()
    assert await page.locator("img").count() == 0
    assert dialogs == []
    assert watched.complaints == []


async def test_the_page_finds_its_daemon_again_after_a_restart(
    tmp_path: Path, origin: Origin, data: bytes, page: Page
) -> None:
    origin.script(Stall(300_000), Serve())
    async with processes.child(tmp_path / "state") as daemon:
        await opened(page, daemon.url)
        await add(page, origin.url("m.gguf"))
        first = page.get_by_role("listitem").filter(has=page.get_by_text("m.gguf", exact=True))
        await expect(first).to_contain_text("300 kB")
        assert await daemon.stop() == 0
        await expect(page.get_by_role("status")).to_contain_text("connection lost")
    async with processes.child(tmp_path / "state", "--port", str(daemon.port)) as daemon:
        await expect(page.get_by_role("status")).to_have_text("live", timeout=15_000)
        await expect(first).to_contain_text(hashlib.sha256(data).hexdigest())
        await add(page, origin.url("another.gguf"))
        await expect(page.get_by_role("listitem").filter(has_text="another")).to_contain_text("complete")
        await expect(page.get_by_role("listitem")).to_have_count(2)


async def test_the_page_lets_in_whoever_has_the_token(tmp_path: Path, origin: Origin, page: Page) -> None:
    async with running.daemon(tmp_path / "state", TOKEN) as daemon:
        daemon.session.headers["Authorization"] = f"Bearer {TOKEN}"
        await daemon.download("m", origin.url("m.gguf"))
        await daemon.settled("m")
        await page.goto(daemon.url)
        field, button = page.get_by_label("token"), page.get_by_role("button", name="Log in")
        await expect(field).to_be_focused()
        await expect(page.get_by_role("status")).to_have_text("locked")
        await expect(page.get_by_label("Download a model")).to_be_hidden()
        await expect(page.get_by_role("listitem")).to_have_count(0)
        await field.fill("a wrong one")
        await button.click()
        await expect(page.get_by_role("alert")).to_have_text("The token is wrong.")
        await field.fill(TOKEN)
        await button.click()
        await expect(page.get_by_role("status")).to_have_text("live")
        await expect(page.get_by_role("listitem")).to_contain_text("complete")
        await expect(field).to_be_hidden()
        await expect(page.get_by_role("alert")).to_be_hidden()
        await add(page, origin.url("another.gguf"))
        await expect(page.get_by_role("listitem").filter(has_text="another")).to_contain_text("complete")
        # The session outlives a reload; the token itself is nowhere in the browser.
        await page.reload()
        await expect(page.get_by_role("listitem")).to_have_count(2)
        assert TOKEN not in json.dumps(await page.context.storage_state())


LISTENING = """([query, kind]) => new Promise((opened) => {
  window.heard = new Promise((heard) => {
    const source = new EventSource(`/events?${query}`);
    source.addEventListener("open", opened);
    const take = (event) => {
      const payload = JSON.parse(event.data);
      if (payload.status === "complete") { source.close(); heard([event.type, event.lastEventId, payload]); }
    };
    if (kind) source.addEventListener(kind, take); else source.onmessage = take;
  });
})"""


@pytest.mark.parametrize(
    ("query", "kind"),
    [("prefix=Models.DownloadProgress", "Models.DownloadProgress"), ("named=false&id=m", "")],
    ids=["named", "onmessage"],
)
async def test_a_plain_event_source_hears_it(
    daemon: Running, origin: Origin, page: Page, watched: Watched, query: str, kind: str
) -> None:
    await opened(page, daemon.url)
    await page.evaluate(LISTENING, [query, kind])
    receipt = await daemon.download("m", origin.url("m.gguf"))
    heard, event_id, payload = await page.evaluate("() => window.heard")
    assert heard == (kind or "message")
    assert int(event_id) > 0
    assert (payload["job_id"], payload["status"]) == (receipt["job_id"], "complete")
    assert watched.complaints == []


async def test_an_event_source_that_waits_for_the_end_is_not_reopened(
    daemon: Running, origin: Origin, page: Page
) -> None:
    await opened(page, daemon.url)
    await daemon.download("m", origin.url("m.gguf"))
    await daemon.settled("m")
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "until=done" in request.url else None)
    async with contextlib.AsyncExitStack() as stack:
        # The reconnect is answered 204, which tells a browser to stop.
        answer = await stack.enter_async_context(
            page.expect_response(lambda response: "until=done" in response.url and response.status == 204)
        )
        await page.evaluate("""() => { window.source = new EventSource("/events?id=m&until=done"); }""")
    assert (await answer.value).status == 204
    assert await page.evaluate("() => window.source.readyState") == 2
    assert len(asked) == 2


async def test_a_model_of_several_files_says_how_many_are_here(tmp_path: Path, page: Page, watched: Watched) -> None:
    async with (
        hub.running({"org/m": Repo(SEVERAL)}) as served,
        running.daemon(tmp_path / "state", hf_endpoint=served.url) as daemon,
    ):
        served.storage.go_on.clear()  # the large files do not come
        await opened(page, daemon.url)
        await add(page, "hf://org/m")
        job = page.get_by_role("listitem").filter(has_text="org/m")
        await expect(job).to_contain_text(f"3 of {len(SEVERAL)} files")
        served.storage.go_on.set()
        await expect(job).to_contain_text("complete")
        await expect(job).to_contain_text(f"org--m\n{len(SEVERAL)} files")
        await page.reload()
        await expect(job).to_contain_text(f"org--m\n{len(SEVERAL)} files")
        assert watched.complaints == []
