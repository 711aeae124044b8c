"""A state directory for those who test what lies in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from arwd.store.layout import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[Layout]:
    made = Layout(tmp_path / "state")
    made.prepare()
    yield made
    made.release()
