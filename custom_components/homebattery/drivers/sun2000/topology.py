"""The topology of an inverter: its phases, PV strings, meter, batteries and packs.

It is discovered when connecting, by reading, so that no poll asks for registers that
are not there. A refusal or a missing answer may be a passing one: what it seems to
lack is looked for again each hour.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
import re
from typing import Final

from ..absence import CERTAIN_REFUSALS
from ..battery.parts import Part, PartKind
from ..errors import BatteryError, NotSupportedError
from ..measurements import Value
from ..modbus.device import ModbusDevice
from ..modbus.register import Register
from ..modbus.silence import MOST_AT_FIRST, Silence
from .house import INVERTERS_POWER, Gateway
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
_SINGLE_PHASE_NAMES: Final = re.compile(r"^SUN2000L-|-(L[0-9A-Z]*|[A-Z]+L[0-9]+)(-|$)")
"""SUN2000L; L0, L1, LB…, also after a market: JPL1, NHL2."""
_THREE_PHASE_NAMES: Final = re.compile(r"-M[0-9A-Z]*(-|$)")
"""M0, M1, MAP0, MB0…"""

_METER_PHASES: Final[Mapping[Value, int]] = {"single_phase": 1, "three_phase": 3}
_SOC: Final = "battery_soc"
_UNKNOWN: Final = -1
"""The kind of a battery, or the phases of a meter, that does not report it now."""

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
    meter_phases: int | None = None
    """Those of the power meter; None while it is offline."""
    is_meter_kind_known: bool = True
    """False where an online meter does not report it now."""
    products: Mapping[int, int] = field(default_factory=dict)
    """The kind of battery by battery unit; absent units are not in it."""
    packs: Collection[tuple[int, int]] = ()
    """Unit and number of each battery pack."""
    has_totals: bool = True
    """False where only battery unit 1 reports its values."""
    is_whole: bool = True
    """Whether no question failed."""
    gateway: Gateway | None = None
    """That in front of it, which measures the house where it has no meter."""

    def has_more(self, before: Topology) -> bool:
        """Return True for something that was not known `before`."""
        known = {unit: kind for unit, kind in self.products.items() if kind != _UNKNOWN}
        return (
            not known.items() <= before.products.items()
            or not {*self.packs} <= {*before.packs}
            or (self.strings, self.mppts) > (before.strings, before.mppts)
            or self.phases < before.phases
            or (bool(known) and self.has_totals > before.has_totals)
            or (before.power is None and self.power is not None)
            or self._has_another_meter(before)
            or self._measures_otherwise(before)
        )

    def _has_another_meter(self, before: Topology) -> bool:
        """Return True for a meter that has other phases than were known `before`."""
        return self.is_meter_kind_known and self.meter_phases not in (
            None,
            before.meter_phases or before.phases,
        )

    def _measures_otherwise(self, before: Topology) -> bool:
        """Return True for a gateway, or a meter, that was not there `before`.

        Or where the gateway's meter has another place, or the load needs the power of
        more inverters, or of one only.
        """
        now, then = self.gateway, before.gateway
        has_meter = self.meter_phases is not None
        if now is None:
            return has_meter and then is not None and bool(then.registers)
        if then is None or now.is_another(then):
            return True
        if not then.registers:
            return bool(now.registers)
        if has_meter or now.is_elsewhere(then):
            return True
        # The sum of all is right for any number of them.
        return now.inverters is not None and then.inverters_power not in (
            INVERTERS_POWER,
            now.inverters_power,
        )

    @property
    def inverter(self) -> tuple[Register, ...]:
        """The registers of the inverter itself."""
        return inverter(self.phases, self.strings, self.mppts)

    @property
    def meter(self) -> tuple[Register, ...]:
        """The registers of its power meter, present or not."""
        return meter(1 if self.has_single_phase_meter else 3)

    @property
    def has_single_phase_meter(self) -> bool:
        """Whether the power meter has a single phase, as far as known."""
        return (self.meter_phases or self.phases) == 1

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

    A question that fails leaves its part of the topology unknown. Raises the errors of
    a device that is out of reach, RequestTimeoutError when more than one question gets
    no answer, and the error of the question whether there is a battery.
    """
    return await _Discovery(device, model).run()


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


class _Discovery:
    """The questions by which a topology is discovered."""

    def __init__(self, device: ModbusDevice, model: str) -> None:
        self._device = device
        self._model = model
        self._silence = Silence(answered=True, most=MOST_AT_FIRST)
        self._failures: dict[str, BatteryError] = {}
        """The failures of registers that may be there all the same."""

    async def run(self) -> Topology:
        """Ask all questions; raises what `discover` raises."""
        identity = await self._read(
            [each.name for each in IDENTITY if 30070 <= each.address < 30083]
        )
        phases = await self._phases(identity)
        products = await self._products()
        packs = await self._packs(products)
        totals = {} if not products else await self._read([_SOC])
        meter_phases = await self._meter_phases()
        return Topology(
            phases=phases,
            strings=int(number(identity.get("pv_strings"))),
            mppts=int(number(identity.get("mppts"))),
            power=number(identity.get("max_active_power"))
            or number(identity.get("rated_power"))
            or None,
            meter_phases=phases if meter_phases == _UNKNOWN else meter_phases,
            is_meter_kind_known=meter_phases != _UNKNOWN,
            products=products,
            packs=packs,
            # What fails otherwise than by being absent counts as there.
            has_totals=_SOC in totals or _SOC in self._failures,
            is_whole=not self._failures,
        )

    async def _phases(self, identity: Mapping[str, Value]) -> int:
        """Return the inverter's phases: by its number or name, or by its voltages.

        New models are in no list yet. A single-phase one has a single voltage; at night
        it has none, and only its name tells. A single voltage may be a passing state of
        one whose name says that it has three phases.
        """
        if (
            identity.get("model_id") in _SINGLE_PHASE_IDS
            or _SINGLE_PHASE_NAMES.search(self._model) is not None
        ):
            return 1
        if _THREE_PHASE_NAMES.search(self._model) is not None:
            return 3
        lines = await self._read(LINE_VOLTAGES)
        first, *others = (number(lines.get(line)) for line in LINE_VOLTAGES)
        return 1 if first > 0 and not any(others) else 3

    async def _meter_phases(self) -> int | None:
        """Return the phases of the meter; None while it is offline.

        They are _UNKNOWN where it does not report its kind: taken for the inverter's.
        """
        status = await self._read(["meter_status"])
        if status.get("meter_status") != "normal":
            return None
        kind = (await self._read(["meter_type"])).get("meter_type")
        return _METER_PHASES.get(kind, _UNKNOWN)

    async def _products(self) -> dict[int, int]:
        """Return the kind of battery that each battery unit is.

        One that cannot be asked is there if it has an SOC. Raises its error where that
        is not known either: without a battery, none could be released.
        """
        names = [register.name for register in BATTERY_PRODUCTS]
        values = await self._read(names, tries=CERTAIN_REFUSALS)
        products = {
            unit: int(number(values.get(name)))
            for unit, name in zip(UNITS, names, strict=True)
        }
        if (failure := self._failures.get(names[0])) is not None:
            if not (await self._read([_SOC])).get(_SOC):
                raise failure
            products[1] = _UNKNOWN
        return {unit: product for unit, product in products.items() if product}

    async def _packs(self, units: Collection[int]) -> list[tuple[int, int]]:
        """Return unit and number of each battery pack in these units."""
        return [
            (unit, pack)
            for unit in units
            for pack in PACKS
            if await self._is_pack(unit, pack)
        ]

    async def _is_pack(self, unit: int, pack: int) -> bool:
        """Return True for a pack; an empty slot has no serial number or registers."""
        name = pack_serial_number(unit, pack).name
        return bool((await self._read([name])).get(name))

    async def _read(
        self, names: Collection[str], *, tries: int = 1
    ) -> Mapping[str, Value]:
        """Return registers; absent are those that are missing, or fail."""
        report = await self._device.read(names, silence=self._silence)
        for _ in range(tries - 1):
            refused = {
                name
                for name, failure in report.failures.items()
                if isinstance(failure, NotSupportedError)
            }
            report.add(await self._device.read(refused, refused, self._silence))
        if self._silence.is_over:
            raise self._silence.error
        for name, failure in report.failures.items():
            if name not in report.values and not isinstance(failure, NotSupportedError):
                self._failures[name] = failure
        return report.values
