"""Which files of a repository are one model: a table of repositories as they are found, and what is taken of each."""

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arwd import errors
from arwd.sources.quantization import Chosen, choose, holds_models, name_of, offered

PLAIN = ["README.md", "m-Q2_K.gguf", "m-Q8_0.gguf", "m-Q4_K_M.gguf", "m-IQ4_XS.gguf"]
UNSLOTH = ["m-Q4_K_M.gguf", "m-UD-Q4_K_XL.gguf", "m-UD-Q4_K_M.gguf", "m-BF16.gguf", "imatrix_unsloth.gguf"]
SHARDED = [f"Q4_K_M/m-Q4_K_M-0000{index}-of-00003.gguf" for index in (2, 1, 3)]
VISION = ["m-Q4_K_M.gguf", "m-Q8_0.gguf", "mmproj-m-F32.gguf", "mmproj-m-Q8_0.gguf", "mmproj-m-F16.gguf"]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("m-Q4_K_M.gguf", "Q4_K_M"),
        ("m.q4_k_m.gguf", "Q4_K_M"),
        ("m_q8_0.GGUF", "Q8_0"),
        ("Q4_K_M.gguf", "Q4_K_M"),
        ("m-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"),
        ("m-ud-iq1_s.gguf", "UD-IQ1_S"),
        ("m-IQ4_NL.gguf", "IQ4_NL"),
        ("m-MXFP4.gguf", "MXFP4"),
        ("m-bf16.gguf", "BF16"),
        ("m-TQ1_0.gguf", "TQ1_0"),
        ("m-Q4_K_M-00001-of-00003.gguf", "Q4_K_M"),
        ("m.Q5_K_S.imat.gguf", "Q5_K_S"),
        ("F16/m.gguf", "F16"),
        ("F16/m-Q4_0.gguf", "Q4_0"),
        ("Qwen3-8B.gguf", None),
        ("m.gguf", None),
        ("BQ4_K_M.gguf", None),
        ("m-Q4_K_M-instruct.gguf", None),
    ],
)
def test_the_name_of_a_quantization_is_a_word_before_the_end(path: str, name: str | None) -> None:
    assert name_of(path) == name


@pytest.mark.parametrize(
    ("paths", "wanted", "taken"),
    [
        (PLAIN, None, ["m-Q4_K_M.gguf"]),
        ([path for path in PLAIN if "Q4_K_M" not in path], None, ["m-Q8_0.gguf"]),
        (["b.txt", "m-Q3_K_L.gguf", "a-Q2_K.gguf"], None, ["m-Q3_K_L.gguf"]),
        (PLAIN, "q2_k", ["m-Q2_K.gguf"]),
        (UNSLOTH, "Q4_K_M", ["m-Q4_K_M.gguf"]),
        (UNSLOTH, "UD-Q4_K_M", ["m-UD-Q4_K_M.gguf"]),
        (UNSLOTH, None, ["m-Q4_K_M.gguf"]),
        (SHARDED, None, sorted(SHARDED)),
        (SHARDED, "Q4_K_M", sorted(SHARDED)),
        (["imatrix.gguf", "mtp-m-Q4_K_M.gguf", "EAGLE3-Q4_K_M.gguf", "m-Q2_K.gguf"], None, ["m-Q2_K.gguf"]),
        (["dflash-Q8_0.gguf", "dspark-Q8_0.gguf", "m-MTP-Q6_K.gguf"], None, ["m-MTP-Q6_K.gguf"]),
        (["m-special.gguf", "m-Q4_K_M.gguf"], "special", ["m-special.gguf"]),
        (["m-special-00001-of-00001.gguf"], "SPECIAL", ["m-special-00001-of-00001.gguf"]),
    ],
)  # fmt: skip
def test_a_repository_s_files_and_what_is_taken(paths: list[str], wanted: str | None, taken: list[str]) -> None:
    assert choose(paths, wanted, "The repository").paths == tuple(taken)


@pytest.mark.parametrize("wanted", ["K_M", "4_K_M", "Q4", "Q4_K", "0", "m", "UD", "gguf", "Q9_0", "Q4.K.M", "IQ4_X"])
def test_a_part_of_a_name_is_no_name(wanted: str) -> None:
    with pytest.raises(errors.ModelNotFound) as caught:
        choose([*PLAIN, *SHARDED], wanted, "The repository org/repo")
    assert str(caught.value).endswith("it has Q2_K, Q8_0, Q4_K_M, IQ4_XS.")


def test_what_has_no_names_says_how_to_get_one() -> None:
    with pytest.raises(errors.ModelNotFound, match="link one of them"):
        choose(["m.gguf"], "Q4_K_M", "The repository")


@pytest.mark.parametrize(
    ("wanted", "projector"),
    [("Q8_0", "mmproj-m-Q8_0.gguf"), ("Q4_K_M", "mmproj-m-Q8_0.gguf")],
)
def test_the_projector_that_is_nearest_goes_along(wanted: str, projector: str) -> None:
    assert choose(VISION, wanted, "").paths == (f"m-{wanted}.gguf", projector)


def test_a_projector_of_the_same_name_is_nearer_than_one_of_as_many_bits() -> None:
    paths = ["m-Q4_K_M.gguf", "mmproj-IQ4_XS.gguf", "mmproj-Q4_K_M.gguf"]
    assert choose(paths, None, "").paths == ("m-Q4_K_M.gguf", "mmproj-Q4_K_M.gguf")


def test_a_projector_of_the_same_folder_is_nearer_than_one_of_the_same_name() -> None:
    paths = ["a/m-Q8_0.gguf", "a/mmproj-F16.gguf", "mmproj-Q8_0.gguf", "b/mmproj-Q8_0.gguf"]
    assert choose(paths, None, "").paths == ("a/m-Q8_0.gguf", "a/mmproj-F16.gguf")


def test_a_projector_or_an_importance_matrix_alone_is_no_model() -> None:
    paths = ["mmproj-F16.gguf", "m.imatrix.gguf", "eagle3-Q8_0.gguf", "model.safetensors"]
    assert not holds_models(paths)
    assert offered(paths) == ()
    with pytest.raises(errors.ModelNotFound):
        choose(paths, None, "The repository")


def test_an_incomplete_set_is_an_error_and_not_another_quantization() -> None:
    paths = [*SHARDED[:2], "m-Q8_0.gguf"]
    with pytest.raises(errors.ModelNotFound, match="2 of the 3 parts"):
        choose(paths, None, "The repository")
    assert choose(paths, "Q8_0", "").paths == ("m-Q8_0.gguf",)
    assert offered(paths) == ("Q8_0",)


def test_shards_of_another_count_or_another_folder_are_another_model() -> None:
    paths = ["m-Q4_K_M-00001-of-00002.gguf", "m-Q4_K_M-00002-of-00003.gguf", "x/m-Q4_K_M-00002-of-00002.gguf"]
    with pytest.raises(errors.AmbiguousRef):
        choose(paths, None, "The repository")


def test_a_shard_beyond_the_count_belongs_to_nothing() -> None:
    assert not offered(["m-Q4_K_M-00000-of-00002.gguf", "m-Q4_K_M-00003-of-00002.gguf"])


def test_two_models_of_one_name_are_told_apart_by_whoever_asks() -> None:
    with pytest.raises(errors.AmbiguousRef) as caught:
        choose(["a-Q4_K_M.gguf", "b-Q4_K_M.gguf"], "q4_k_m", "The repository")
    assert "a-Q4_K_M.gguf, b-Q4_K_M.gguf" in str(caught.value)


@pytest.mark.parametrize(
    ("paths", "sentence"),
    [
        (["a-Q5_K_M.gguf", "b-Q5_K_M.gguf", "a-Q2_K.gguf"], "several models of Q5_K_M: a-Q5_K_M.gguf, b-Q5_K_M.gguf."),
        (["one.gguf", "two.gguf", "a-Q2_K.gguf"], "several models: one.gguf, two.gguf."),
    ],
)
def test_the_first_is_no_guess_between_two_of_one_name(paths: list[str], sentence: str) -> None:
    with pytest.raises(errors.AmbiguousRef) as caught:
        choose(paths, None, "The repository")
    assert sentence in str(caught.value)


NAMES = ("Q2_K", "Q4_K_M", "Q4_K_S", "Q8_0", "IQ4_XS", "UD-Q4_K_M", "UD-IQ1_S", "BF16", "MXFP4")


@given(st.sets(st.sampled_from(NAMES), min_size=1), st.sampled_from("-._"), st.randoms(use_true_random=False))
def test_whatever_is_offered_can_be_had_and_is_what_it_says(names: set[str], sign: str, random: object) -> None:
    paths = [f"model{sign}{name}.gguf" for name in sorted(names)]
    random.shuffle(paths)  # type: ignore[attr-defined]
    assert set(offered(paths)) == names
    for name in names:
        for wanted in (name, name.lower()):
            assert choose(paths, wanted, "") == Chosen((f"model{sign}{name}.gguf",), name)


@given(st.permutations([f"m-Q6_K-{index:05}-of-00004.gguf" for index in range(1, 5)]))
def test_shards_come_in_their_order_whatever_the_listing_s(paths: list[str]) -> None:
    assert choose(paths, None, "").paths == tuple(sorted(paths))


@given(st.lists(st.text("Qm4K_-./0gu", max_size=12).map(lambda text: text + ".gguf"), unique=True, max_size=6))
def test_no_name_makes_it_fail_otherwise_than_by_saying_so(paths: list[str]) -> None:
    for wanted in itertools.chain([None], offered(paths)):
        with contextlib.suppress(errors.ModelNotFound, errors.AmbiguousRef):
            assert set(choose(paths, wanted, "The repository").paths) <= set(paths)
