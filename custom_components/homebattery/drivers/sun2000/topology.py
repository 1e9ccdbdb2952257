"""The topology of an inverter: its phases, PV strings, meter, batteries and packs.

It is discovered once when connecting, by reading, so that no poll asks for registers
that are not there.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
import re
from typing import Final

from ..battery.parts import Part, PartKind
from ..errors import NotSupportedError
from ..measurements import Value
from ..modbus.device import ModbusDevice
from ..modbus.register import Register
from .measurements import number
from .registers import (
    BATTERY_MODELS,
    BATTERY_PRODUCTS,
    CONTROL,
    IDENTITY,
    LINE_VOLTAGES,
    PACKS,
    TOTALS,
    TOTALS_OF_UNIT_1,
    UNITS,
    battery_pack,
    inverter,
    meter,
    pack_serial_number,
)

_SINGLE_PHASE_IDS: Final = range(338, 350)
_SINGLE_PHASE_NAMES: Final = re.compile(r"-L[0-9A-Z]*$")
"""L0, L1, LB…"""

_EVERY_PACK: Final = [
    pack_serial_number(unit, pack) for unit in UNITS for pack in PACKS
]
ASKED: Final[tuple[Register, ...]] = (
    *inverter(phases=3, strings=0, mppts=0),
    *meter(phases=3),
    *BATTERY_PRODUCTS,
    *TOTALS,
    *_EVERY_PACK,
)
"""The registers that show the topology."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """The parts of an inverter."""

    phases: int = 3
    strings: int = 0
    mppts: int = 0
    power: float | None = None
    """The most it puts out, W."""
    meter_phases: int = 3
    products: Mapping[int, int] = field(default_factory=dict)
    """The kind of battery by battery unit; absent units are not in it."""
    packs: Collection[tuple[int, int]] = ()
    """Unit and number of each battery pack."""
    has_totals: bool = True
    """False where only battery unit 1 reports its values."""

    @property
    def batteries(self) -> frozenset[tuple[int, int]]:
        """The parts of the battery that were seen: (unit, pack), pack 0 for a unit."""
        return frozenset((*((unit, 0) for unit in self.products), *self.packs))

    @property
    def inverter(self) -> tuple[Register, ...]:
        """The registers of the inverter itself."""
        return inverter(self.phases, self.strings, self.mppts)

    @property
    def meter(self) -> tuple[Register, ...]:
        """The registers of its power meter, present or not."""
        return meter(self.meter_phases)

    @property
    def battery(self) -> tuple[Register, ...]:
        """The registers of the battery, its units and its packs."""
        return (
            *(TOTALS if self.has_totals else TOTALS_OF_UNIT_1),
            *CONTROL,
            *(register for unit in self.products for register in UNITS[unit]),
            *(
                register
                for unit, pack in self.packs
                for register in battery_pack(unit, pack)
            ),
        )


async def discover(device: ModbusDevice, model: str) -> Topology:
    """Return the topology of the inverter `model`; `device` has the registers `ASKED`.

    Raises the errors of reading, except for registers that do not exist.
    """
    identity = await _read(
        device, [each.name for each in IDENTITY if 30070 <= each.address < 30083]
    )
    phases = await _phases(device, model, identity)
    products = await _products(device)
    packs = await _packs(device, products)
    totals = {} if not products else await _read(device, ["battery_soc"])
    return Topology(
        phases=phases,
        strings=int(number(identity.get("pv_strings"))),
        mppts=int(number(identity.get("mppts"))),
        power=number(identity.get("max_active_power"))
        or number(identity.get("rated_power"))
        or None,
        meter_phases=await _meter_phases(device, phases),
        products=products,
        packs=packs,
        has_totals="battery_soc" in totals,
    )


async def discover_batteries(device: ModbusDevice) -> frozenset[tuple[int, int]]:
    """Return the `batteries` of the inverter; raises the errors of `discover`."""
    products = await _products(device)
    packs = await _packs(device, products)
    return Topology(products=products, packs=packs).batteries


def battery_unit(
    unit: int, product: int, keys: Collection[str], texts: Mapping[str, Value]
) -> Part:
    """Return a battery unit; its `texts` have been read with everything else."""
    name = f"battery{unit}_"
    manufacturer, model = BATTERY_MODELS.get(product, (None, None))
    return Part(
        kind=PartKind.BATTERY_UNIT,
        number=unit,
        keys=frozenset(key for key in keys if key.startswith(name)),
        manufacturer=manufacturer,
        model=model,
        serial_number=_text(texts.get(f"{name}serial_number")),
        firmware=_text(texts.get(f"{name}firmware")),
    )


def _text(value: Value) -> str | None:
    """Return a text that is not empty; None for an empty one."""
    return str(value) if value else None


async def _phases(
    device: ModbusDevice, model: str, identity: Mapping[str, Value]
) -> int:
    """Return the inverter's phases: by its kind, or by its voltages.

    New models are in no list yet; a single-phase one has a single voltage.
    """
    if (
        identity.get("model_id") in _SINGLE_PHASE_IDS
        or _SINGLE_PHASE_NAMES.search(model) is not None
    ):
        return 1
    lines = await _read(device, LINE_VOLTAGES)
    first, *others = (number(lines.get(line)) for line in LINE_VOLTAGES)
    return 1 if first > 0 and not any(others) else 3


async def _meter_phases(device: ModbusDevice, phases: int) -> int:
    """Return the phases of the meter; those of the inverter while it is offline."""
    status = await _read(device, ["meter_status"])
    if status.get("meter_status") != "normal":
        return phases
    kind = await _read(device, ["meter_type"])
    return 1 if kind.get("meter_type") == "single_phase" else 3


async def _products(device: ModbusDevice) -> dict[int, int]:
    """Return the kind of battery that each battery unit is."""
    names = [register.name for register in BATTERY_PRODUCTS]
    values = await _read(device, names)
    products = {
        unit: int(number(values.get(name)))
        for unit, name in zip(UNITS, names, strict=True)
    }
    return {unit: product for unit, product in products.items() if product}


async def _packs(device: ModbusDevice, units: Collection[int]) -> list[tuple[int, int]]:
    """Return unit and number of each battery pack in these units."""
    return [
        (unit, pack)
        for unit in units
        for pack in PACKS
        if await _is_pack(device, unit, pack)
    ]


async def _is_pack(device: ModbusDevice, unit: int, pack: int) -> bool:
    """Return True for a pack; an empty slot has no serial number, or no registers."""
    name = pack_serial_number(unit, pack).name
    return bool((await _read(device, [name])).get(name))


async def _read(device: ModbusDevice, names: Collection[str]) -> dict[str, Value]:
    """Return registers; absent are only those that the device does not have."""
    report = await device.read(names)
    for failure in report.failures.values():
        if not isinstance(failure, NotSupportedError):
            raise failure
    return report.values
