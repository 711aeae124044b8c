"""The long form of tests/integration/test_mutating_server.py."""

import os
from pathlib import Path

import pytest

from tests.integration.test_mutating_server import judge, outcomes_of

RUNS = int(os.environ.get("ARWD_TEST_RUNS", "10000"))


@pytest.mark.timeout(0)
async def test_ten_thousand_servers(tmp_path: Path) -> None:
    judge(await outcomes_of(tmp_path, RUNS))
