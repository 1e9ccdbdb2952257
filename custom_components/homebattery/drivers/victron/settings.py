"""The settings of a GX device and its inverters, and their ranges."""

from collections.abc import Mapping
from typing import Final

from ..battery.settings import NumberSetting, SelectSetting, Setting, SwitchSetting
from .registers import BATTERY_LIFE_MODES, ESS_MODE, PEAK_SHAVING, SWITCH_POSITION

SETTING_REGISTERS: Final[Mapping[str, str]] = {
    "discharge_power_limit": "discharge_power_limit_coarse",
    "max_feed_in_power": "max_feed_in_power_coarse",
    "grid_setpoint": "grid_setpoint_volatile",
}
"""The register of each setting that is not named as the setting is."""

LARGEST: Final[Mapping[str, int]] = {
    "discharge_power_limit": 327_670,
    "max_feed_in_power": 1_000_000,
}
"""The value of each power limit, W, that stands for none on servers before 1.0.97.

It is the largest that the coarse register, and the range of the GX's settings, can
hold: -1 is refused there, without an error.
"""

OF_UNKNOWN_RANGE: Final = frozenset(
    {"ac_input_current_limit", "ac_export_limit", "ac_import_limit"}
)
"""The settings whose range the device does not report: a value beyond it has another
effect, or none, without an error."""

ROUNDED_TO: Final[Mapping[str, float]] = {"min_soc": 5}
"""The step to which some firmware rounds a setting, in its unit."""


def gx_settings(rated_power: int) -> Mapping[str, Setting]:
    """Return the settings of every GX; the system converts at most `rated_power` W."""
    return {
        "working_mode": SelectSetting(options=tuple(ESS_MODE.values())),
        "ess_battery_life_mode": SelectSetting(options=tuple(BATTERY_LIFE_MODES)),
        "min_soc": NumberSetting(minimum=0, maximum=100),
        "discharge_power_limit": NumberSetting(
            minimum=0, maximum=rated_power, step=10, unlimited=True
        ),
        "charge_current_limit": NumberSetting(minimum=0, maximum=1000, unlimited=True),
        "max_feed_in_power": NumberSetting(
            minimum=0, maximum=100_000, step=100, unlimited=True
        ),
        "feed_in_dc_pv": SwitchSetting(),
        "prevent_ac_pv_feed_in": SwitchSetting(),
        "ac_export_limit": NumberSetting(minimum=0, maximum=400, unlimited=True),
        "ac_import_limit": NumberSetting(minimum=0, maximum=400, unlimited=True),
        "peak_shaving_mode": SelectSetting(options=tuple(PEAK_SHAVING.values())),
    }


ESS_SETTINGS: Final[Mapping[str, Setting]] = {
    "grid_setpoint": NumberSetting(minimum=-50_000, maximum=50_000),
}
"""The settings that come with the ESS assistant."""

VEBUS_SETTINGS: Final[Mapping[str, Setting]] = {
    "ac_input_current_limit": NumberSetting(minimum=0, maximum=400, step=0.1),
    "switch_position": SelectSetting(options=tuple(SWITCH_POSITION.values())),
}
"""The settings of a VE.Bus system."""
