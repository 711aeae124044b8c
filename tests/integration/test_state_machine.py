"""No order of requests, faults and deaths loses anything. The long form is in tests/torture."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests import disks
from tests.machine import Machine
from tests.nursery import Nursery

DISK = 16
"""MiB."""


def run(nursery: Nursery, folder: Path, *, examples: int, steps: int) -> None:
    # Not shrunk: threads and sockets never do the same twice, and every step costs milliseconds.
    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
        database=None,
        print_blob=True,
    )
    with disks.small(folder / "disk", DISK) as disk:
        run_state_machine_as_test(lambda: Machine(nursery, disk), settings=chosen)


@pytest.mark.timeout(300)
def test_no_order_of_requests_faults_and_deaths_loses_anything(nursery: Nursery, tmp_path: Path) -> None:
    run(nursery, tmp_path, examples=50, steps=20)
