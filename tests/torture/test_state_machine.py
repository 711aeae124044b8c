"""The long form of tests/integration/test_state_machine.py."""

import os
from pathlib import Path

import pytest

from tests.integration.test_state_machine import run
from tests.nursery import Nursery

EXAMPLES = int(os.environ.get("ARWD_TEST_EXAMPLES", "2000"))


@pytest.mark.timeout(0)
def test_two_thousand_lives_of_fifty_steps(nursery: Nursery, tmp_path: Path) -> None:
    run(nursery, tmp_path, examples=EXAMPLES, steps=50)
