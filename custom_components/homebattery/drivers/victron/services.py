"""The kinds of services of a GX device: where they may be, and how they differ.

Unit ids differ from site to site, and no register lists them, so the likely ones are
asked. The order follows Victron's own programs: the server's table of ports
(dbus_modbustcp, unitid2di.csv), the numbers that meters and PV inverters begin at
(dbus-modbus-client 40 and 20, dbus-cgwacs 30, dbus-fronius 20), and instance 0, which
a device on VE.Can has and which answers at unit 100. Drivers of third parties add
batteries from 1 (dbus-serialbattery), at 41 (dbus-mqtt-battery) and at 99
(dbus-aggregate-batteries).

The GX copies its own values from the services that it uses (dbus-systemcalc-py): of
several the one is right whose values they are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

type Block = tuple[int, int]
"""The address of the first word, and the number of words."""
type Words = Sequence[int]
type Answers = Sequence[Words | None]
"""The words of some blocks; None where they do not exist."""

_GX_PORTS: Final = (227, 228, 242, 246)
"""The VE.Bus ports of the GX models: the one that is there is the GX's own system."""
_USB: Final = (239, 238, 237, 236, 235, 234, 233, 232, 231)
_VE_DIRECT: Final = (223, 224, 226, 229, 230)
_CAN_BMS: Final = 225
_INSTANCE_0: Final = 100
_AGGREGATE: Final = 99

PLACES: Final = {
    **dict.fromkeys(_GX_PORTS, "VE.Bus"),
    **dict.fromkeys(_USB, "USB"),
    **dict.fromkeys((*_VE_DIRECT, 243, 245, 247), "VE.Direct"),
    _CAN_BMS: "CAN-bus BMS",
    _INSTANCE_0: "VE.Can",
    _AGGREGATE: "AggregateBatteries",
}
"""Names of services that have none of their own."""

VEBUS_UNITS: Final = (
    *_GX_PORTS,
    *_USB,
    *range(204, 227),
    *(229, 230, 243, 244, 245, 247),
    *range(1, 61),
    _INSTANCE_0,
)
BATTERY_UNITS: Final = (
    *(_CAN_BMS, *_VE_DIRECT, *_USB, 243, 245, 247),
    *(_INSTANCE_0, _AGGREGATE),
    *range(1, 99),
    *(101, *range(204, 223), 244),
)
GRID_UNITS: Final = (
    *(30, 40, _INSTANCE_0, 31, 32, 33, 34, 28, 29),
    *range(35, 40),
    *range(41, 46),
)
PV_BEGINNINGS: Final = (20, 21, 30, 40)
"""All but 20 are only asked while AC_PV_POWERS shows power. dbus-fronius never gives a
number again, so 20 may be that of an inverter that was replaced; 30 and 40 are where
meters begin."""
PV_UNITS: Final = range(20, 50)
"""Those that are asked for further ones."""
AC_PV_POWERS: Final[Block] = (808, 9)
"""The power of all PV inverters at the GX, by place and phase."""

_DISTINCT_CURRENT: Final = 2.0
"""A, below which several services may fit by chance."""
_SHARE: Final = 0.1
"""Share by which values of the same moment may differ."""
_NIGHT: Final = 0xF000
_LEAST_PV_POWER: Final = 50
"""W of AC-coupled PV that need no PV inverter beside those that were seen."""
_NO_SOURCE: Final = (0, 240)
"""The codes of 826 while there is no power at the AC input."""


class Fit(IntEnum):
    """Whether a service is the one that the GX uses."""

    NO = 0
    POSSIBLE = 1
    CERTAIN = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of services: where they may be, and how two of them are compared."""

    units: Sequence[int]
    """The unit ids that are asked, in this order."""
    probe: Block
    is_there: Callable[[Words], bool] = lambda _: True
    """Whether the answer to `probe` is that of such a service."""
    blocks: Sequence[Block]
    """Further words that are compared, or shown."""
    system: Sequence[Block]
    """The words of the GX that they are compared with."""
    compare: Callable[[Answers, Answers], Fit]
    """Compare the words of `probe` and `blocks` with those of `system`."""
    describe: Callable[[Answers], str]
    """Return present values for a list."""
    names: Sequence[Block]
    """The blocks that may have a name, in this order."""
    ports: Sequence[int] = ()
    """The units at which a service that may be the right one nearly ends the search,"""
    besides: Sequence[int] = ()
    """for of the others only these are asked."""


def _signed(word: int) -> int:
    return word - 0x10000 if word & 0x8000 else word


def _pv_power(word: int) -> int:
    """Return a power of PV, W: negative at night only, by a few W."""
    return _signed(word) if word >= _NIGHT else word


def _near(value: float, reference: float, least: float) -> bool:
    return abs(value - reference) <= max(least, _SHARE * abs(reference))


# A VE.Bus system: phases (28); power at the input (12…14) to DC current (27).


def _compare_vebus(own: Answers, system: Answers) -> Fit:
    """Compare the DC current with 865; certain where the input carries power."""
    (_, words), (dc, source) = own, system
    if words is None or dc is None:
        return Fit.POSSIBLE
    current = _signed(dc[0]) / 10
    if not _near(_signed(words[15]) / 10, current, 0.5):
        return Fit.NO
    if any(words[:3]):
        return Fit.CERTAIN
    no_source = source is not None and source[0] in _NO_SOURCE
    is_distinct = abs(current) >= _DISTINCT_CURRENT
    return Fit.CERTAIN if no_source and is_distinct else Fit.POSSIBLE


def _describe_vebus(own: Answers) -> str:
    words = own[1]
    if words is None:
        return ""
    power = 10 * sum(map(_signed, words[:3]))
    return f"{words[14] / 100:.2f} V, {_signed(words[15]) / 10:.1f} A, AC-in {power} W"


VEBUS: Final = Kind(
    units=VEBUS_UNITS,
    probe=(28, 1),
    is_there=lambda words: 1 <= words[0] <= 3,
    blocks=((12, 16),),
    system=((865, 1), (826, 1)),
    compare=_compare_vebus,
    describe=_describe_vebus,
    names=((140, 8),),
    ports=_GX_PORTS,
    besides=_USB[:1],
)


# A Multi RS: phases (4524); DC voltage, current, temperature, SOC (4526…4529).


def _compare_rs(own: Answers, system: Answers) -> Fit:
    """Compare the DC current with 868, or with that of the battery on old servers."""
    (_, words), (dc, battery) = own, system
    if words is None or battery is None:
        return Fit.POSSIBLE
    current = _signed((battery if dc is None else dc[1:])[0]) / 10
    if not _near(_signed(words[1]) / 10, current, 0.5):
        return Fit.NO
    return Fit.CERTAIN if abs(current) >= _DISTINCT_CURRENT else Fit.POSSIBLE


def _describe_rs(own: Answers) -> str:
    words = own[1]
    if words is None:
        return ""
    return (
        f"{words[0] / 100:.2f} V, {_signed(words[1]) / 10:.1f} A, {words[3] / 10:.1f} %"
    )


MULTI_RS: Final = Kind(
    units=(_INSTANCE_0, *VEBUS_UNITS[:-1]),
    probe=(4524, 1),
    is_there=lambda words: 1 <= words[0] <= 3,
    blocks=((4526, 4),),
    system=((868, 2), (841, 1)),
    compare=_compare_rs,
    describe=_describe_rs,
    names=((4622, 8),),
    ports=(_INSTANCE_0,),
)


# A battery: voltage, current, consumed charge and SOC (259, 261, 265, 266); power
# (258); limits of the BMS, whose charging voltage (305) is 0 without one (305…308).


def _power_of(own: Answers) -> float:
    """Return the power of a battery, W; servers before 2022-10 have no 258."""
    probed, power, _ = own
    assert probed is not None
    if power is not None:
        return _signed(power[0])
    return probed[0] / 100 * _signed(probed[2]) / 10


def _compare_battery(own: Answers, system: Answers) -> Fit:
    """Compare current and power with 841 and 842.

    Banks in parallel differ in nothing else. While there is hardly a current, charge
    and SOC are compared, too.
    """
    probed, reference = own[0], system[0]
    assert probed is not None
    if reference is None:
        return Fit.POSSIBLE
    current = _signed(reference[1]) / 10
    if not (
        abs(probed[0] / 100 - reference[0] / 10) <= 0.5
        and _near(_signed(probed[2]) / 10, current, 0.5)
        and _near(_power_of(own), _signed(reference[2]), 30)
    ):
        return Fit.NO
    if abs(current) >= _DISTINCT_CURRENT:
        return Fit.CERTAIN
    consumed, consumed_there = probed[6], reference[5]
    if consumed and consumed_there:
        return Fit.CERTAIN if _near(consumed, consumed_there, 2) else Fit.NO
    return Fit.POSSIBLE if abs(probed[7] / 10 - reference[3]) <= 1 else Fit.NO


def _describe_battery(own: Answers) -> str:
    """Return voltage, current, power and SOC, and the limits of a BMS."""
    probed, _, limits = own
    assert probed is not None
    values = (
        f"{probed[0] / 100:.2f} V, {_signed(probed[2]) / 10:.1f} A, "
        f"{_power_of(own):.0f} W, {probed[7] / 10:.1f} %"
    )
    if limits is None or not limits[0]:
        return values  # a shunt
    return f"{values}, BMS +{limits[2] / 10:.0f}/-{limits[3] / 10:.0f} A"


BATTERIES: Final = Kind(
    units=BATTERY_UNITS,
    probe=(259, 8),
    blocks=((258, 1), (305, 4)),
    system=((840, 6),),
    compare=_compare_battery,
    describe=_describe_battery,
    names=((1336, 8),),
    ports=(_CAN_BMS, *_VE_DIRECT, *_USB, 243, 245, 247, _INSTANCE_0),
    besides=(_AGGREGATE,),
)


# A grid meter: power of each phase (2600…2602).


def _compare_meter(own: Answers, system: Answers) -> Fit:
    """Compare the power of each phase with 820…822; two meters are rarely there."""
    words, reference = own[1], system[0]
    if words is None or reference is None:
        return Fit.POSSIBLE
    pairs = zip(map(_signed, words), map(_signed, reference), strict=True)
    fits = all(_near(power, there, 50) for power, there in pairs)
    return Fit.POSSIBLE if fits else Fit.NO


def _describe_meter(own: Answers) -> str:
    words = own[1]
    return "" if words is None else f"{sum(map(_signed, words))} W"


GRID_METERS: Final = Kind(
    units=GRID_UNITS,
    probe=(2600, 1),
    blocks=((2600, 3),),
    system=((820, 3),),
    compare=_compare_meter,
    describe=_describe_meter,
    names=((2650, 8), (2609, 7)),
    ports=GRID_UNITS,
    besides=(30, 40),
)


# A PV inverter: power of each phase (1029, 1033, 1037). There may be any number.


def _pv_inverter_power(own: Answers) -> int | None:
    """Return the power of a PV inverter, W; None where it is not known."""
    words = own[1]
    return None if words is None else sum(map(_pv_power, words[::4]))


def _describe_pv(own: Answers) -> str:
    power = _pv_inverter_power(own)
    return "" if power is None else f"{power} W"


def unexplained_pv_power(system: Words | None, inverters: Sequence[Answers]) -> float:
    """Return the power of AC_PV_POWERS, W, that PV inverters do not have.

    0 where the difference may be one of moments.
    """
    power = sum(map(_pv_power, system or ()))
    if not inverters:
        return max(power, 0)
    rest = power - sum(_pv_inverter_power(own) or 0 for own in inverters)
    return rest if rest > max(_LEAST_PV_POWER, _SHARE * power) else 0


PV_INVERTERS: Final = Kind(
    units=PV_UNITS,
    probe=(1026, 1),
    blocks=((1029, 9),),
    system=(),
    compare=lambda _own, _system: Fit.POSSIBLE,
    describe=_describe_pv,
    names=((1070, 8), (1039, 7)),
)
