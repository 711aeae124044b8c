"""What a ref to the Hub says, and what is no such ref."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arwd import errors
from arwd.sources.hub_links import HubRef, file_url, is_repository, knows, parse, parse_endpoint, shown

HUB = "https://huggingface.co"
MIRROR = "http://127.0.0.1:8123/hub"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("ref", "meant"),
    [
        ("https://huggingface.co/org/repo", HubRef(repository="org/repo")),
        ("https://huggingface.co/org/repo/", HubRef(repository="org/repo")),
        ("HTTPS://HuggingFace.co/org/repo?library=x#files", HubRef(repository="org/repo")),
        ("http://huggingface.co/org/repo", HubRef(repository="org/repo")),
        ("https://www.huggingface.co/org/repo", HubRef(repository="org/repo")),
        ("https://hf.co/org/repo", HubRef(repository="org/repo")),
        ("hf.co/org/repo:Q4_K_M", HubRef(repository="org/repo", quantization="Q4_K_M")),
        ("huggingface.co/org/repo", HubRef(repository="org/repo")),
        ("https://huggingface.co/gpt2", HubRef(repository="gpt2")),
        ("https://huggingface.co/gpt2/tree/main", HubRef(repository="gpt2")),
        ("https://huggingface.co/gpt2/resolve/main/a.bin", HubRef(repository="gpt2", path="a.bin")),
        ("https://huggingface.co/org/tree/blob/main/a.gguf", HubRef(repository="org/tree", path="a.gguf")),
        ("https://huggingface.co/org/repo/tree/main", HubRef(repository="org/repo")),
        ("https://huggingface.co/org/repo/tree/v1.0", HubRef(repository="org/repo", revision="v1.0")),
        (f"https://huggingface.co/org/repo/tree/{COMMIT}", HubRef(repository="org/repo", revision=COMMIT)),
        ("https://huggingface.co/org/repo/tree/a%2Fb", HubRef(repository="org/repo", revision="a/b")),
        ("https://huggingface.co/org/repo/tree/refs%2Fpr%2F1", HubRef(repository="org/repo", revision="refs/pr/1")),
        ("https://huggingface.co/org/repo/tree/refs/pr/1", HubRef(repository="org/repo", revision="refs/pr/1")),
        (
            "https://huggingface.co/org/repo/blob/refs/pr/1/x/y.gguf",
            HubRef(repository="org/repo", revision="refs/pr/1", path="x/y.gguf"),
        ),
        ("https://huggingface.co/org/repo/blob/main/a.gguf", HubRef(repository="org/repo", path="a.gguf")),
        ("https://huggingface.co/org/repo/resolve/main/x/a%20b.gguf?download=true",
         HubRef(repository="org/repo", path="x/a b.gguf")),
        ("https://huggingface.co/org/repo/raw/v2/c.json", HubRef(repository="org/repo", revision="v2", path="c.json")),
        ("hf://org/repo", HubRef(repository="org/repo")),
        ("hf://org/repo/", HubRef(repository="org/repo")),
        ("hf://org/repo:q4_k_m", HubRef(repository="org/repo", quantization="Q4_K_M")),
        ("hf://org/repo:latest", HubRef(repository="org/repo")),
        ("hf://org/repo@v1", HubRef(repository="org/repo", revision="v1")),
        ("hf://org/repo:UD-Q4_K_XL@refs/pr/3",
         HubRef(repository="org/repo", quantization="UD-Q4_K_XL", revision="refs/pr/3")),
        ("HF://org/repo", HubRef(repository="org/repo")),
    ],
)  # fmt: skip
def test_a_ref_and_what_is_meant_by_it(ref: str, meant: HubRef) -> None:
    assert knows(ref, HUB)
    assert parse(ref, HUB) == meant
    # A mirror is asked in place of the Hub, and both are understood.
    assert parse(ref, MIRROR) == meant


def test_the_endpoint_s_own_links_are_refs_with_its_path_taken_off() -> None:
    assert parse(f"{MIRROR}/org/repo/blob/main/a.gguf", MIRROR) == HubRef(repository="org/repo", path="a.gguf")
    assert not knows("http://127.0.0.1:8123/other/org/repo", MIRROR)
    assert not knows("http://127.0.0.1:8123/hubs/org/repo", MIRROR)


@pytest.mark.parametrize(
    "ref",
    [
        "https://example.org/org/repo", "https://huggingface.co.example.org/org/repo", "https://huggingface.co:8443/org/repo",
        "https://u:p@huggingface.co/org/repo", "ftp://huggingface.co/org/repo", "https://cdn.huggingface.co/x",
        "https://huggingface.co/api/models/org/repo", "https://huggingface.co/api/resolve-cache/models/o/r/c/x",
        "http://huggingface.co:443/org/repo", "org/repo", "org/repo@Q4_K_M", "", "hf:/org/repo", "https://hf.co@evil.example/x",
        "https://huggingface.co\\@evil.example/org/repo",
    ],
)  # fmt: skip
def test_what_is_somebody_else_s_is_not_known(ref: str) -> None:
    assert not knows(ref, HUB)
    with pytest.raises(errors.InvalidField):
        parse(ref, HUB)


@pytest.mark.parametrize(
    ("ref", "sentence"),
    [
        ("https://huggingface.co/datasets/org/data", "datasets"),
        ("https://huggingface.co/spaces/org/app", "spaces"),
        ("hf://datasets/org/data", "datasets"),
        ("https://huggingface.co/docs/hub/models", "page of the Hub"),
        ("https://huggingface.co/", "page of the Hub"),
        ("https://huggingface.co", "page of the Hub"),
        ("hf://", "page of the Hub"),
        ("https://huggingface.co/org/repo/discussions/1", "neither"),
        ("https://huggingface.co/org/repo/commit/main", "neither"),
        ("https://huggingface.co/org/repo/blob/main", "neither"),
        ("https://huggingface.co/org/repo/blob/main/", "neither"),
        ("https://huggingface.co/org/repo/blob", "neither"),
        ("https://huggingface.co/org/repo/tree/main/folder", "folder"),
        ("https://huggingface.co/org/repo:Q4_K_M/blob/main/a.gguf", "one file already"),
        ("https://huggingface.co/org/re%20po", "names no repository"),
        ("https://huggingface.co/org/../repo", "names no repository"),
        ("https://huggingface.co//repo", "page of the Hub"),
        ("https://huggingface.co/org//blob/main/x", "names no repository"),
        ("hf://org/repo/file.gguf", "repository only"),
        ("hf://org/re..po", "names no repository"),
        ("hf://org/re--po", "names no repository"),
        ("hf://org/repo:", "Q4_K_M"),
        ("hf://org/repo:a/b", "such as Q4_K_M"),
        ("hf://org/repo@", "no revision"),
        ("hf://org/repo@a/../b", "no revision"),
        ("hf://org/repo@a b", "no revision"),
        ("https://huggingface.co/org/repo/tree/%2e%2e", "no revision"),
        ("https://huggingface.co/org/repo/resolve/%2e%2e%2f..%2fapi/x", "no revision"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_a_sentence(ref: str, sentence: str) -> None:
    with pytest.raises(errors.InvalidField) as caught:
        parse(ref, HUB)
    assert sentence in str(caught.value)


STEP = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_]{0,9}", fullmatch=True).filter(lambda step: step.lower() != "latest")
FILE = st.lists(st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/"), min_size=1), min_size=1)


@given(STEP, STEP, STEP, st.none() | FILE.map("/".join), st.none() | STEP.map(str.upper))
def test_what_is_shown_of_a_ref_means_the_same_when_it_is_given_again(
    owner: str, name: str, revision: str, path: str | None, quantization: str | None
) -> None:
    ref = HubRef(
        repository=f"m{owner}1/{name}",
        revision=revision,
        path=None if quantization else path,
        quantization=quantization,
    )
    for endpoint in (HUB, MIRROR):
        assert parse(shown(endpoint, ref), endpoint) == ref


@given(st.text(max_size=60) | st.text("hf:/o.@-%2e?#[]", max_size=30).map(lambda text: HUB + "/" + text))
def test_no_text_makes_it_fail_otherwise_than_by_saying_so(text: str) -> None:
    for ref in (text, f"hf://{text}"):
        if knows(ref, HUB):
            with contextlib.suppress(errors.InvalidField):
                assert is_repository(parse(ref, HUB).repository)


def test_a_file_s_url_quotes_what_a_path_may_hold_and_a_revision_s_slash() -> None:
    expected = "https://huggingface.co/o/r/resolve/refs%2Fpr%2F1/a%20b/c%3F%23%25.gguf"
    assert file_url(HUB, "o/r", "refs/pr/1", "a b/c?#%.gguf") == expected


@pytest.mark.parametrize("text", ["", "huggingface.co", "ftp://x", "https://u:p@x", "https://x/?a=b", "https://x/#f"])
def test_an_endpoint_that_cannot_be_one_is_a_wrong_setting(text: str) -> None:
    with pytest.raises(errors.SettingsError, match="hf_endpoint"):
        parse_endpoint(text)
    assert parse_endpoint("https://mirror.example/hub/") == "https://mirror.example/hub"
