"""What a file must begin with to be taken for what it is called."""

import io
import json
import pickle
import pickletools
import zipfile

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from arwd import errors
from arwd.transfer.first_bytes import ENOUGH, Rule, fault
from tests.models import GGUF, gguf

URL = "https://h.example/x"
BINARY = "application/octet-stream"
HTML = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
JSON_ERROR = b'{"error": "Repository not found"}'
ONNX = b"\x08\x08\x12\x07pytorch\x1a\x052.0.1"


def safetensors(
    header: bytes = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', body: bytes = bytes(4)
) -> bytes:
    return len(header).to_bytes(8, "little") + header + body


def archive(*names: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as opened:
        for name in names:
            opened.writestr(name, "x")
    return made.getvalue()


def found(
    name: str, first: bytes, kind: str = BINARY, *, suggested: str | None = None, size: int | None = -1, **more: bool
) -> str | None:
    """The code of the refusal. A size of -1 is that of the bytes."""
    error = fault(
        Rule(names=(name,), **more),
        first,
        url=URL,
        content_type=kind,
        suggested=suggested,
        size=len(first) if size == -1 else size,
    )
    if error is None:
        return None
    assert str(error).startswith(URL)
    assert not error.retryable
    return error.code


TAKEN = [
    ("m.gguf", GGUF, BINARY),
    ("M.GGUF", GGUF, BINARY),
    ("m.gguf", GGUF, ""),
    ("m.gguf", b"FUGG" + GGUF[4:], BINARY),
    ("m.safetensors", safetensors(), BINARY),
    ("m.safetensors", safetensors(b"{}", b""), BINARY),
    ("m.onnx", ONNX, BINARY),
    ("m", b"", BINARY),
    ("", b"whatever", BINARY),
    ("m.bin", bytes(ENOUGH), BINARY),
    ("README.md", b"# Model\n\nversion https://git-lfs.github.com/spec/v1", "text/plain"),
    ("page.html", HTML, "text/html; charset=utf-8"),
    ("page.HTM", HTML, "text/html"),
    ("config.json", b'{"error": "a model may be called so"}', "application/json"),
    ("tokenizer.json", b'{"version": "1.0", "message": "x"}', "text/plain"),
    ("model.safetensors.index.json", b'{"metadata": {}, "weight_map": {}}', "application/json"),
    ("train.jsonl", b'{"message": "hello"}\n{"message": "there"}', BINARY),
    ("notebook.ipynb", b'{"cells": [], "detail": "x"}', BINARY),
    ("vocab", b'{"the": 1, "error": 2, "message": 3}', BINARY),
    ("vocab.bpe", b'{"detail": 7}', BINARY),
    ("template.jinja", b'{% if x %}{"error": "x"}{% endif %}', BINARY),
    ("template", b'{{ bos }}{"message": "x"}', BINARY),
    ("list", b'["error", "message"]', "application/json"),
    ("weights.pt", safetensors(), BINARY),
    ("weights.zip", archive("readme.txt", "weights.bin"), BINARY),
    ("m.keras", archive("metadata.json", "config.json", "model.weights.h5"), BINARY),
    ("data.npz", archive("weights.npy", "data/0.npy"), BINARY),
    ("m.mlmodel", b"\x80\x02\x00", BINARY),
]
REFUSED = [
    ("m.gguf", HTML, "text/html; charset=utf-8"),
    ("m.gguf", HTML, BINARY),
    ("m.gguf", b"\xef\xbb\xbf\r\n\t <HTML lang=en>", BINARY),
    ("m.gguf", b"<!doctype   HTML>", "text/plain"),
    ("m.gguf", GGUF, "text/html"),
    ("m", b"not yet ready", "Text/HTML"),
    ("m.bin", b"<html>", "application/xhtml+xml"),
    ("page.html.gguf", HTML, "text/html"),
    ("m.safetensors", LFS, "text/plain"),
    ("m.bin", LFS, BINARY),
    ("config.json", LFS, "application/json"),
    ("page.html", LFS, "text/html"),
    ("m.gguf", JSON_ERROR, "application/json"),
    ("m.bin", JSON_ERROR, BINARY),
    ("m", b' \r\n{"errors":[{"message":"x"}]}', BINARY),
    ("m.onnx", b'{"detail": "Not authenticated"}', "application/problem+json"),
    ("m.onnx", b'{"statusCode": 404, "message": "no"}', "text/plain"),
    ("m.bin", b'[{"message": "no"}]', "application/json"),
    ("m.gguf", b"GGML" + GGUF[4:], BINARY),
    ("m.gguf", b"GGU", BINARY),
    ("m.gguf", b"", BINARY),
    ("m.gguf", GGUF[:23], BINARY),
    ("m.gguf", safetensors(), BINARY),
    ("m.safetensors", GGUF, BINARY),
    ("m.safetensors", b"", BINARY),
    ("m.safetensors", safetensors()[:8], BINARY),
    ("m.safetensors", safetensors(b"[]"), BINARY),
    ("m.safetensors", (1).to_bytes(8, "little") + b"{", BINARY),
    ("m.safetensors", (100_000_001).to_bytes(8, "little") + b"{" + bytes(ENOUGH), BINARY),
    ("m.safetensors", b"\xff" * 8 + b"{", BINARY),
    ("m.safetensors", (100).to_bytes(8, "little") + b"{" + bytes(98), BINARY),
]


@pytest.mark.parametrize(("name", "first", "kind"), TAKEN)
def test_what_looks_like_what_it_is_called_is_taken(name: str, first: bytes, kind: str) -> None:
    assert found(name, first, kind) is None


@pytest.mark.parametrize(("name", "first", "kind"), REFUSED)
def test_what_is_something_else_is_not(name: str, first: bytes, kind: str) -> None:
    assert found(name, first, kind) == "not_a_model"


def test_where_the_size_is_not_known_the_header_alone_decides() -> None:
    long = (5_000).to_bytes(8, "little") + b'{"w":' + bytes(ENOUGH)
    assert found("m.safetensors", long, size=None) is None
    assert found("m.safetensors", long, size=5_007) == "not_a_model"
    assert found("m.safetensors", long, size=5_008) is None
    assert found("m.gguf", GGUF[:4], size=None) is None


@pytest.mark.parametrize("first", [b"", b"GGML", safetensors()])
@pytest.mark.parametrize("name", ["m.gguf", "m.safetensors"])
def test_a_digest_knows_better_than_a_name(name: str, first: bytes) -> None:
    assert found(name, first, has_digest=True) is None


@pytest.mark.parametrize("first", [HTML, LFS, JSON_ERROR])
def test_but_what_takes_the_place_of_a_file_is_refused_all_the_same(first: bytes) -> None:
    assert found("m.gguf", first, has_digest=True) == "not_a_model"


@pytest.mark.parametrize(
    ("name", "suggested", "first", "code"),
    [
        ("download", "m.gguf", b"GGML", "not_a_model"),
        ("download.php", "m.gguf", GGUF, None),
        ("m.gguf", "m.bin", b"GGML", "not_a_model"),
        ("download", "page.html", HTML, None),
        ("m.gguf", "login.html", HTML, "not_a_model"),
        ("page.html", "m.bin", HTML, "not_a_model"),
        ("download", "config.json", JSON_ERROR, None),
        ("m.bin", "config.json", JSON_ERROR, "not_a_model"),
        ("download", "m.pkl", b"anything", "unsafe_format"),
    ],
)
def test_what_one_name_demands_the_other_cannot_excuse(
    name: str, suggested: str, first: bytes, code: str | None
) -> None:
    assert found(name, first, suggested=suggested) == code


VALUES = [{"w": [1, 2]}, [1], (1, 2), "text", 7, 70_000, 1.5, None, True, {1, 2}, b"bytes", 10**30, io.BytesIO]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("value", VALUES, ids=repr)
@pytest.mark.parametrize("name", ["m.bin", "m.pt", "m", "m.gguf.bak"])
def test_a_pickle_is_known_by_how_it_begins(value: object, protocol: int, name: str) -> None:
    first = pickle.dumps(value, protocol)
    assert found(name, first) == "unsafe_format"
    assert found(name, first, has_digest=True) == "unsafe_format"
    assert found(name, first, allow_unsafe=True) is None


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("m.pt", archive("archive/data.pkl", "archive/data/0")),
        ("m.bin", archive("pytorch_model/data.pkl", "pytorch_model/version")),
        ("m", archive("m/.format_version", "m/data.pkl")),
        ("m", archive("m/data/0", "m/constants.pkl")),
        ("m", archive("m/byteorder", *(f"m/data/{number}" for number in range(90)))),
        ("m", archive("m/code/__torch__/net.py")),
        ("m.jit", archive("other")),
        ("m.pth", archive("m/other")),
        ("m.CKPT", archive("m/other")),
        ("m.pkl", b"(lp0\nI1\na."),
        ("m.pickle", b"whatever"),
        ("m.joblib", b"x\x9ccompressed"),
    ],
)
def test_an_archive_with_a_pickle_in_it_is_one_too(name: str, first: bytes) -> None:
    assert found(name, first) == "unsafe_format"
    assert found(name, first, allow_unsafe=True) is None


def test_the_sentence_says_what_may_be_done() -> None:
    error = fault(Rule(names=("m.pt",)), pickle.dumps(1), url=URL, content_type="", suggested=None, size=None)
    assert isinstance(error, errors.UnsafeFormat)
    assert "allow_unsafe_formats" in str(error)


def test_a_safetensors_whose_length_looks_like_a_pickle_is_none() -> None:
    """Its first bytes are 0x80, 2 and an opening that a pickle may have."""
    first = (0x5D0280).to_bytes(8, "little") + b'{"w"' + bytes(ENOUGH)
    assert chr(first[2]) in {code.code for code in pickletools.opcodes}
    assert found("m.safetensors", first, size=10**9) is None
    # Under another name it may be one that was made to look so.
    assert found("m", first, size=10**9) == "unsafe_format"


def test_an_allowed_pickle_may_still_be_no_model() -> None:
    assert found("m.pkl", HTML, "text/html", allow_unsafe=True) == "not_a_model"


def test_no_sentence_quotes_what_a_server_sent() -> None:
    for first in (b"<html>s3cr3t", LFS + b"s3cr3t", b'{"error":"s3cr3t"}', b"s3cr3t"):
        error = fault(Rule(names=("m.gguf",)), first, url=URL, content_type="x/s3cr3t", suggested="s3cr3t", size=6)
        assert error is not None
        assert "s3cr3t" not in str(error)


NAMES = st.sampled_from(["", "m", "m.gguf", "m.safetensors", "m.pt", "m.pkl", "page.html", "config.json"]) | st.text()
STARTS = st.sampled_from([b"", GGUF, HTML, LFS, JSON_ERROR, safetensors(), archive("a/data.pkl"), b"\x80\x04\x95"])


@given(
    NAMES,
    st.none() | NAMES,
    st.builds(bytes.__add__, STARTS, st.binary(max_size=600)),
    st.sampled_from(["", BINARY, "text/html", "application/json", ";"]) | st.text(),
    st.none() | st.integers(0, 10**18),
    st.booleans(),
    st.booleans(),
)
@example("m.safetensors", None, b"\x80\x02]", "", None, False, False)
def test_every_file_is_taken_or_refused_by_one_of_two_codes(
    name: str, suggested: str | None, first: bytes, kind: str, size: int | None, has_digest: bool, allow_unsafe: bool
) -> None:
    rule = Rule(names=(name,), has_digest=has_digest, allow_unsafe=allow_unsafe)

    def code(bytes_seen: bytes) -> str | None:
        error = fault(rule, bytes_seen, url=URL, content_type=kind, suggested=suggested, size=size)
        return None if error is None else error.code

    assert code(first) in {None, "not_a_model"} | (set() if allow_unsafe else {"unsafe_format"})
    if len(first) >= ENOUGH:
        assert code(first) == code(first[:ENOUGH]) == code(first + b"more"), "what comes later decides nothing"


@pytest.mark.parametrize("text", [{"error": {"message": "x"}}, {"detail": []}, {"fault": True}, {"error_code": "x"}])
def test_an_error_is_known_however_it_is_written(text: object) -> None:
    for written in (json.dumps(text), json.dumps(text, indent=4), json.dumps(text, separators=(",", ":"))):
        assert found("m.bin", written.encode()) == "not_a_model"


def test_models_of_the_tests_begin_as_models_do() -> None:
    assert found("m.gguf", gguf(bytes(100))) is None
