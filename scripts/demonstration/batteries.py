"""The batteries of the demo: how they differ, and which of them are held at first."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from .daytime import LocalTime

WEATHER: Final = (0.9, 0.35, 0.7, 0.95, 0.25, 0.6, 0.8, 0.85)
"""Shares of a clear sky, day by day; then they begin anew."""

OPTIONS: Final[Mapping[str, Mapping[str, float]]] = {
    # Large, with a small inverter: nearly full soon after noon.
    "victron": {
        "capacity": 15_000,
        "soc": 60,
        "max_charge": 1500,
        "max_discharge": 3000,
        "pv_peak": 3200,
        "mean_load": 800,
    },
    "sun2000": {"capacity": 10_000, "soc": 50, "pv_peak": 1800, "mean_load": 600},
    "deye_modbus": {
        "capacity": 30_000,
        "soc": 55,
        "pv_peak": 4200,
        "mean_load": 1100,
    },
    "deye_solarman": {
        "capacity": 18_000,
        "soc": 60,
        "bms_charge": 60,
        "pv_peak": 1300,
        "mean_load": 320,
    },
    "sessy": {"soc": 30, "pv_peak": 900, "mean_load": 350},
    # Hardly any sun: often at its minimum.
    "sma": {"capacity": 16_000, "soc": 35, "pv_peak": 1500, "mean_load": 500},
}
"""The options of each device's simulator; its SOC is that before the first day."""

SPARE: Final = "victron"
"""The type of a device that is not added, to be detected by its address."""
SPARE_OPTIONS: Final[Mapping[str, float | str]] = {
    "serial": "c0619a000002",
    "soc": 64,
    "capacity": 9600,
}


class Held(NamedTuple):
    """A setpoint that an automation might have given."""

    power: int
    """W, + = charging"""
    hours: float
    limited: bool = False
    """Whether it is more than the battery takes."""


HELD: Final[Mapping[str, Held]] = {
    "deye_solarman": Held(5000, 3, limited=True),
    "sessy": Held(1500, 2),
}


def options(battery_type: str, local_time: LocalTime, now: float) -> list[str]:
    """Return the options with which a device has lived up to the present."""
    weather = (WEATHER[day % len(WEATHER)] for day in range(local_time.days(now)))
    return _as_options(
        **OPTIONS[battery_type],
        weather=",".join(map(str, weather)),
        time_of_day=local_time.hour(now),
    )


def spare_options(local_time: LocalTime, now: float) -> list[str]:
    """Return the options of the device that is not added."""
    return _as_options(**SPARE_OPTIONS, time_of_day=local_time.hour(now))


def _as_options(**values: float | str) -> list[str]:
    return [
        text
        for name, value in values.items()
        for text in (f"--{name.replace('_', '-')}", str(value))
    ]
