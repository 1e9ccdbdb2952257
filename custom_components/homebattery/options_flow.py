"""Options of a battery: its polling, its limits, and those of its driver."""

from collections.abc import Mapping
from typing import Any, Final

from homeassistant.config_entries import ConfigFlowResult, OptionsFlowWithReload
from homeassistant.const import UnitOfEnergy, UnitOfPower, UnitOfTime
from homeassistant.helpers.selector import BooleanSelector

from .const import (
    CONF_BATTERY_TYPE,
    CONF_CAPACITY,
    CONF_MAX_CHARGE_POWER,
    CONF_MAX_DISCHARGE_POWER,
    CONF_SCAN_INTERVAL,
    CONF_SETPOINT_TIMEOUT,
    LONGEST_SCAN_INTERVAL,
    LONGEST_SETPOINT_TIMEOUT,
    SCAN_INTERVAL,
    SHORTEST_SCAN_INTERVAL,
    SHORTEST_SETPOINT_TIMEOUT,
)
from .drivers import DRIVERS
from .drivers.battery.base import SetupField
from .forms import SELECTORS, flatten, form_schema, number_box

LARGEST_POWER: Final = 1_000_000
"""W; more is a typing error."""
LARGEST_CAPACITY: Final = 10_000_000
"""Wh."""
_YES_OR_NO: Final = BooleanSelector()
_POWER: Final = number_box(0, LARGEST_POWER, UnitOfPower.WATT)
OPTIONS: Final = (
    SetupField(CONF_MAX_CHARGE_POWER, required=False),
    SetupField(CONF_MAX_DISCHARGE_POWER, required=False),
    SetupField(CONF_SCAN_INTERVAL, SCAN_INTERVAL),
    SetupField(CONF_SETPOINT_TIMEOUT, required=False, advanced=True),
    SetupField(CONF_CAPACITY, required=False, advanced=True),
)
"""The options of any battery; an empty one is up to the device."""
_SELECTORS: Final[Mapping[str, object]] = {
    CONF_MAX_CHARGE_POWER: _POWER,
    CONF_MAX_DISCHARGE_POWER: _POWER,
    CONF_SCAN_INTERVAL: number_box(
        SHORTEST_SCAN_INTERVAL, LONGEST_SCAN_INTERVAL, UnitOfTime.SECONDS
    ),
    CONF_SETPOINT_TIMEOUT: number_box(
        SHORTEST_SETPOINT_TIMEOUT, LONGEST_SETPOINT_TIMEOUT, UnitOfTime.SECONDS
    ),
    CONF_CAPACITY: number_box(1, LARGEST_CAPACITY, UnitOfEnergy.WATT_HOUR),
}


class HomeBatteryOptionsFlow(OptionsFlowWithReload):
    """Change the options of a battery."""

    async def async_step_init(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for the options, those of the battery's driver among them."""
        options = self.config_entry.options
        of_driver = DRIVERS[self.config_entry.data[CONF_BATTERY_TYPE]].option_fields
        fields = (*OPTIONS, *of_driver)
        if user_input is not None:
            return self.async_create_entry(data=flatten(user_input, fields, options))
        of_fields = {
            field.name: SELECTORS.get(field.name, _YES_OR_NO) for field in of_driver
        }
        return self.async_show_form(
            step_id="init",
            data_schema=form_schema(fields, options, {**_SELECTORS, **of_fields}),
        )
