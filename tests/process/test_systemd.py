"""The units that are shipped say what systemd understands, and leave arwd little that it does not need."""

from pathlib import Path

import pytest

from tests import processes

pytestmark = pytest.mark.needs("systemd-analyze")

UNITS = Path(__file__).parent.parent.parent / "systemd"
THRESHOLD = 15
"""Tenths of systemd's measure of exposure: 1.5 of 10, where it begins to call a service well protected at 2."""


async def test_systemd_has_nothing_to_say_about_the_units() -> None:
    ended = await processes.run("systemd-analyze", "verify", *map(str, sorted(UNITS.iterdir())))
    assert (ended.status, ended.output, ended.errors) == (0, "", "")


async def test_the_service_is_well_shut_in() -> None:
    ended = await processes.run(
        "systemd-analyze", "security", "--no-pager", "--offline=true", f"--threshold={THRESHOLD}",
        str(UNITS / "arwd.service"),
    )  # fmt: skip
    assert ended.status == 0, ended.output
    assert "Overall exposure level for arwd.service" in ended.output
