"""The settings of an inverter and its batteries, and their ranges."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final

from ..battery.settings import NumberSetting, SelectSetting, Setting, SwitchSetting
from ..errors import InvalidValueError
from ..measurements import Value
from .measurements import number
from .registers import (
    FEED_IN_MODE,
    LG_RESU,
    MODES_OF_OTHERS,
    PEAK_SHAVING,
    SURPLUS_PV_USE,
    WORKING_MODE,
)

_PERCENT: Final = NumberSetting(minimum=0, maximum=100, step=0.1)


def inverter_settings(power: int) -> Mapping[str, Setting]:
    """Return the settings of an inverter that puts out at most `power` W."""
    return {
        "inverter_on": SwitchSetting(),
        "feed_in_mode": SelectSetting(options=tuple(FEED_IN_MODE.values())),
        "max_feed_in_power": NumberSetting(minimum=-1000, maximum=power),
        "max_feed_in_percent": _PERCENT,
        "active_power_limit": NumberSetting(minimum=0, maximum=power),
        "active_power_limit_percent": _PERCENT,
        "mppt_scan": SwitchSetting(),
        "mppt_scan_interval": NumberSetting(minimum=300, maximum=1800, step=60),
    }


def battery_settings(
    charge: int, discharge: int, grid_charge: int, products: Collection[int]
) -> Mapping[str, Setting]:
    """Return the settings of batteries of these kinds, with their largest powers, W."""
    of_others = {MODES_OF_OTHERS.get(product) for product in products}
    modes = tuple(mode for mode in WORKING_MODE.values() if mode not in of_others)
    # Older firmware takes a minimum SOC from 12 % only, and says so itself.
    return {
        "working_mode": SelectSetting(options=modes),
        "charge_power_limit": NumberSetting(minimum=0, maximum=charge),
        "discharge_power_limit": NumberSetting(minimum=0, maximum=discharge),
        "max_soc": NumberSetting(minimum=90, maximum=100, step=0.1),
        "min_soc": NumberSetting(minimum=0, maximum=20, step=0.1),
        "backup_soc": NumberSetting(
            minimum=12 if LG_RESU in products else 0, maximum=100, step=0.1
        ),
        "grid_charge": SwitchSetting(),
        "grid_charge_cutoff_soc": NumberSetting(minimum=20, maximum=100, step=0.1),
        "grid_charge_power_limit": NumberSetting(minimum=0, maximum=grid_charge),
        "surplus_pv_use": SelectSetting(options=tuple(SURPLUS_PV_USE.values())),
        "peak_shaving_mode": SelectSetting(options=tuple(PEAK_SHAVING.values())),
        "peak_shaving_soc": _PERCENT,
    }


async def check_peak_shaving(
    get: Callable[[str], Awaitable[Value]], where: str, key: str, value: Value
) -> None:
    """Raise InvalidValueError for a value that needs another setting first.

    `get` reads a setting; `where` names the device in errors.
    """
    if key == "peak_shaving_mode" and value == PEAK_SHAVING[1]:
        if not await get("grid_charge"):
            raise InvalidValueError(
                f"{where}: peak shaving of active power needs charging "
                "from the grid to be allowed first"
            )
    elif key == "peak_shaving_soc":
        lowest = number(await get("min_soc"))
        if number(value) < lowest:
            raise InvalidValueError(
                f"{key} cannot be {value}: not below the minimum SOC, {lowest:g}"
            )
