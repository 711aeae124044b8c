"""One line a record, whatever it says; no secret in it, in either form."""

import json
import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arwd import logs, net
from arwd.logs import Formatter

SECRET = "tok-4711-abcdef"
CONTROLS = st.text(st.sampled_from("\n\r\t\0\x1b\x7f\x85\u2028\u2029ab\"\\?#@ '<>"), max_size=20)
URLS = st.builds(
    "see {}https://u:p@h.example/m{}{} now".format, CONTROLS, st.sampled_from(["?q=", "#", "/'?t="]), CONTROLS
)


def formatter(form: logs.Format, *secrets: str, is_journal: bool = False) -> Formatter:
    return Formatter(form, net.redact, frozenset(secrets), is_journal=is_journal)


def record(message: str, *arguments: object, level: int = logging.INFO, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("arwd.test", level, __file__, 1, message, arguments, None)
    made.__dict__.update(extra)
    made.created = 0.0
    return made


@given(st.text(max_size=30) | CONTROLS | URLS, st.sampled_from(["text", "json"]), st.booleans())
def test_a_record_is_one_line_without_control_characters(message: str, form: logs.Format, is_journal: bool) -> None:
    line = formatter(form, is_journal=is_journal).format(record("%s", message, job=message))
    assert len(line.splitlines()) == 1
    assert not any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in line)


@given(st.text(max_size=30) | CONTROLS | URLS)
def test_the_json_form_is_json(message: str) -> None:
    fields = json.loads(formatter("json").format(record("%s", message)))
    assert (fields["level"], fields["logger"]) == ("info", "arwd.test")


def test_a_quoted_url_does_not_break_the_json_form() -> None:
    line = formatter("json").format(record('fetching "https://h.example/m?token=x" again'))
    assert json.loads(line)["message"] == 'fetching "https://h.example/m" again'


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("secret", [SECRET, 'quo"ted-token', "back\\slash-token", "tökén-ümläut"])
def test_no_registered_secret_reaches_a_line(form: logs.Format, secret: str) -> None:
    line = formatter(form, secret).format(record("token %s, twice %s", secret, secret, header=f"Bearer {secret}"))
    assert secret not in line
    assert json.dumps(secret)[1:-1] not in line
    assert json.dumps(secret, ensure_ascii=False)[1:-1] not in line
    assert line.count("•••") == 3


def test_a_secret_within_another_does_not_leave_the_rest_of_it() -> None:
    line = formatter("text", "abcdef", "abcdefghij").format(record("abcdefghij"))
    assert line.endswith(" •••")


def test_a_short_secret_would_mask_ordinary_words_and_is_left() -> None:
    assert "the" in formatter("text", "the").format(record("the end"))


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_query_of_a_url_and_its_userinfo_reach_no_line(form: logs.Format) -> None:
    line = formatter(form).format(record("GET https://u:pw@h/m?sig=xyz", url="https://h/n?sig=xyz"))
    assert "https://h/m" in line
    assert not any(part in line for part in ("pw", "sig", "xyz"))


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_is_folded_into_the_line_and_redacted(form: logs.Format) -> None:
    made = record("it broke", level=logging.ERROR)
    try:
        raise ValueError(f"with {SECRET}\nand https://h/m?sig=xyz")
    except ValueError:
        made.exc_info = sys.exc_info()
    line = formatter(form, SECRET).format(made)
    assert "\n" not in line
    assert "Traceback" in line
    assert "ValueError: with •••" in line
    assert not any(part in line for part in (SECRET, "xyz"))


def test_the_text_form_is_time_level_message_and_what_belongs_to_it() -> None:
    line = formatter("text").format(record("job %s failed", "m", level=logging.WARNING, event="job_failed", code="tls"))
    assert line == "1970-01-01T00:00:00.000+00:00 warning job m failed code=tls"


def test_the_json_form_has_the_extra_fields_by_name() -> None:
    line = formatter("json").format(record("x", event="job_failed", count=3, odd={1, 2}.__class__))
    assert json.loads(line) == {
        "time": "1970-01-01T00:00:00.000+00:00",
        "level": "info",
        "logger": "arwd.test",
        "message": "x",
        "event": "job_failed",
        "count": 3,
        "odd": "<class 'set'>",
    }


@pytest.mark.parametrize(
    ("level", "head"),
    [(logging.DEBUG, "<7>"), (logging.INFO, "<6>"), (logging.WARNING, "<4>"), (logging.ERROR, "<3>"), (50, "<2>")],
)
def test_the_journal_is_told_the_rank_and_stamps_the_time_itself(level: int, head: str) -> None:
    assert formatter("text", is_journal=True).format(record("x", level=level)) == f"{head}x"


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_file_name_that_is_not_utf_8_can_be_logged(form: logs.Format) -> None:
    line = formatter(form).format(record("cannot read %s", "m\udcff.gguf", path="m\udcff.gguf"))
    assert "cannot read m" in line


def test_configure_sends_everything_through_one_handler(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    root = logging.getLogger()
    names = ("uvicorn", "asyncio", "sse_starlette")
    before = (root.handlers[:], root.level, [logging.getLogger(name).level for name in names])
    try:
        logs.configure(logs.Options(log_level="debug"), net.redact, frozenset({SECRET}))
        logging.getLogger("arwd.anything").debug("hello %s", SECRET)
        logging.getLogger("uvicorn.access").info("GET /?token=x")
    finally:
        root.handlers[:], level, levels = before
        root.setLevel(level)
        for name, old in zip(names, levels, strict=True):
            logging.getLogger(name).setLevel(old)
    written = capsys.readouterr().err
    assert written.count("\n") == 1
    assert written.endswith("hello •••\n")
