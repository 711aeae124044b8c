"""What a ref to the Hub says. PURE. Rule: a part that cannot be what it stands for is refused, never guessed."""

import re
from typing import Final
from urllib.parse import quote, unquote, urlsplit

import msgspec

from arwd.errors import InvalidField, SettingsError
from arwd.net import Origin, fault_in, origin_of

HOSTS: Final = frozenset({"huggingface.co", "www.huggingface.co", "hf.co"})
"""Whose links are refs to the Hub, whatever endpoint is asked."""
SCHEME: Final = "hf://"

_STEP: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_REPOSITORY: Final = re.compile(rf"{_STEP}(?:/{_STEP})?")
_QUANTIZATION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_REVISION: Final = re.compile(r"[A-Za-z0-9._+@=-]+(?:/[A-Za-z0-9._+@=-]+)*")
_MOST_OF_A_REVISION: Final = 255
_DEFAULT_BRANCH: Final = "main"
_OTHER_KINDS: Final = frozenset({"datasets", "spaces", "buckets", "kernels"})
# First steps of the site's own pages: no name of anybody's.
_PAGES: Final = frozenset({
    "blog", "chat", "collections", "docs", "inference", "join", "learn", "login", "models", "new", "organizations",
    "papers", "posts", "pricing", "search", "settings", "tasks",
})  # fmt: skip
_VIEWS_OF_A_FILE: Final = frozenset({"blob", "resolve", "raw"})


class HubRef(msgspec.Struct, frozen=True, kw_only=True):
    """A repository of models, one of its revisions, and what of it is meant."""

    repository: str
    revision: str = _DEFAULT_BRANCH
    """A branch, a tag or a commit."""
    path: str | None = None
    """The one file that is meant."""
    quantization: str | None = None

    @property
    def where(self) -> str:
        """What the repository is called in a sentence."""
        at = "" if self.revision == _DEFAULT_BRANCH else f" at {self.revision}"
        return f"The repository {self.repository}{at}"


def parse_endpoint(text: str) -> str:
    """The endpoint without its last slash. SettingsError unless it is an http or https URL."""
    if fault_in(text) is not None or set(text) & set("?#"):
        raise SettingsError("The setting hf_endpoint is wrong: it must be a URL such as https://huggingface.co.")
    return text.rstrip("/")


def knows(ref: str, endpoint: str) -> bool:
    """Is this a ref to the Hub? What the Hub serves below `/api/` is a URL like any other."""
    if ref[: len(SCHEME)].lower() == SCHEME:
        return True
    path = _path_of(ref, endpoint)
    return path is not None and path.lstrip("/").partition("/")[0] != "api"


def parse(ref: str, endpoint: str) -> HubRef:
    """What the ref says. InvalidField says what is wrong with it."""
    if ref[: len(SCHEME)].lower() == SCHEME:
        return _short(ref[len(SCHEME) :])
    path = _path_of(ref, endpoint)
    if path is None:
        raise InvalidField("The ref is no link to the Hub.")
    path = path.removeprefix("/").rstrip("/")
    _refuse_other_kinds(path)
    return _link(path.split("/"))


def parse_quantization(text: str, *, field: str | None = None) -> str | None:
    """The quantization in upper case; None for `latest`, which is llama.cpp's word for the default. InvalidField,
    of the `field` that it came in.
    """
    if not _QUANTIZATION.fullmatch(text):
        raise InvalidField("quantization must be a name such as Q4_K_M.", field=field)
    return None if text.lower() == "latest" else text.upper()


def is_repository(text: str) -> bool:
    """Can this be the name of a repository?"""
    return bool(_REPOSITORY.fullmatch(text)) and not {"..", "--"} & {text[at : at + 2] for at in range(len(text))}


def file_url(endpoint: str, repository: str, revision: str, path: str) -> str:
    """Where a file is asked for."""
    return f"{endpoint.rstrip('/')}/{repository}/resolve/{quote(revision, safe='')}/{quote(path)}"


def shown(endpoint: str, ref: HubRef) -> str:
    """The ref as it may be shown: it holds no secret, and means the same when it is given again."""
    at = "" if ref.revision == _DEFAULT_BRANCH else ref.revision
    if ref.quantization is not None:
        return f"{SCHEME}{ref.repository}:{ref.quantization}" + (f"@{at}" if at else "")
    base = f"{endpoint.rstrip('/')}/{ref.repository}"
    if ref.path is not None:
        return file_url(endpoint, ref.repository, ref.revision, ref.path)
    return f"{base}/tree/{quote(at, safe='')}" if at else base


def _path_of(ref: str, endpoint: str) -> str | None:
    """The path of a link to the Hub, None for other refs. The scheme may be missing, as in `hf.co/org/repo`."""
    if ref.partition("/")[0].lower() in HOSTS:
        ref = f"https://{ref}"
    if fault_in(ref) is not None:
        return None
    parts, origin = urlsplit(ref), origin_of(ref)
    if origin.host in HOSTS and origin in (Origin("https", origin.host, 443), Origin("http", origin.host, 80)):
        return parts.path
    own = urlsplit(endpoint.rstrip("/"))
    if origin == origin_of(endpoint) and f"{parts.path}/".startswith(f"{own.path}/"):
        return parts.path[len(own.path) :]
    return None


def _refuse_other_kinds(path: str) -> None:
    kind = path.partition("/")[0]
    if kind in _OTHER_KINDS:
        raise InvalidField(f"The ref is one of the Hub's {kind}; only its models can be downloaded.")
    if kind in _PAGES or not kind:
        raise InvalidField(
            "The ref is a page of the Hub, not a model; a model's link is https://huggingface.co/org/repo."
        )


def _short(text: str) -> HubRef:
    """`org/repo[:quantization][@revision]`; a revision may hold slashes."""
    _refuse_other_kinds(text)
    name, at, revision = text.partition("@")
    repository, colon, quantization = name.partition(":")
    repository = repository.removesuffix("/")
    if repository.count("/") > 1:
        raise InvalidField(
            "The ref may name a repository only, as hf://org/repo; for one file of it give its https link."
        )
    return HubRef(
        repository=_checked(repository),
        revision=parse_revision(unquote(revision)) if at else _DEFAULT_BRANCH,
        quantization=parse_quantization(quantization) if colon else None,
    )


def _link(steps: list[str]) -> HubRef:
    """A page of a repository, or of one of its files. The oldest repositories have no owner in their name."""
    views = _VIEWS_OF_A_FILE | {"tree", "discussions", "commits", "commit"}
    count = 1 if len(steps) == 1 or (len(steps) > 2 and steps[1] in views and steps[2] not in views) else 2
    last, colon, quantization = steps[count - 1].partition(":")
    repository = _checked("/".join([*steps[: count - 1], last]))
    rest = steps[count:]
    wanted = parse_quantization(quantization) if colon else None
    if not rest or rest == ["tree"]:
        return HubRef(repository=repository, quantization=wanted)
    view, encoded = rest[0], rest[1:]
    # Other branches with a slash in their name are written with %2F; these the Hub itself writes so.
    if encoded[:1] == ["refs"] and len(encoded) > 2:
        encoded = ["/".join(encoded[:3]), *encoded[3:]]
    revision, path = parse_revision(unquote(encoded[0])) if encoded else "", "/".join(map(unquote, encoded[1:]))
    if view == "tree" and revision and not path:
        return HubRef(repository=repository, revision=revision, quantization=wanted)
    if view == "tree":
        raise InvalidField("The ref is a folder of a repository; give the repository with a quantization, or one file.")
    if view not in _VIEWS_OF_A_FILE or not path:
        raise InvalidField(
            "The ref is neither a repository (…/org/repo) nor one file of it (…/org/repo/blob/main/file)."
        )
    if wanted is not None:
        raise InvalidField("A quantization chooses among the files of a repository; the ref names one file already.")
    return HubRef(repository=repository, revision=revision, path=path)


def _checked(repository: str) -> str:
    if not is_repository(repository):
        raise InvalidField("The ref names no repository: org/repo, of letters, digits, dots, hyphens and underscores.")
    return repository


def parse_revision(text: str) -> str:
    """The name of a branch, a tag or a commit, as it is. InvalidField."""
    if not _REVISION.fullmatch(text) or ".." in text or len(text) > _MOST_OF_A_REVISION:
        raise InvalidField("The ref names no revision: a branch, a tag or a commit.")
    return text
