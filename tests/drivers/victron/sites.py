"""Sites of users as images: the usual one, with other services."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from tests.simulators.image import ModbusImage, Vector, load

GX: Final[Vector] = load("victron")[0]
"""A usual site: VE.Bus at 227, a BMS at 225 with -18.4 A, a grid meter at 40."""

BATTERY, VEBUS, METER = (GX["units"][unit] for unit in ("225", "227", "40"))
IDLE_SYSTEM = {"841": 0, "842": 0, "865": 0, "866": 0}
IDLE_BATTERY = {"256": 0, "257": 0, "258": 0, "261": 0}


def site(
    units: Mapping[str, Mapping[str, int] | None],
    system: Mapping[str, int] = MappingProxyType({}),
) -> ModbusImage:
    """Return the usual site with other services (None: absent), and values of the GX.

    The services have words by address, as those of the vectors.
    """
    present = {**GX["units"], **units}
    present["100"] = {
        **GX["units"]["100"],
        **(units.get("100") or {}),
        **system,
    }
    return ModbusImage(
        {**GX, "units": {unit: words for unit, words in present.items() if words}}
    )


def battery(amps: float, watts: int) -> dict[str, int]:
    """Return the registers of a battery."""
    changed = {"258": watts & 0xFFFF, "261": round(amps * 10) & 0xFFFF}
    return {**BATTERY, **changed}


def vebus(amps: float, watts: int) -> dict[str, int]:
    """Return the registers of a VE.Bus system; `watts` at the AC input."""
    changed = {"12": watts // 10 & 0xFFFF, "27": round(amps * 10) & 0xFFFF}
    return {**VEBUS, **changed}


def name(text: str, address: int) -> dict[str, int]:
    """Return the words of a custom name."""
    letters: bytes = text.encode("latin-1").ljust(16, b"\0")
    return {
        str(address + place): int.from_bytes(letters[2 * place : 2 * place + 2])
        for place in range(8)
    }


def pv_inverter(watts: int) -> dict[str, int]:
    """Return the registers of a PV inverter."""
    none = dict.fromkeys(map(str, range(1026, 1078)), 0)
    return {**none, "1029": watts & 0xFFFF}
