"""An EMMA or a SmartLogger: its meter, another inverter, the list of devices."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from .huawei_values import Sun2000Values
from .modbus import ILLEGAL_FUNCTION, Refused
from .words import Values

READ_DEVICES: Final = b"\x2b\x0e\x03"
FIRST_OBJECT: Final = 0x87
_LARGEST: Final = 253 - 7  # bytes of objects in an answer
_MORE: Final = 0xFF
METER_UNIT: Final = 11
"""Unit id of a SmartLogger's meter, as at real sites."""
LOGGER_SERIAL: Final = "SL2250000001"
SECOND_SERIAL: Final = "HV2250654321"


class Listed(NamedTuple):
    """A device of a gateway's list."""

    unit: int
    model: str
    serial: str
    software: str = ""

    @property
    def text(self) -> bytes:
        """The device as the list has it."""
        return (
            f"1={self.model};2={self.software};3=P1.0-D1.0;4={self.serial};"
            f"5={self.unit};6=1"
        ).encode()


def list_devices(pdu: bytes, devices: Iterable[Listed]) -> bytes:
    """Return the answer to a request of the list, in as many parts as it needs.

    The format of the count is uncertain: one byte here.
    """
    if pdu[:3] != READ_DEVICES or len(pdu) != 4:
        raise Refused(ILLEGAL_FUNCTION)
    texts = [each.text for each in devices]
    objects = dict(enumerate((bytes((len(texts),)), *texts), FIRST_OBJECT))
    answer, count, following = b"", 0, 0
    for number, value in objects.items():
        if number < pdu[3]:
            continue
        part = bytes((number, len(value))) + value
        if len(answer) + len(part) > _LARGEST:
            following = number
            break
        answer, count = answer + part, count + 1
    more = _MORE if following else 0
    return bytes((0x2B, 0x0E, 3, 3, more, following, count)) + answer


def second_inverter(values: Sun2000Values) -> Values:
    """Return the values of an inverter without battery and meter in the same house.

    It is what feeds in the panels on the AC side.
    """
    plant = values.device.plant
    power = sum(plant.pv_ac)
    own = values.now()
    idle = dict.fromkeys(own, 0)
    return {
        **idle,
        **values.identity,
        "serial": SECOND_SERIAL,
        "pv_power": power,
        "active_power": power,
        "device_status": own["device_status"],
        "state_1": own["state_1"],
        "frequency": own["frequency"],
    }


def logger_values(values: Values, _plant_load: float) -> Values:
    """Return a SmartLogger's values of the same house."""
    return {**values, "model": "SmartLogger3000", "serial": LOGGER_SERIAL}
