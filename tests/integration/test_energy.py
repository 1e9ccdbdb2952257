"""Total energy: from the device's counter, or added up from its power."""

from homeassistant.core import State
import pytest
from pytest_homeassistant_custom_component.common import (
    mock_restore_cache_with_extra_data,
)

from custom_components.homebattery.energy import Source
from tests.home import Home, MakeHome, Warp
from tests.simulators import SessySimulator, VictronSimulator

CHARGED, DISCHARGED = "energy_charged_total", "energy_discharged_total"


async def test_counter_of_the_device_is_shown(sessy_home: Home) -> None:
    assert float(sessy_home.state(CHARGED)) == pytest.approx(1000, abs=0.1)


async def test_power_is_added_up_where_there_is_no_counter(
    victron_home: Home, victron: VictronSimulator, warp: Warp
) -> None:
    async def rates(power: float) -> tuple[float, float]:
        """Return the energy charged and discharged at a power (W), in kWh per hour."""
        await victron_home.set_power(power)
        await warp(6)
        before = [float(victron_home.state(key)) for key in (CHARGED, DISCHARGED)]
        begun = victron_home.hass.loop.time()
        for _ in range(30):
            await warp(10)
        hours = (victron_home.hass.loop.time() - begun) / 3600
        after = [float(victron_home.state(key)) for key in (CHARGED, DISCHARGED)]
        charged, discharged = (
            (now - then) / hours for now, then in zip(after, before, strict=True)
        )
        return charged, discharged

    charged, discharged = await rates(2000)
    # The battery gets less than the setpoint, by the losses of the inverter.
    power = float(victron.state()["battery_power"]) / 1000
    assert charged == pytest.approx(power, rel=0.05)
    assert discharged == 0
    charged, discharged = await rates(-2000)
    assert charged == 0
    assert discharged == pytest.approx(2, rel=0.1)


async def test_time_without_a_reading_does_not_count(
    victron_home: Home, warp: Warp
) -> None:
    await warp(6)
    before = float(victron_home.state(DISCHARGED))
    await warp(3600)
    assert float(victron_home.state(DISCHARGED)) == before


async def test_nothing_is_added_while_the_power_is_not_known(
    victron_home: Home, victron: VictronSimulator, warp: Warp
) -> None:
    await warp(6)
    await victron.misbehave("away")
    for _ in range(3):
        await warp(6)
    sensor_state = victron_home.state(DISCHARGED)
    assert sensor_state == "unavailable"
    await victron.misbehave("away", on=False)
    await warp(60)
    assert float(victron_home.state(DISCHARGED)) < 0.01


async def test_total_is_kept_over_a_restart(
    make_home: MakeHome, victron: VictronSimulator
) -> None:
    home = make_home(victron)
    restore(home, "sensor.multiplus_ii_energy_charged", Source.POWER, 12.345)
    await home.set_up()
    assert home.entity_id(CHARGED) == "sensor.multiplus_ii_energy_charged"
    assert home.state(CHARGED) == "12.345"
    assert home.state(DISCHARGED) == "0.0"


async def test_total_is_kept_over_a_reload(victron_home: Home, warp: Warp) -> None:
    for _ in range(10):
        await warp(6)
    before = float(victron_home.state(DISCHARGED))
    assert before > 0.005
    await victron_home.hass.config_entries.async_reload(victron_home.entry.entry_id)
    await victron_home.hass.async_block_till_done()
    assert float(victron_home.state(DISCHARGED)) >= before


async def test_total_once_added_up_does_not_change_to_a_counter(
    make_home: MakeHome, sessy: SessySimulator, warp: Warp
) -> None:
    home = make_home(sessy)
    restore(home, "sensor.sessy_energy_charged", Source.POWER, 3.0)
    await home.set_up()
    await warp(6)
    assert home.state(CHARGED) == "3.0"


async def test_counter_that_is_gone_is_not_replaced(
    make_home: MakeHome, victron: VictronSimulator, warp: Warp
) -> None:
    home = make_home(victron)
    restore(home, "sensor.multiplus_ii_energy_charged", Source.DEVICE, 0)
    await home.set_up()
    await warp(6)
    assert home.state(CHARGED) == "unavailable"


def restore(home: Home, entity_id: str, source: Source, energy: float) -> None:
    """Let Home Assistant restore an entity with this energy, kWh."""
    mock_restore_cache_with_extra_data(
        home.hass,
        [(State(entity_id, "0"), {"source": source.value, "energy": energy})],
    )
