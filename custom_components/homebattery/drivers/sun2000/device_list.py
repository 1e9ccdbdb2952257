"""The list of devices that an SDongle, an EMMA or a SmartLogger has behind it.

It comes with function 43 (read device identification, all objects from 0x87 on): the
number of devices, then a text for each: `1=model;2=software;…;4=serial;5=unit id;…`
[the open library huawei-solar, device_discovery.py].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ..errors import BatteryError
from ..modbus.connection import ModbusConnection

FIRST_OBJECT: Final = 0x87
_LAST_UNIT: Final = 247
INVERTERS: Final = ("SUN", "EDF ESS", "Powershifter", "SWI300")
"""The beginnings of the models of inverters."""
_METERS: Final = ("PowerMeter", "Meter")
_MODEL, _SERIAL, _UNIT = 1, 4, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A device of the list; of the meter at a SmartLogger the model is its kind."""

    unit_id: int
    model: str | None = None
    serial_number: str | None = None

    @property
    def is_inverter(self) -> bool:
        """Whether it is an inverter, by its model."""
        return self.model is not None and self.model.startswith(INVERTERS)

    @property
    def is_meter(self) -> bool:
        """Whether it is a power meter, by its model."""
        return self.model is not None and self.model.startswith(_METERS)


async def read_device_list(
    connection: ModbusConnection, unit_id: int
) -> tuple[Listed, ...] | None:
    """Return the devices that the gateway at a unit lists; None without a list.

    Only a Huawei device should be asked: others may not know the function.
    """
    try:
        return parse(await connection.read_objects(unit_id, FIRST_OBJECT))
    except BatteryError:
        return None


def parse(objects: Sequence[bytes]) -> tuple[Listed, ...]:
    """Return the devices in the objects of a list, without what is none."""
    devices = {}
    for each in objects:
        fields = _fields(each)
        unit = fields.get(_UNIT, "")
        if unit.isdecimal() and int(unit) <= _LAST_UNIT:
            devices[int(unit)] = Listed(
                unit_id=int(unit),
                model=fields.get(_MODEL) or None,
                serial_number=fields.get(_SERIAL) or None,
            )
    return tuple(devices.values())


def _fields(text: bytes) -> dict[int, str]:
    """Return the fields of a device, by number."""
    pairs = (
        entry.partition("=") for entry in text.decode("ascii", "replace").split(";")
    )
    return {
        int(number): value.strip("\0 ")
        for number, _, value in pairs
        if number.strip().isdecimal()
    }
