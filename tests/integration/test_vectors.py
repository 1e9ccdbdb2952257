"""Home Assistant shows the states of the vectors, for images of devices."""

from typing import Any, Final

from homeassistant.const import STATE_OFF, STATE_ON, STATE_UNKNOWN
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity import Entity
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.homebattery.const import (
    CONF_BATTERY_TYPE,
    DEVICE_SETPOINT,
    DOMAIN,
    POWER_SETPOINT,
)
from custom_components.homebattery.drivers import DRIVERS
from custom_components.homebattery.drivers.battery.settings import NumberSetting
from custom_components.homebattery.drivers.measurements import MEASUREMENTS, UNITS
from tests.home import Home
from tests.simulators.image import HttpImage, ModbusImage, Vector, load, serve

VECTORS: Final = [
    vector
    for name in (
        *("victron", "sessy", "sma_sunny_island", "huawei_sun2000"),
        *("deye", "deye_single_phase"),
    )
    for vector in load(name)
    if vector["battery_type"] in DRIVERS
]
IN_HOURS: Final = 3600


def shown(home: Home, key: str) -> Any:
    """Return the state of an entity in the form of a vector; None if unknown."""
    # The number of that key is the setpoint that is held, not the device's.
    state = home.state_of(DEVICE_SETPOINT if key == POWER_SETPOINT else key)
    platform = state.entity_id.split(".")[0]
    setting = home.data.battery.settings.get(key)
    if isinstance(setting, NumberSetting) and setting.unlimited:
        return None if float(state.state) == setting.maximum else float(state.state)
    if state.state == STATE_UNKNOWN:
        return None
    if platform in ("binary_sensor", "switch"):
        if "active" in state.attributes:
            active = list(state.attributes["active"])
            assert state.state == (STATE_ON if active else STATE_OFF), key
            return active
        return {STATE_ON: True, STATE_OFF: False}[state.state]
    unit = state.attributes.get("unit_of_measurement")
    if unit is None:
        return state.state
    value = float(state.state)
    if unit == "h":
        return value * IN_HOURS
    assert unit == UNITS[MEASUREMENTS[key].quantity], key
    return value


@pytest.mark.parametrize(
    "vector",
    [
        pytest.param(vector, id=f"{vector['battery_type']}-{vector['name']}")
        for vector in VECTORS
    ],
)
async def test_states_are_those_of_the_vector(
    hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch, vector: Vector
) -> None:
    monkeypatch.setattr(Entity, "entity_registry_enabled_default", True)
    async with serve(vector) as image:
        home = await set_up(hass, image)
        for key, expected in vector["expected"].items():
            if key == "model":
                assert home.data.battery.identity.model == expected
                continue
            if expected is None and key not in home.data.battery.measurements:
                continue
            seen = shown(home, key)
            if isinstance(expected, int | float) and not isinstance(expected, bool):
                tolerance = vector.get("tolerance", {}).get(key, 1e-6)
                assert float(seen) == pytest.approx(expected, abs=tolerance), key
            else:
                assert seen == expected, key
        await hass.config_entries.async_unload(home.entry.entry_id)


async def set_up(hass: HomeAssistant, image: ModbusImage | HttpImage) -> Home:
    """Set up an image in Home Assistant."""
    battery_type = image.vector["battery_type"]
    async with DRIVERS[battery_type].from_setup(image.setup) as battery:
        serial_number = battery.identity.serial_number
    entry = MockConfigEntry(
        domain=DOMAIN,
        title="Battery",
        unique_id=serial_number,
        data={CONF_BATTERY_TYPE: battery_type, **image.setup},
    )
    entry.add_to_hass(hass)
    device: Any = image  # an image, whose values never change
    home = Home(hass, device, entry)
    assert await home.set_up()
    return home
