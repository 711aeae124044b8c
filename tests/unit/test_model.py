"""The nouns are frozen, survive being written down, and a digest is 64 hexadecimal digits."""

import shutil
import subprocess

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arwd.errors import InvalidSha256
from arwd.model import MAX_WHOLE, Artifact, Job, Model, RemoteFile, git_blob_sha1, new_job, parse_sha256
from arwd.states import TERMINAL, State
from tests.unit import samples


@given(st.text("0123456789abcdefABCDEF", min_size=64, max_size=64))
def test_a_digest_is_kept_in_lower_case(text: str) -> None:
    assert parse_sha256(text) == text.lower()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a" * 63,
        "a" * 65,
        "g" * 64,
        " " + "a" * 64,
        "a" * 64 + "\n",
        "0x" + "a" * 62,
        "１" * 64,
        "sha256:" + "a" * 57,
    ],
)
def test_anything_but_64_hexadecimal_digits_is_refused(text: str) -> None:
    with pytest.raises(InvalidSha256, match="64 hexadecimal"):
        parse_sha256(text)


@given(st.text())
def test_no_text_breaks_the_digest_parser(text: str) -> None:
    try:
        parsed = parse_sha256(text)
    except InvalidSha256:
        return
    assert len(parsed) == 64


@pytest.mark.parametrize("state", State)
def test_a_job_is_final_in_a_final_state_and_in_no_other(state: State) -> None:
    assert samples.job(state=state).is_final is (state in TERMINAL)


@pytest.mark.parametrize("noun", [samples.job(), samples.model(), samples.request()])
def test_a_noun_cannot_be_changed_in_place(noun: msgspec.Struct) -> None:
    with pytest.raises(AttributeError):
        noun.id = "other"  # type: ignore[attr-defined]


def test_a_job_survives_being_written_down() -> None:
    job = samples.job(state=State.FAILED, total=MAX_WHOLE, code="stalled", error="…", trust="none", attempt=3)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(job), type=Job) == job


def test_a_model_survives_being_written_down() -> None:
    model = samples.model(validator='"x"')
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(model), type=Model) == model


def test_a_job_written_by_an_older_arwd_can_still_be_read() -> None:
    row = {"job_id": "j", "id": "m", "state": "queued", "provider": "local", "url": "https://h/", "queued_at": "t"}
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(row), type=Job).downloaded == 0


def test_a_new_job_says_what_was_asked_for_and_never_the_full_url() -> None:
    request = samples.request(ref="https://h.example/m.gguf?token=s3cret", sha256=samples.DIGEST, filename="n.gguf")
    artifact = Artifact(url=samples.URL, files=(RemoteFile(mirrors=(request.ref,)),))
    job = new_job(request, artifact, job_id="job_1", state=State.QUEUED, now="t", name="n.gguf")
    assert (job.id, job.url, job.queued_at, job.name) == ("m", samples.URL, "t", "n.gguf")
    assert (job.sha256, job.filename, job.provider) == (samples.DIGEST, "n.gguf", "local")
    assert "s3cret" not in repr(job)


def test_the_largest_whole_number_is_one_that_a_double_keeps() -> None:
    assert int(float(MAX_WHOLE)) == MAX_WHOLE
    assert int(float(MAX_WHOLE + 2)) != MAX_WHOLE + 2


# As `git hash-object --stdin` prints them.
@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"),
        (b"hello\n", "ce013625030ba8dba906f756967f9e9ca394464a"),
        (b"test content\n", "d670460b4b4aece5915caf5c68d12f560a9fe3e4"),
    ],
)
def test_git_s_name_of_a_file_is_the_digest_of_its_size_and_its_bytes(content: bytes, name: str) -> None:
    begun = git_blob_sha1(len(content))
    for index in range(len(content)):
        begun.update(content[index : index + 1])
    assert begun.hexdigest() == name


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@pytest.mark.parametrize("size", [1, 1_000, 3_000_000])
def test_git_itself_gives_a_file_that_name(size: int) -> None:
    content = bytes(number % 251 for number in range(size))
    command = ["git", "hash-object", "--no-filters", "--stdin"]
    hashed = subprocess.run(command, input=content, capture_output=True, check=True).stdout.decode().strip()
    begun = git_blob_sha1(size)
    begun.update(content)
    assert begun.hexdigest() == hashed
