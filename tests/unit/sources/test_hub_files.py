"""Which files of a repository are the model: what is there twice, only shown, or hidden, is left out."""

import pytest

from arwd import errors
from arwd.sources.hub_files import HubFile, model_in
from arwd.sources.hub_links import HubRef

REF = HubRef(repository="org/repo")


def taken(*paths: str) -> list[str]:
    return [file.path for file in model_in([HubFile(path=path, size=1) for path in paths], REF).files]


@pytest.mark.parametrize(
    "left_out",
    [
        "pytorch_model.bin", "pytorch_model-00001-of-00002.BIN", "model.pt", "x.pth", "a.ckpt", "tf_model.h5",
        "f.msgpack", "onnx/model.onnx", "model.onnx_data", "onnx/config.json", "original/model.safetensors",
        "metal/model.bin", "rust_model.ot", ".gitattributes", ".cache/x", "a/.b/c", "figure.png",
        "docs/a.JPG", "demo.mp4", "paper.pdf",
        "consolidated.safetensors", "consolidated-00001-of-00002.safetensors", "imatrix.gguf", "mmproj.gguf",
    ],
)  # fmt: skip
def test_what_nobody_needs_is_left_out(left_out: str) -> None:
    assert taken("config.json", left_out, "model.safetensors") == ["config.json", "model.safetensors"]


@pytest.mark.parametrize(
    "kept",
    [
        "README.md", "LICENSE", "tokenizer.model", "modeling.py", "tokenizer/vocab.json", "merges.txt",
        "chat_template.jinja", "vae/diffusion_pytorch_model.safetensors", "model.safetensors.index.json",
        "original", "preprocessor/original/x.json",
    ],
)  # fmt: skip
def test_what_says_how_to_use_the_model_stays(kept: str) -> None:
    assert taken("model.safetensors", kept) == ["model.safetensors", kept]


def test_weights_that_are_there_in_one_place_only_are_taken_from_there() -> None:
    assert taken("config.json", "original/m.safetensors", "original/m.pth") == ["config.json", "original/m.safetensors"]
    assert taken("params.json", "consolidated.safetensors") == ["params.json", "consolidated.safetensors"]


def test_gguf_comes_before_safetensors() -> None:
    assert taken("model.safetensors", "m-Q8_0.gguf") == ["m-Q8_0.gguf"]


def test_weights_in_other_formats_alone_are_no_model_unless_one_is_linked() -> None:
    with pytest.raises(errors.ModelNotFound, match="link the one file"):
        taken("config.json", "pytorch_model.bin")
    with pytest.raises(errors.ModelNotFound, match="neither GGUF nor safetensors"):
        taken()


def test_a_step_that_leads_elsewhere_is_not_taken_for_a_hidden_one() -> None:
    assert taken("model.safetensors", "../x.json", "a/./b") == ["model.safetensors", "../x.json", "a/./b"]
