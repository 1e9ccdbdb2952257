"""Deye inverters that work in parallel, and pass their settings on to each other."""

import pytest

from custom_components.homebattery.drivers.battery.controller import DeviceIssue
from tests.drivers.conftest import Leap

from .support import MIDDAY, both_ways, on_image, vector

pytestmark = pytest.mark.usefixtures("socket_enabled", "no_waiting")


@both_ways
@pytest.mark.parametrize(
    ("words", "issues"),
    [
        pytest.param({}, set(), id="register not there"),
        pytest.param({"r336": 0}, set(), id="alone"),
        pytest.param({"r336": 0xFFFF}, set(), id="no value"),
        pytest.param({"r336": 0x0403}, {DeviceIssue.PARALLEL}, id="first of a pair"),
        pytest.param({"r336": 0x0801}, {DeviceIssue.PARALLEL}, id="second of a pair"),
        pytest.param({"r336": 1, "r20": 0, "r21": 0}, set(), id="takes no setpoint"),
    ],
)
async def test_a_setpoint_counts_for_each_of_parallel_inverters(
    way: str, words: dict[str, int], issues: set[DeviceIssue]
) -> None:
    """An issue says so once everything was read, as when it is set up."""
    async with on_image(vector(MIDDAY, **words), way) as (battery, _):
        assert battery.issues == set()
        await battery.read()
        assert battery.issues == issues


@both_ways
@pytest.mark.parametrize(("bits", "damaged"), [(0, 30_807), (3, 30_806), (3, 0xFFFF)])
async def test_one_damaged_word_does_not_change_that_there_are_others(
    bits: int, damaged: int, way: str, leap: Leap
) -> None:
    """A change is read twice: neither issue nor limits change for a while."""
    words = {"r336": bits, "r625": 0x10000 - 32_000, "r690": 0xFFFF}
    async with on_image(vector(MIDDAY, **words), way) as (battery, units):
        for first in (True, False):
            units.damaged = {336: damaged}
            if not first:
                leap(310)
            readings = await battery.read()

            assert units.damaged == {}
            assert bool(battery.issues) == bool(bits)
            assert readings["grid_power"] == (-32_000 if bits else None)


async def test_an_inverter_that_is_alone_again_has_no_issue(
    leap: Leap,
) -> None:
    """The register is read again with the firmware."""
    async with on_image(vector(MIDDAY, r336=1)) as (battery, units):
        await battery.read()
        before = battery.issues
        units.units[1][336] = 0
        leap(310)
        await battery.read(["low_soc"])

        assert before == {DeviceIssue.PARALLEL}
        assert battery.issues == set()
