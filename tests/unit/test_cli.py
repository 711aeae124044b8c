"""What the command line says: sizes, sentences, lines, and how it is called."""

import argparse
import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arwd import __version__, cli, client


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, ""), (0, "0 B"), (1, "1 B"), (999, "999 B"), (1_000, "1.0 kB"), (1_049, "1.0 kB"), (1_050, "1.1 kB"),
        (99_400, "99.4 kB"), (99_500, "100 kB"), (100_000, "100 kB"), (999_499, "999 kB"), (999_500, "1.0 MB"),
        (4_700_000_000, "4.7 GB"), (1_500_000_000_000, "1.5 TB"), (12_345_000_000_000_000, "12345 TB"),
    ],
)  # fmt: skip
def test_a_size_has_two_digits_or_three(count: int | None, text: str) -> None:
    assert cli._size(count) == text


@given(st.integers(0, 10**15 - 1))
def test_a_size_is_never_wide_and_never_far_off(count: int) -> None:
    text = cli._size(count)
    number, unit = text.split()
    scale = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}[unit]
    assert len(number) <= 4
    assert abs(float(number) * scale - count) <= max(count * 0.055, 0.5)


@pytest.mark.parametrize(
    ("job", "text"),
    [
        ({"downloaded": 5, "total": 10}, "5 B of 10 B"),
        ({"downloaded": 5}, "5 B"),
        ({"downloaded": 0, "total": 0}, "0 B of 0 B"),
        ({}, ""),
    ],
)
def test_an_amount_is_what_is_there_of_all(job: dict[str, int], text: str) -> None:
    assert cli._amount(job) == text


TICK = {
    "id": "m",
    "status": "downloading",
    "progress": 5,
    "downloaded": 5,
    "total": 100,
    "bytes_per_second": 10,
    "eta_seconds": 9,
}


@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        (TICK, "m    5 %  5 B of 100 B, 10 B/s, 9 s left"),
        ({"id": "m", "status": "downloading", "downloaded": 5, "bytes_per_second": 0}, "m    5 B, 0 B/s"),
        ({"id": "m", "status": "queued", "position": 1}, "m  queued"),
        ({"id": "m", "status": "complete", "file": "m.gguf", "sha256": "ab"}, "m  complete  m.gguf  ab"),
        ({"id": "m", "status": "error", "code": "dns", "error": "no such host"}, "m  error  no such host"),
        ({"id": "m", "op": "delete"}, "m  delete"),
        ({"version": "1"}, ""),
    ],
)
def test_an_event_is_told_in_a_line(payload: dict[str, object], sentence: str) -> None:
    assert cli._sentence(payload) == sentence


class Screen(io.StringIO):
    """Standard output, a terminal or not."""

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


def told(monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool, as_json: bool) -> str:
    screen = Screen(is_terminal=is_terminal)
    monkeypatch.setattr("sys.stdout", screen)
    line = cli._Line(as_json=as_json)
    for payload in ({"id": "m", "status": "started"}, TICK, TICK, {"id": "ü", "status": "complete"}):
        line.tell(payload)
    return screen.getvalue()


def test_on_a_terminal_a_download_is_one_line_that_is_rewritten(monkeypatch: pytest.MonkeyPatch) -> None:
    text = told(monkeypatch, is_terminal=True, as_json=False)
    assert text.count("\r\033[K") == 4
    assert text.endswith("\r\033[Kü  complete\n")
    assert text.count("\n") == 2


def test_in_a_pipe_only_changes_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, is_terminal=False, as_json=False) == "m  started\nü  complete\n"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_in_json_everything_is_told_and_nothing_else(monkeypatch: pytest.MonkeyPatch, is_terminal: bool) -> None:
    lines = told(monkeypatch, is_terminal=is_terminal, as_json=True).splitlines()
    assert [json.loads(line).get("status") for line in lines] == ["started", "downloading", "downloading", "complete"]


@pytest.mark.parametrize(("as_json", "text"), [(True, '{"id": "ü"}\n'), (False, "a sentence\n")])
def test_an_answer_is_shown_in_json_or_for_people(capsys: pytest.CaptureFixture[str], as_json: bool, text: str) -> None:
    cli._show(argparse.Namespace(json=as_json), {"id": "ü"}, "a sentence")
    assert capsys.readouterr().out == text


def test_a_complaint_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli._complain(client.Refused("no"), cli.FAILED) == 1
    assert capsys.readouterr() == ("", "arwd: no\n")


class Daemon:
    """Answers what a test says."""

    def __init__(self, answer: object, events: tuple[tuple[str, dict[str, object]], ...] = ()) -> None:
        self.answer, self.events = answer, events
        self.calls: list[tuple[object, ...]] = []

    def call(self, method: str, path: str, body: object = None) -> object:
        self.calls.append((method, path, body))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def follow(self, **query: str) -> object:
        self.calls.append(("follow", query))
        return iter(self.events)


def run(monkeypatch: pytest.MonkeyPatch, daemon: Daemon, *arguments: str) -> int:
    monkeypatch.setattr(cli, "Client", lambda url, token: daemon)
    return cli.main(arguments)


PROGRESS = "Models.DownloadProgress"
RECEIPT = {"ok": True, "data": {"id": "m", "job_id": "job_1", "status": "queued"}}


@pytest.mark.parametrize(("last", "status"), [("complete", 0), ("error", 1), ("canceled", 1)])
def test_get_waits_for_its_job_and_says_by_its_status_how_it_ended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], last: str, status: int
) -> None:
    daemon = Daemon(RECEIPT, ((PROGRESS, {"id": "m", "status": "started"}), (PROGRESS, {"id": "m", "status": last})))
    assert run(monkeypatch, daemon, "get", "https://h/m.gguf", "--sha256", "ab") == status
    assert daemon.calls[0] == ("POST", "/models/download", {"ref": "https://h/m.gguf", "sha256": "ab"})
    assert daemon.calls[1] == ("follow", {"job_id": "job_1", "until": "done"})
    assert capsys.readouterr().out == f"m  started\nm  {last}\n"


def test_get_that_hears_no_end_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, Daemon(RECEIPT), "get", "https://h/m.gguf") == 1


def test_get_without_waiting_returns_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon = Daemon(RECEIPT)
    assert run(monkeypatch, daemon, "get", "hf://o/r", "--no-wait", "--id", "x", "--quantization", "q8_0") == 0
    assert daemon.calls == [("POST", "/models/download", {"ref": "hf://o/r", "id": "x", "quantization": "q8_0"})]
    assert capsys.readouterr().out == "m  queued  job_1\n"


def test_what_is_given_empty_is_told_to_the_daemon_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = Daemon(RECEIPT)
    assert run(monkeypatch, daemon, "get", "", "--no-wait", "--id", "", "--sha256", "", "--quantization", "") == 0
    assert daemon.calls == [("POST", "/models/download", {"ref": "", "id": "", "sha256": "", "quantization": ""})]


@pytest.mark.parametrize(
    ("error", "status"), [(client.NotReachable("nobody"), 3), (client.Refused("no"), 1), (KeyboardInterrupt(), 1)]
)
def test_what_goes_wrong_is_told_by_the_exit_status(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int
) -> None:
    daemon = Daemon(None)

    def call(*_: object) -> object:
        raise error

    daemon.call = call  # type: ignore[method-assign]
    assert run(monkeypatch, daemon, "ls") == status


@pytest.mark.parametrize(
    ("command", "path"),
    [("pause", "/models/download/pause"), ("resume", "/models/download/resume"), ("rm", "/models/delete")],
)
@pytest.mark.parametrize(("answer", "status"), [("queued", 0), ("no-active-job", 1)])
def test_a_command_is_one_call(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    path: str,
    answer: str,
    status: int,
) -> None:
    daemon = Daemon({"data": {"id": "m", "status": answer}})
    assert run(monkeypatch, daemon, command, "m") == status
    assert daemon.calls == [("POST", path, {"id": "m"})]
    assert capsys.readouterr().out == f"m  {answer}\n"


@pytest.mark.parametrize(("last", "status"), [("canceled", 0), ("complete", 1)])
def test_cancel_returns_when_it_is_true(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], last: str, status: int
) -> None:
    receipt = {"data": {"id": "m", "job_id": "job_1", "status": "cancel-requested"}}
    assert run(monkeypatch, Daemon(receipt, ((PROGRESS, {"status": last}),)), "cancel", "m") == status
    assert capsys.readouterr().out == f"m  {last}\n"


def test_lists_are_rows_for_people(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    model = {"id": "m", "provider": "local", "status": "available", "bytes": 1_500, "path": "/models/m.gguf"}
    assert run(monkeypatch, Daemon([model, {"id": "n", "status": "downloading"}]), "ls") == 0
    first, second = capsys.readouterr().out.splitlines()
    assert re.split(r"\s{2,}", first) == ["available", "1.5 kB", "m", "/models/m.gguf"]
    assert re.split(r"\s{2,}", second) == ["downloading", "n"]
    job = {"id": "m", "status": "error", "downloaded": 5, "total": 10, "error": "no such host"}
    assert run(monkeypatch, Daemon({"jobs": [job]}), "jobs") == 0
    assert re.split(r"\s{2,}", capsys.readouterr().out.strip()) == ["error", "5 B of 10 B", "m", "no such host"]


@pytest.mark.parametrize(
    ("command", "answer", "text"), [("ls", [], "No models.\n"), ("jobs", {"jobs": []}, "No jobs.\n")]
)
def test_an_empty_list_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, answer: object, text: str
) -> None:
    assert run(monkeypatch, Daemon(answer), command) == 0
    assert capsys.readouterr().out == text


@pytest.mark.parametrize("arguments", [[], ["fetch"], ["get"], ["serve", "--port", "x"], ["rm"], ["ls", "--loud"]])
def test_a_wrong_call_is_a_usage_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == cli.USAGE
    assert "usage: arwd" in capsys.readouterr().err


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"arwd {__version__}\n"


@pytest.mark.parametrize(
    ("environ", "url"), [({}, "http://127.0.0.1:8090"), ({"ARWD_URL": "http://h:1"}, "http://h:1")]
)
def test_the_daemon_is_where_the_flag_or_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], url: str
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert cli._parser().parse_args(["ls"]).url == url
    assert cli._parser().parse_args(["ls", "--url", "http://flag"]).url == "http://flag"
