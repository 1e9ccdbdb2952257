"""Words that come damaged once, as data loggers and gateways make them up now and then.

A setpoint is written to flash, and what is restored as well: no single read decides.
"""

import pytest

from custom_components.homebattery.drivers.deye.plans import SNAPSHOT
from custom_components.homebattery.drivers.errors import ProtocolError
from tests.drivers.damage import damaged
from tests.simulators.image import VectorUnits

from .support import MIDDAY, WAYS, no_waiting, on_image, vector

__all__ = ["no_waiting"]

pytestmark = pytest.mark.usefixtures("socket_enabled", "no_waiting")

both_ways = pytest.mark.parametrize("way", WAYS)


def settings_of(units: VectorUnits) -> dict[int, int]:
    """Return the words that a release restores, as they are on the inverter."""
    return {address: units.units[1][address] for address in SNAPSHOT}


def settings_reads(units: VectorUnits) -> int:
    """Return the number of reads of all settings so far."""
    return [(each.address, each.words) for each in units.traffic.reads].count((98, 94))


# The snapshot


@pytest.mark.parametrize("is_read", [True, False], ids=["polled", "not polled"])
@pytest.mark.parametrize("address", [108, 142, 177])
@both_ways
async def test_a_damaged_word_is_not_restored(
    way: str, address: int, is_read: bool
) -> None:
    """It would be written into the user's settings by the release."""
    async with on_image(vector(MIDDAY), way) as (battery, units):
        if is_read:
            await battery.read()
        before = settings_of(units)
        with damaged(units, address, 30_806):
            assert (await battery.set_power_setpoint(2500)).power == 2500
        await battery.release()

        assert settings_of(units) == before


async def test_a_snapshot_that_was_polled_costs_no_further_read() -> None:
    """What polls have read confirms it; else it is read once more."""
    async with on_image(vector(MIDDAY)) as (battery, units):
        await battery.take_snapshot()
        assert settings_reads(units) == 2
        await battery.take_snapshot()
        assert settings_reads(units) == 3
    async with on_image(vector(MIDDAY)) as (battery, units):
        await battery.read()
        before = settings_reads(units)
        await battery.take_snapshot()
        assert settings_reads(units) == before + 1


async def test_settings_that_differ_in_each_read_are_not_changed() -> None:
    """Nothing that could be restored is known."""
    async with on_image(vector(MIDDAY)) as (battery, units):
        await battery.read()
        words = iter(range(100, 200))
        read = units.read

        def shown(unit: int, start: int, count: int) -> list[int]:
            if start <= 108 < start + count:
                units.units[1][108] = next(words)
            return read(unit, start, count)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(units, "read", shown)
            with pytest.raises(ProtocolError, match="other settings"):
                await battery.set_power_setpoint(2500)

        assert units.traffic.writes == []
        assert battery.snapshot is None
        assert battery.held is None
