"""A simulated battery in Home Assistant: added, changed, and over a restart."""

from typing import Any

from homeassistant.config_entries import (
    SOURCE_RECONFIGURE,
    SOURCE_USER,
    ConfigEntry,
    ConfigEntryState,
)
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers import device_registry as dr
from homeassistant.util import dt as dt_util
import pytest

from custom_components.homebattery.const import DOMAIN
from custom_components.homebattery.drivers import SimulatedBattery
from custom_components.homebattery.drivers.simulated.device import SimulatedDevice
from tests.control.lease_support import after_a_crash, stored
from tests.home import LOAD, MakeHome, Warp, house_of
from tests.in_process import InProcessDevice
from tests.simulators import ManualClock


@pytest.fixture(autouse=True)
def _own_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the devices that a test makes end with it."""
    monkeypatch.setattr(SimulatedDevice, "_by_serial_number", {})


@pytest.fixture
async def device(clock: ManualClock) -> InProcessDevice:
    return InProcessDevice(house_of(InProcessDevice, clock))


async def add(hass: HomeAssistant, **typed: Any) -> ConfigEntry:
    """Add a simulated battery by its form, with the defaults unless typed."""
    flow = hass.config_entries.flow
    menu = await flow.async_init(DOMAIN, context={"source": SOURCE_USER})
    form = await flow.async_configure(menu["flow_id"], {"next_step_id": "simulated"})
    assert form["step_id"] == "simulated"
    created = await flow.async_configure(form["flow_id"], typed)
    assert created["type"] is FlowResultType.CREATE_ENTRY
    await hass.async_block_till_done()
    entry: ConfigEntry = created["result"]
    assert entry.state is ConfigEntryState.LOADED
    return entry


async def test_the_form_can_be_sent_as_it_is(hass: HomeAssistant) -> None:
    """The device page says of what kind the battery is."""
    entry = await add(hass)
    assert entry.title == "Simulated battery"
    [device] = dr.async_entries_for_config_entry(dr.async_get(hass), entry.entry_id)
    assert device.manufacturer == "Home Battery"
    assert device.model == "Simulated battery"
    assert device.serial_number == entry.unique_id == entry.data["serial_number"]


async def test_each_of_several_has_a_name_of_its_own(hass: HomeAssistant) -> None:
    first = await add(hass)
    second = await add(hass)
    named = await add(hass, name="Garage")
    assert len({first.unique_id, second.unique_id, named.unique_id}) == 3
    assert second.title == f"Simulated battery {str(second.unique_id)[-4:]}"
    assert named.title == "Garage"


async def test_its_size_can_be_changed_and_it_stays_the_same_battery(
    hass: HomeAssistant,
) -> None:
    entry = await add(hass, battery_capacity=10)
    before = dict(entry.data)
    form = await hass.config_entries.flow.async_init(
        DOMAIN, context={"source": SOURCE_RECONFIGURE, "entry_id": entry.entry_id}
    )
    done = await hass.config_entries.flow.async_configure(
        form["flow_id"],
        {
            "battery_capacity": 20,
            "rated_power": 3000,
            "pv_peak": 0,
            "mean_load": before["mean_load"],
        },
    )
    assert done["reason"] == "reconfigure_successful"
    await hass.async_block_till_done()
    assert entry.data == {
        **before,
        "battery_capacity": 20,
        "rated_power": 3000,
        "pv_peak": 0,
    }
    battery = entry.runtime_data.battery
    assert battery.setpoint_limits.maximum == 3000
    assert await battery.get("rated_capacity") == 20


@pytest.mark.parametrize("zone", ["Pacific/Auckland", "America/Los_Angeles"])
async def test_its_day_is_that_of_home_assistant(
    hass: HomeAssistant, zone: str
) -> None:
    """The time zone of Home Assistant may be another one than that of its machine."""
    await hass.config.async_set_time_zone(zone)
    entry = await add(hass)
    there = await dt_util.async_get_time_zone(zone)
    assert entry.runtime_data.battery.device.local_time().tzinfo == there


async def test_its_counters_go_on_after_a_restart(
    make_home: MakeHome, device: InProcessDevice, warp: Warp
) -> None:
    """Its house begins anew with the process; statistics must not see that."""
    await device.start()
    home = make_home(device)
    assert await home.set_up()
    await warp(3600)
    await warp(61)
    before = float(home.state("energy_discharged_total"))
    assert before == pytest.approx(1 + LOAD / 1000 / 0.95, abs=0.02)

    await device.stop()
    await home.hass.config_entries.async_reload(home.entry.entry_id)
    await home.hass.async_block_till_done()
    await warp(10)
    battery = home.data.battery
    assert isinstance(battery, SimulatedBattery)
    assert battery.device is not device.device
    after = float(home.state("energy_discharged_total"))
    assert before <= after < before + 0.1


async def test_a_setpoint_ends_with_its_process(
    make_home: MakeHome, device: InProcessDevice, hass_storage: dict[str, Any]
) -> None:
    """The lease that stays on disk has nothing any more to resume or restore."""
    await device.start()
    dead = make_home(device)
    assert await dead.set_up()
    await dead.set_power(1000)
    alive = await after_a_crash(dead, make_home, hass_storage)
    await device.stop()
    assert await alive.set_up()
    assert alive.state("control_mode") == "automatic"
    assert alive.state("working_mode") == "self_consumption"
    assert stored(hass_storage, alive) is None
