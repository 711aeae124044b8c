"""Directories with what is in them: looked through, removed. Never through a link. All of it blocks."""

import contextlib
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path


def files_below(directory: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Every file at any depth, links as what they are; what goes while we look is passed over. OSError."""
    with os.scandir(directory) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    yield from files_below(Path(entry.path))
                else:
                    yield Path(entry.path), status


def remove(path: Path) -> None:
    """Remove a file, or a directory with all that is in it; nothing is there afterwards. OSError."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_files(base: Path, names: Iterable[str]) -> None:
    """Remove these files, and the folders between them and `base` in which nothing is left. OSError."""
    for name in names:
        path = base / name
        path.unlink(missing_ok=True)
        for folder in path.parents:
            if folder == base:
                break
            try:
                folder.rmdir()
            except OSError:
                break  # something else lies there, or it is gone
