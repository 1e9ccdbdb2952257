"""The register list of a GX device's Modbus TCP server: words of D-Bus values.

A register belongs to a kind of service and shows one path of it. The ranges define the
registers of a firmware: a word in a range without a row here reads 0 (the value is not
available), a word outside all ranges does not exist.
"""

from collections.abc import Iterator
import math
import struct
from typing import Final, Literal, NamedTuple

type Firmware = Literal["old", "2025", "new"]
type Value = float | str | None
type Range = tuple[int, int]


class Register(NamedTuple):
    """One row of the list: raw = value x scale."""

    address: int
    kind: str
    scale: float
    path: str
    writable: bool = False

    @property
    def words(self) -> int:
        """Number of words."""
        return (
            _WORDS[self.kind]
            if self.kind in _WORDS
            else int(self.kind.removeprefix("text"))
        )

    def encode(self, value: Value) -> list[int]:
        """Return a value's words as the server does: cut off, not clamped; None: 0."""
        count = self.words
        if isinstance(value, str):
            text = value.encode("latin-1").ljust(2 * count, b"\0")[: 2 * count]
            return list(struct.unpack(f">{count}H", text))
        raw = math.floor((value or 0) * self.scale + 0.5)
        return [raw >> 16 * (count - 1 - place) & 0xFFFF for place in range(count)]

    def decode(self, words: list[int]) -> Value:
        """Return the value of words."""
        if self.kind.startswith("text"):
            return (
                struct.pack(f">{len(words)}H", *words).rstrip(b"\0").decode("latin-1")
            )
        raw = 0
        for word in words:
            raw = raw << 16 | word
        if self.kind.startswith("i") and words[0] & 0x8000:
            raw -= 1 << 16 * len(words)
        return raw / self.scale


_WORDS: Final = {"u16": 1, "i16": 1, "u32": 2, "i32": 2, "u64": 4}
_RW: Final = True


def _phases(
    address: int,
    kind: str,
    scale: float,
    path: str,
    *,
    step: int = 0,
    writable: bool = False,
) -> Iterator[Register]:
    """Yield three rows, one a phase; # in the path is its number."""
    for phase in range(3):
        at = address + phase * (step or _WORDS[kind])
        yield Register(at, kind, scale, path.replace("#", str(phase + 1)), writable)


SYSTEM: Final = (
    Register(800, "text6", 1, "/Serial"),
    Register(806, "u16", 1, "/Relay/0/State", _RW),
    *_phases(808, "u16", 1, "/Ac/PvOnOutput/L#/Power"),
    *_phases(811, "u16", 1, "/Ac/PvOnGrid/L#/Power"),
    *_phases(817, "u16", 1, "/Ac/Consumption/L#/Power"),
    *_phases(820, "i16", 1, "/Ac/Grid/L#/Power"),
    Register(826, "i16", 1, "/Ac/ActiveIn/Source"),
    Register(830, "u64", 1, "/DateAndTime"),
    Register(834, "u16", 1, "/FirmwareVersion"),
    Register(840, "u16", 10, "/Dc/Battery/Voltage"),
    Register(841, "i16", 10, "/Dc/Battery/Current"),
    Register(842, "i16", 1, "/Dc/Battery/Power"),
    Register(843, "u16", 1, "/Dc/Battery/Soc"),
    Register(844, "u16", 1, "/Dc/Battery/State"),
    Register(845, "u16", -10, "/Dc/Battery/ConsumedAmphours"),
    Register(846, "u16", 0.01, "/Dc/Battery/TimeToGo"),
    Register(850, "u16", 1, "/Dc/Pv/Power"),
    Register(851, "i16", 10, "/Dc/Pv/Current"),
    Register(865, "i16", 10, "/Dc/Vebus/Current"),
    Register(866, "i16", 1, "/Dc/Vebus/Power"),
    Register(868, "i32", 10, "/Dc/InverterCharger/Current"),
    Register(870, "i32", 1, "/Dc/InverterCharger/Power"),
    *_phases(872, "i32", 1, "/Ac/ConsumptionOnInput/L#/Power"),
    *_phases(878, "i32", 1, "/Ac/ConsumptionOnOutput/L#/Power"),
    *_phases(884, "u32", 1, "/Ac/PvOnOutput/L#/Power"),
    *_phases(890, "u32", 1, "/Ac/PvOnGrid/L#/Power"),
    *_phases(902, "u32", 1, "/Ac/Consumption/L#/Power"),
    *_phases(908, "i32", 1, "/Ac/Grid/L#/Power"),
    Register(5400, "u16", 1, "/DynamicEss/Active"),
    Register(5402, "u16", 1, "/DynamicEss/Available"),
    Register(5404, "u16", 1, "/DynamicEss/ErrorCode"),
)

SETTINGS: Final = (
    Register(2700, "i16", 1, "/Settings/CGwacs/AcPowerSetPoint", _RW),
    Register(2701, "u16", 1, "/Settings/CGwacs/MaxChargePercentage", _RW),
    Register(2702, "u16", 1, "/Settings/CGwacs/MaxDischargePercentage", _RW),
    Register(2703, "i16", 0.01, "/Settings/CGwacs/AcPowerSetPoint", _RW),
    Register(2704, "i16", 0.1, "/Settings/CGwacs/MaxDischargePower", _RW),
    Register(2705, "i16", 1, "/Settings/SystemSetup/MaxChargeCurrent", _RW),
    Register(2706, "i16", 0.01, "/Settings/CGwacs/MaxFeedInPower", _RW),
    Register(2707, "u16", 1, "/Settings/CGwacs/OvervoltageFeedIn", _RW),
    Register(2708, "u16", 1, "/Settings/CGwacs/PreventFeedback", _RW),
    Register(2710, "u16", 10, "/Settings/SystemSetup/MaxChargeVoltage", _RW),
    Register(2711, "u16", 1, "/Settings/SystemSetup/AcInput1", _RW),
    Register(2712, "u16", 1, "/Settings/SystemSetup/AcInput2", _RW),
    Register(2713, "i16", 1, "/Settings/CGwacs/AcExportLimit", _RW),
    Register(2714, "i16", 1, "/Settings/CGwacs/AcInputLimit", _RW),
    Register(2715, "u16", 1, "/Settings/CGwacs/AlwaysPeakShave", _RW),
    Register(2718, "u16", 1, "/Settings/CGwacs/RunWithoutGridMeter", _RW),
    Register(2720, "i32", 1, "/Settings/CGwacs/MaxDischargePower", _RW),
    Register(2722, "i32", 1, "/Settings/CGwacs/MaxFeedInPower", _RW),
    Register(2900, "u16", 1, "/Settings/CGwacs/BatteryLife/State", _RW),
    Register(2901, "u16", 10, "/Settings/CGwacs/BatteryLife/MinimumSocLimit", _RW),
    Register(2902, "u16", 1, "/Settings/CGwacs/Hub4Mode", _RW),
    Register(2903, "u16", 10, "/Settings/CGwacs/BatteryLife/SocLimit"),
)

HUB4: Final = (
    Register(2709, "u16", 1, "/PvPowerLimiterActive"),
    Register(2716, "i32", 1, "/Overrides/Setpoint", _RW),
    Register(2724, "u16", 1, "/Pv/Disable"),
)

VEBUS: Final = (
    *_phases(3, "u16", 10, "/Ac/ActiveIn/L#/V"),
    *_phases(6, "i16", 10, "/Ac/ActiveIn/L#/I"),
    *_phases(9, "i16", 100, "/Ac/ActiveIn/L#/F"),
    *_phases(12, "i16", 0.1, "/Ac/ActiveIn/L#/P"),
    *_phases(15, "u16", 10, "/Ac/Out/L#/V"),
    *_phases(18, "i16", 10, "/Ac/Out/L#/I"),
    Register(21, "i16", 100, "/Ac/Out/L1/F"),
    Register(22, "i16", 10, "/Ac/ActiveIn/CurrentLimit", _RW),
    *_phases(23, "i16", 0.1, "/Ac/Out/L#/P"),
    Register(26, "u16", 100, "/Dc/0/Voltage"),
    Register(27, "i16", 10, "/Dc/0/Current"),
    Register(28, "u16", 1, "/Ac/NumberOfPhases"),
    Register(29, "u16", 1, "/Ac/ActiveIn/ActiveInput"),
    Register(30, "u16", 10, "/Soc", _RW),
    Register(31, "u16", 1, "/State"),
    Register(32, "u16", 1, "/VebusError"),
    Register(33, "u16", 1, "/Mode", _RW),
    Register(34, "u16", 1, "/Alarms/HighTemperature"),
    Register(35, "u16", 1, "/Alarms/LowBattery"),
    Register(36, "u16", 1, "/Alarms/Overload"),
    Register(37, "i16", 1, "/Hub4/L1/AcPowerSetpoint", _RW),
    Register(38, "u16", 1, "/Hub4/DisableCharge", _RW),
    Register(39, "u16", 1, "/Hub4/DisableFeedIn", _RW),
    Register(40, "i16", 1, "/Hub4/L2/AcPowerSetpoint", _RW),
    Register(41, "i16", 1, "/Hub4/L3/AcPowerSetpoint", _RW),
    Register(42, "u16", 1, "/Alarms/TemperatureSensor"),
    Register(43, "u16", 1, "/Alarms/VoltageSensor"),
    *_phases(44, "u16", 1, "/Alarms/L#/HighTemperature", step=4),
    *_phases(45, "u16", 1, "/Alarms/L#/LowBattery", step=4),
    *_phases(46, "u16", 1, "/Alarms/L#/Overload", step=4),
    *_phases(47, "u16", 1, "/Alarms/L#/Ripple", step=4),
    Register(56, "u16", 1, "/PvInverter/Disable", _RW),
    Register(57, "u16", 1, "/Bms/AllowToCharge"),
    Register(58, "u16", 1, "/Bms/AllowToDischarge"),
    Register(59, "u16", 1, "/Bms/BmsExpected"),
    Register(60, "u16", 1, "/Bms/Error"),
    Register(61, "i16", 10, "/Dc/0/Temperature"),
    Register(62, "u16", 1, "/SystemReset", _RW),
    Register(63, "u16", 1, "/Alarms/PhaseRotation"),
    Register(64, "u16", 1, "/Alarms/GridLost"),
    Register(65, "u16", 1, "/Hub4/DoNotFeedInOvervoltage", _RW),
    *_phases(66, "u16", 0.01, "/Hub4/L#/MaxFeedInPower", writable=_RW),
    Register(71, "u16", 1, "/Hub4/TargetPowerIsMaxFeedIn", _RW),
    Register(73, "u16", 1, "/Hub4/Sustain"),
    Register(74, "u32", 100, "/Energy/AcIn1ToAcOut"),
    Register(76, "u32", 100, "/Energy/AcIn1ToInverter"),
    Register(82, "u32", 100, "/Energy/AcOutToAcIn1"),
    Register(86, "u32", 100, "/Energy/InverterToAcIn1"),
    Register(90, "u32", 100, "/Energy/InverterToAcOut"),
    Register(92, "u32", 100, "/Energy/OutToInverter"),
    Register(94, "u16", 1, "/Alarms/BmsPreAlarm"),
    Register(95, "u16", 1, "/VebusChargeState"),
    *_phases(96, "i32", 1, "/Hub4/L#/AcPowerSetpoint", writable=_RW),
    Register(105, "u16", 1, "/RedetectSystem", _RW),
    Register(130, "u32", 1, "/Ac/Out/NominalInverterPower"),
    *_phases(132, "u32", 1, "/Ac/Out/L#/NominalInverterPower"),
    Register(140, "text8", 1, "/CustomName", _RW),
)

BATTERY: Final = (
    Register(256, "i32", 1, "/Dc/0/Power"),
    Register(258, "i16", 1, "/Dc/0/Power"),
    Register(259, "u16", 100, "/Dc/0/Voltage"),
    Register(261, "i16", 10, "/Dc/0/Current"),
    Register(262, "i16", 10, "/Dc/0/Temperature"),
    Register(265, "u16", -10, "/ConsumedAmphours"),
    Register(266, "u16", 10, "/Soc"),
    Register(268, "u16", 1, "/Alarms/LowVoltage"),
    Register(269, "u16", 1, "/Alarms/HighVoltage"),
    Register(272, "u16", 1, "/Alarms/LowSoc"),
    Register(273, "u16", 1, "/Alarms/LowTemperature"),
    Register(274, "u16", 1, "/Alarms/HighTemperature"),
    Register(278, "u16", 1, "/Alarms/FuseBlown"),
    Register(279, "u16", 1, "/Alarms/HighInternalTemperature"),
    Register(280, "u16", 1, "/Relay/0/State", _RW),
    Register(284, "u16", 1, "/History/ChargeCycles"),
    Register(301, "u16", 10, "/History/DischargedEnergy"),
    Register(302, "u16", 10, "/History/ChargedEnergy"),
    Register(303, "u16", 0.01, "/TimeToGo"),
    Register(304, "u16", 10, "/Soh"),
    Register(305, "u16", 10, "/Info/MaxChargeVoltage"),
    Register(306, "u16", 10, "/Info/BatteryLowVoltage"),
    Register(307, "u16", 10, "/Info/MaxChargeCurrent"),
    Register(308, "u16", 10, "/Info/MaxDischargeCurrent"),
    Register(309, "u16", 10, "/Capacity"),
    Register(318, "i16", 10, "/System/MinCellTemperature"),
    Register(319, "i16", 10, "/System/MaxCellTemperature"),
    Register(320, "u16", 1, "/Alarms/HighChargeCurrent"),
    Register(321, "u16", 1, "/Alarms/HighDischargeCurrent"),
    Register(322, "u16", 1, "/Alarms/CellImbalance"),
    Register(323, "u16", 1, "/Alarms/InternalFailure"),
    Register(324, "u16", 1, "/Alarms/HighChargeTemperature"),
    Register(325, "u16", 1, "/Alarms/LowChargeTemperature"),
    Register(326, "u16", 1, "/Alarms/LowCellVoltage"),
    Register(327, "u16", 1, "/Alarms/BmsCable"),
    Register(328, "u16", 1, "/Alarms/Contactor"),
    Register(329, "u16", 1, "/Alarms/HighCurrent"),
    Register(1282, "u16", 1, "/State"),
    Register(1283, "u16", 1, "/ErrorCode"),
    Register(1290, "u16", 100, "/System/MinCellVoltage"),
    Register(1291, "u16", 100, "/System/MaxCellVoltage"),
    Register(1297, "u16", 1, "/Io/AllowToCharge"),
    Register(1298, "u16", 1, "/Io/AllowToDischarge"),
    Register(1303, "u16", 1, "/System/NrOfModulesOnline"),
    Register(1336, "text8", 1, "/CustomName"),
)

GRID: Final = (
    *_phases(2600, "i16", 1, "/Ac/L#/Power"),
    *_phases(2603, "u16", 100, "/Ac/L#/Energy/Forward"),
    *_phases(2606, "u16", 100, "/Ac/L#/Energy/Reverse"),
    Register(2609, "text7", 1, "/Serial"),
    *_phases(2616, "u16", 10, "/Ac/L#/Voltage", step=2),
    *_phases(2617, "i16", 10, "/Ac/L#/Current", step=2),
    *_phases(2622, "u32", 100, "/Ac/L#/Energy/Forward"),
    *_phases(2628, "u32", 100, "/Ac/L#/Energy/Reverse"),
    Register(2634, "u32", 100, "/Ac/Energy/Forward"),
    Register(2636, "u32", 100, "/Ac/Energy/Reverse"),
    *_phases(2638, "i32", 1, "/Ac/L#/Power"),
    Register(2644, "u16", 100, "/Ac/Frequency"),
    Register(2650, "text8", 1, "/CustomName"),
)

PVINVERTER: Final = (
    Register(1026, "u16", 1, "/Position"),
    *_phases(1027, "u16", 10, "/Ac/L#/Voltage", step=4),
    *_phases(1028, "i16", 10, "/Ac/L#/Current", step=4),
    *_phases(1029, "u16", 1, "/Ac/L#/Power", step=4),
    *_phases(1030, "u16", 100, "/Ac/L#/Energy/Forward", step=4),
    Register(1039, "text7", 1, "/Serial"),
    *_phases(1046, "u32", 100, "/Ac/L#/Energy/Forward"),
    Register(1052, "i32", 1, "/Ac/Power"),
    Register(1054, "u32", 1, "/Ac/MaxPower"),
    *_phases(1058, "u32", 1, "/Ac/L#/Power"),
    Register(1064, "u16", 100, "/Ac/Frequency"),
    Register(1070, "text8", 1, "/CustomName"),
)

# Rows that can be written on the device are for reading only here.
MULTI: Final = (
    *_phases(4500, "u16", 10, "/Ac/In/1/L#/V"),
    *_phases(4503, "i16", 10, "/Ac/In/1/L#/I"),
    *_phases(4506, "i16", 0.1, "/Ac/In/1/L#/P"),
    Register(4509, "u16", 100, "/Ac/In/1/L1/F"),
    *_phases(4510, "u16", 10, "/Ac/Out/L#/V"),
    *_phases(4513, "i16", 10, "/Ac/Out/L#/I"),
    *_phases(4516, "i16", 0.1, "/Ac/Out/L#/P"),
    Register(4519, "u16", 100, "/Ac/Out/L1/F"),
    Register(4520, "u16", 1, "/Ac/In/1/Type"),
    Register(4524, "u16", 1, "/Ac/NumberOfPhases"),
    Register(4525, "u16", 1, "/Ac/ActiveIn/ActiveInput"),
    Register(4526, "u16", 100, "/Dc/0/Voltage"),
    Register(4527, "i16", 10, "/Dc/0/Current"),
    Register(4529, "u16", 10, "/Soc"),
    Register(4530, "u16", 1, "/State"),
    Register(4531, "u16", 1, "/Mode"),
    Register(4540, "u16", 1, "/Yield/Power"),
    Register(4545, "u16", 1, "/ErrorCode"),
    Register(4609, "u16", 1, "/Settings/Ess/Mode"),
    Register(4614, "u16", 1, "/Settings/Ess/MinimumSocLimit"),
    Register(4622, "text8", 1, "/CustomName"),
)

REGISTERS: Final = {
    "system": SYSTEM,
    "settings": SETTINGS,
    "hub4": HUB4,
    "vebus": VEBUS,
    "battery": BATTERY,
    "grid": GRID,
    "pvinverter": PVINVERTER,
    "multi": MULTI,
}

RANGES: Final[dict[Firmware, dict[str, tuple[Range, ...]]]] = {
    "old": {  # server 1.0.74, September 2024
        "system": (
            *((800, 829), (834, 846), (850, 851), (855, 855), (860, 860), (865, 883)),
            (5400, 5407),
        ),
        "settings": ((2700, 2708), (2710, 2715), (2900, 2903)),
        "hub4": ((2709, 2709), (2716, 2717)),
        "vebus": ((3, 109),),
        "battery": ((258, 326), (1282, 1318)),
        "grid": ((2600, 2643),),
        "pvinverter": ((1026, 1063),),
        "multi": ((4500, 4620),),
    },
    "2025": {  # servers 1.0.89 to 1.0.95, October 2025 to March 2026
        "system": (
            *((800, 829), (834, 846), (850, 851), (855, 855), (860, 860), (865, 919)),
            (5400, 5407),
        ),
        "settings": ((2700, 2708), (2710, 2715), (2718, 2718), (2900, 2903)),
        "hub4": ((2709, 2709), (2716, 2717)),
        "vebus": ((3, 109), (200, 231)),
        "battery": ((256, 331), (1282, 1318)),
        "grid": ((2600, 2648),),
        "pvinverter": ((1026, 1064),),
        "multi": ((4500, 4620),),
    },
    "new": {  # server 1.0.101, April 2026
        "system": ((800, 919), (5400, 5407)),
        "settings": ((2700, 2708), (2710, 2715), (2718, 2723), (2900, 2903)),
        "hub4": ((2709, 2709), (2716, 2717), (2724, 2724)),
        "vebus": ((3, 147), (200, 231)),
        "battery": ((256, 331), (1282, 1343)),
        "grid": ((2600, 2657),),
        "pvinverter": ((1026, 1077),),
        "multi": ((4500, 4633),),
    },
}

# Words at which a read may not start, and behind which it may not end.
BORDERS: Final[dict[Firmware, frozenset[int]]] = {
    "old": frozenset((872,)),
    "2025": frozenset((872,)),
    "new": frozenset(),
}

# Reserved words, which read 0xFFFF.
_RESERVED: Final[tuple[Range, ...]] = (
    *(
        (827, 829),
        (836, 839),
        (847, 849),
        (852, 854),
        (856, 859),
        (861, 864),
        (867, 867),
    ),
    *((122, 129), (138, 139), (1065, 1069), (2649, 2649), (2719, 2719), (4616, 4619)),
    (4621, 4621),
)
_RESERVED_AT_FIRST: Final[dict[Firmware, tuple[Range, ...]]] = {
    "old": ((834, 835),),
    "2025": ((327, 329),),
    "new": (),
}
"""Words that had no register yet; from 1.0.79 on the battery's block had such words."""


def _addresses(ranges: tuple[Range, ...]) -> Iterator[int]:
    for first, last in ranges:
        yield from range(first, last + 1)


class RegisterMap:
    """The list as one firmware has it."""

    def __init__(self, firmware: Firmware) -> None:
        """Index the list."""
        self.services = {
            address: service
            for service, ranges in RANGES[firmware].items()
            for address in _addresses(ranges)
        }
        """Address → the kind of service it belongs to."""
        self.borders = BORDERS[firmware]
        self.reserved = frozenset(_addresses(_RESERVED + _RESERVED_AT_FIRST[firmware]))
        self.registers = {
            address: register
            for service, registers in REGISTERS.items()
            for register in registers
            for address in range(register.address, register.address + register.words)
            if self.services.get(address) == service and address not in self.reserved
        }
        """Address → its register; several addresses where it has several words."""
