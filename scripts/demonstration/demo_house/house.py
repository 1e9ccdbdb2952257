"""The house behind all simulated devices, with one meter for each kind of energy."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

type Measured = Mapping[str, float]


class Key(StrEnum):
    """The quantities of the house: powers in W, energies in kWh."""

    GRID_POWER = "grid_power"
    PV_POWER = "pv_power"
    LOAD_POWER = "load_power"
    ENERGY_IMPORTED = "energy_imported"
    ENERGY_EXPORTED = "energy_exported"
    ENERGY_PV = "energy_pv"


_COUNTED_BEFORE: Final[Mapping[Key, float]] = {
    Key.ENERGY_IMPORTED: 6204.0,
    Key.ENERGY_EXPORTED: 3518.0,
    Key.ENERGY_PV: 11940.0,
}
"""The counters when the devices began to count, kWh."""


def measure(devices: Iterable[Measured]) -> dict[Key, float]:
    """Return the house's quantities from those of its devices (W, Wh).

    The grid meter counts what each device's phase imports and exports by itself, so its
    counters never fall.
    """
    states = list(devices)
    totals = {key: sum(state[key] for state in states) for key in Key}
    return {
        key: round(_COUNTED_BEFORE[key] + total / 1000, 3)
        if key in _COUNTED_BEFORE
        else round(total, 1)
        for key, total in totals.items()
    }
