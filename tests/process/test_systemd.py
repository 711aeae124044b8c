"""The units that are shipped say what systemd understands, and leave arwd little that it does not need."""

from pathlib import Path

import pytest

from arwd import cli, errors, server
from tests import processes

pytestmark = pytest.mark.needs("systemd-analyze")

UNITS = Path(__file__).parent.parent.parent / "systemd"
THRESHOLD = 15
"""Tenths of systemd's measure of exposure: 1.5 of 10, where it begins to call a service well protected at 2."""


async def test_systemd_has_nothing_to_say_about_the_units() -> None:
    ended = await processes.run("systemd-analyze", "verify", *map(str, sorted(UNITS.iterdir())))
    assert (ended.status, ended.output, ended.errors) == (0, "", "")


def setting(name: str) -> str:
    """The one value of this setting of the service."""
    lines = (UNITS / "arwd.service").read_text().splitlines()
    (value,) = (line.partition("=")[2] for line in lines if line.startswith(f"{name}="))
    return value


def test_the_manager_waits_longer_than_a_stop_can_take() -> None:
    assert int(setting("TimeoutStopSec")) > server._LAST_RESORT + 1
    # SIGTERM is for the daemon alone, the kill for all that is left.
    assert setting("KillMode") == "mixed"


def test_a_fault_that_passes_is_waited_for_and_a_wrong_setting_is_not() -> None:
    assert setting("Restart") == "on-failure"
    assert setting("RestartPreventExitStatus").split() == [str(cli.USAGE), str(errors.SettingsError.exit_status)]
    # systemd gives up for good after five starts in ten seconds.
    assert int(setting("RestartSec")) * 5 > 10


def test_the_service_can_tell_a_crash_from_a_power_cut() -> None:
    assert setting("ProcSubset") == "all"


async def test_the_service_is_well_shut_in() -> None:
    ended = await processes.run(
        "systemd-analyze", "security", "--no-pager", "--offline=true", f"--threshold={THRESHOLD}",
        str(UNITS / "arwd.service"),
    )  # fmt: skip
    assert ended.status == 0, ended.output
    assert "Overall exposure level for arwd.service" in ended.output
