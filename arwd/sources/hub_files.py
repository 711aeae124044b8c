"""Which files of a repository are the model. PURE.

- One file was linked: that file.
- The repository holds GGUF: one quantization, with its shards and its projector.
- It holds safetensors: everything, but what is there a second time in another format, what only the site shows, and
  what begins with a dot. README and licence stay: they say what the model is, and under which terms.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from arwd.errors import InvalidField, ModelNotFound
from arwd.sources import quantization
from arwd.sources.hub_links import HubRef

_OTHER_FORMATS: Final = (
    ".bin", ".pt", ".pth", ".ckpt", ".h5", ".keras", ".msgpack", ".ot", ".onnx", ".onnx_data", ".onnx.data", ".tflite",
    ".pb", ".gguf", ".ggml", ".mlmodel", ".nemo", ".llamafile", ".engine",
)  # fmt: skip
_SHOWN: Final = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg", ".bmp", ".ico", ".mp4", ".webm", ".pdf")
# Folders in which publishers keep the same weights as they were, or for another engine.
_OTHER_FOLDERS: Final = frozenset({"original", "metal", "onnx", "openvino", "coreml", "mlx", "gguf"})


class HubFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a commit, as the Hub lists it."""

    path: str
    size: int
    sha256: str | None = None
    """Of files that git itself does not hold."""
    git_oid: str | None = None
    """Of files that git holds."""


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """The files that are the model."""

    files: tuple[HubFile, ...]
    quantizations: tuple[str, ...] = ()
    """Those that the repository offers."""


def model_in(files: Sequence[HubFile], ref: HubRef) -> Model:
    """The model that the ref means. ModelNotFound, AmbiguousRef, or InvalidField if it asks for what cannot be."""
    paths = [file.path for file in files]
    if quantization.holds_models(paths):
        chosen = quantization.choose(paths, ref.quantization, ref.where)
        by_path = {file.path: file for file in files}
        return Model(files=tuple(by_path[path] for path in chosen.paths), quantizations=quantization.offered(paths))
    if ref.quantization is not None:
        raise InvalidField(f"{ref.where} holds no GGUF files, so there is no quantization to choose; leave it out.")
    needed = _needed(files)
    if not any(_is_weights(file.path) for file in needed):
        raise ModelNotFound(
            f"{ref.where} holds neither GGUF nor safetensors files; link the one file that you want of it."
        )
    return Model(files=needed)


def _needed(files: Sequence[HubFile]) -> tuple[HubFile, ...]:
    """All of a repository of safetensors but what nobody needs."""
    plain = [file for file in files if not any(map(_is_hidden, file.path.split("/")))]
    inside = [
        file for file in plain if file.path.partition("/")[0].lower() not in _OTHER_FOLDERS or "/" not in file.path
    ]
    kept = inside if any(_is_weights(file.path) for file in inside) else plain
    names = [file.path.lower() for file in kept]
    # Mistral's own layout of the same weights beside that of everybody else.
    is_twice = any(name.startswith("model") and _is_weights(name) for name in names)
    return tuple(
        file
        for file, name in zip(kept, names, strict=True)
        if not name.endswith((*_OTHER_FORMATS, *_SHOWN))
        and not (is_twice and name.startswith("consolidated") and _is_weights(name))
    )


def _is_hidden(step: str) -> bool:
    # What leads elsewhere is not merely left out: with it the whole repository is refused.
    return step.startswith(".") and step not in {".", ".."}


def _is_weights(path: str) -> bool:
    return path.lower().endswith(".safetensors")
