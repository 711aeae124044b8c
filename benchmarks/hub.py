"""As much of the Hub as its client and arwd ask for one model: it lists, pins, and redirects to where the bytes are.

    python -m benchmarks.hub WWW PORT WHERE_THE_BYTES_ARE

Below WWW `small/` holds what the Hub serves itself, `blobs/` what it keeps in its storage.
"""

import hashlib
import json
import random
import struct
import sys
from pathlib import Path
from typing import Any

from aiohttp import web

from arwd.model import git_blob_sha1

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def layout(path: Path, size: int, dice: random.Random) -> None:
    """A safetensors file with one tensor of so many bytes."""
    head = json.dumps({"t": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    block = dice.randbytes(1 << 20)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(head)) + head)
        while size:
            size -= file.write(block[:size])


def entry(path: Path, *, is_large: bool) -> dict[str, Any]:
    size = path.stat().st_size
    with path.open("rb") as file:
        if is_large:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return {
                "type": "file", "path": path.name, "size": size, "oid": "0" * 40,
                "lfs": {"oid": digest, "size": size, "pointerSize": 134},
            }  # fmt: skip
        hasher = git_blob_sha1(size)
        hasher.update(file.read())
    return {"type": "file", "path": path.name, "size": size, "oid": hasher.hexdigest()}


def main() -> None:
    www, port, bytes_at = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    small = [entry(path, is_large=False) for path in sorted((www / "small").iterdir())]
    trees = {
        "org/small": small,
        "org/sent-on": small,
        "org/large": [entry(path, is_large=True) for path in sorted((www / "blobs").iterdir())],
    }

    async def model(request: web.Request) -> web.Response:
        name = f"org/{request.match_info['name']}"
        siblings = [{"rfilename": file["path"]} for file in trees[name]]
        return web.json_response({
            "id": name, "modelId": name, "sha": COMMIT, "private": False, "gated": False, "disabled": False, "tags": [],
            "downloads": 0, "likes": 0, "siblings": siblings,
        })  # fmt: skip

    async def tree(request: web.Request) -> web.Response:
        return web.json_response(trees[f"org/{request.match_info['name']}"])

    async def resolve(request: web.Request) -> web.Response:
        path = request.match_info["path"]
        file = next(file for file in trees["org/large"] if file["path"] == path)
        return web.Response(
            status=302,
            headers={
                "Location": f"{bytes_at}/blobs/{path}?signature=none",
                "X-Repo-Commit": COMMIT,
                "X-Linked-Etag": f'"{file["lfs"]["oid"]}"',
                "X-Linked-Size": str(file["size"]),
            },
        )

    app = web.Application()
    app.add_routes([
        web.get("/api/models/org/{name}", model),
        web.get("/api/models/org/{name}/revision/{revision}", model),
        web.get("/api/models/org/{name}/tree/{revision}", tree),
        web.get("/org/large/resolve/{revision}/{path}", resolve),
    ])  # fmt: skip
    web.run_app(app, host="127.0.0.1", port=port, print=None)


if __name__ == "__main__":
    main()
