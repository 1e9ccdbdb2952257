"""Registers of a Deye inverter's settings: one map for three phases, another for one.

The two maps have a setting at different addresses, so its name here is this project's.
The unit of a word depends on the model too: the settings of a high-voltage inverter
count power in 10 W and battery voltage in 0.1 V.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

type Variant = Literal["lv", "hv", "single"]
type Words = dict[int, int]

SLOTS: Final = 6
FULL_WORD: Final = 0xFFFF

# Values of settings.
SELLING_FIRST: Final = 0  # work_mode
ZERO_EXPORT_TO_LOAD: Final = 1
ZERO_EXPORT_TO_CT: Final = 2
BY_VOLTAGE: Final = 0  # battery_mode
BY_SOC: Final = 1
NO_BATTERY: Final = 2
TOU_ON: Final = 1  # tou, bit; bits 1…7 are Monday…Sunday
TOU_EVERY_DAY: Final = 0xFF
FLAG_GRID: Final = 0x01  # slot_flags, bits
FLAG_SELL: Final = 0x20
FLAG_SELL_SINGLE: Final = 0x40
MICRO_INVERTER: Final = 2  # gen_port


class Setting(NamedTuple):
    """A setting of one word, or of one for each slot of the day."""

    name: str
    address: int
    """Address on a three-phase inverter."""
    single: int | None
    """Address on a single-phase inverter, if known."""
    default: int
    """Choice of the installer or the user."""
    least: int = 0
    most: int = FULL_WORD
    words: int = 1
    signed: bool = False
    unit: Literal["", "W", "V", "A"] = ""
    """W, V: counted as the model does; A: at most the model's maximum."""


SETTINGS: Final = (
    Setting("active_power_regulation", 77, None, 1000, most=1000),
    Setting("on_off", 80, 43, 1, most=2),
    Setting("battery_type", 98, 200, 1, most=1),
    Setting("zero_export_power", 104, 206, 20, signed=True, unit="W"),
    Setting("charge_current", 108, 210, 150, unit="A"),
    Setting("discharge_current", 109, 211, 160, unit="A"),
    Setting("batteries_parallel", 110, None, 0, most=1),
    Setting("battery_mode", 111, 213, BY_SOC, most=2),
    Setting("shutdown_soc", 115, 217, 10, most=100),
    Setting("restart_soc", 116, 218, 30, most=100),
    Setting("low_soc", 117, 219, 15, most=100),
    Setting("grid_charge_start_soc", 127, 229, 20, most=100),
    Setting("grid_charge_current", 128, 230, 60, unit="A"),
    Setting("generator_charge", 129, None, 0, most=1),
    Setting("grid_charge", 130, 232, 1, most=1),
    Setting("gen_port", 133, None, 0, most=2),
    Setting("energy_pattern", 141, 243, 1),
    Setting("work_mode", 142, 244, ZERO_EXPORT_TO_CT, most=2),
    Setting("max_sell_power", 143, 245, 12000, unit="W"),
    Setting("solar_sell", 145, 247, 1, most=1),
    Setting("tou", 146, 248, TOU_EVERY_DAY, most=0x1FF),
    Setting("slot_time", 148, 250, 0, most=2355, words=SLOTS),
    Setting("slot_power", 154, 256, 12000, unit="W", words=SLOTS),
    Setting("slot_voltage", 160, 262, 49, unit="V", words=SLOTS),
    Setting("slot_soc", 166, 268, 20, most=100, words=SLOTS),
    Setting("slot_flags", 172, 274, 0, most=0x7F, words=SLOTS),
    Setting("switches", 178, None, 10792),
    Setting("peak_shaving_power", 191, 293, 9000, unit="W"),
    Setting("stop_soc", 267, None, 100, least=90, most=100),
    Setting("max_solar_power", 340, 53, 15600, unit="W"),
)

SLOT_TIMES: Final = (0, 400, 800, 1200, 1700, 2100)
NIGHT_CHARGE: Final = 40
"""SOC up to which the user charges at night, in the first slot, %."""

CLOCK: Final = {"lv": 62, "hv": 62, "single": 22}
NEVER_WRITE: Final = (81, 91, 92)
"""Registers for factory reset, and two that initialise the memory of settings."""

# Settings without effect here; they can be read and written.
OTHER_SETTINGS: Final[Mapping[int, int]] = (
    {61: 60, 102: 300, 105: 30, 106: 1, 113: 25, 114: 990}
    | {121: 240, 124: 30, 125: 40, 131: 5500, 135: 95, 137: 100, 138: 1, 139: 500}
    | {144: 800, 179: FULL_WORD, 180: 60, 182: 27, 185: 2645, 186: 1955, 187: 5150}
    | {188: 4750, 231: 2000, 233: 3100}
)
OTHER_VOLTAGES: Final[Mapping[int, float]] = {
    99: 57.6,
    100: 56.0,
    101: 53.6,
    103: 45.0,
    118: 46.0,
    119: 52.0,
    120: 47.5,
} | {123: 49.0, 126: 49.0, 134: 51.0, 136: 54.0}
OTHER_POWERS: Final[Mapping[int, int]] = {190: 8000}
OTHER_OF_SINGLE: Final[Mapping[int, int]] = {204: 300, 235: 0}
"""Settings of a single-phase inverter without effect here: Ah, and the GEN port."""


@dataclass(frozen=True)
class Model:
    """A variant of the inverter, and the units of its words."""

    variant: Variant
    rated_power: int
    """W"""
    max_current: int
    """Most that the current settings take, A."""

    @property
    def single(self) -> bool:
        """Return True for a single-phase inverter, which has the other map."""
        return self.variant == "single"

    @property
    def watts(self) -> int:
        """Unit of a power setting, W."""
        return 10 if self.variant == "hv" else 1

    @property
    def volts(self) -> float:
        """Unit of a battery voltage, V."""
        return 0.1 if self.variant == "hv" else 0.01

    @property
    def cells(self) -> int:
        """Ratio of this battery's voltage to the 48 V of the house's."""
        return 10 if self.variant == "hv" else 1

    @property
    def sell_flag(self) -> int:
        """Bit of a slot's flags that permits selling."""
        return FLAG_SELL_SINGLE if self.single else FLAG_SELL

    @property
    def clock(self) -> int:
        """Address of the first of the clock's three words."""
        return CLOCK[self.variant]

    def address(self, name: str) -> int | None:
        """Return the address of a setting, None if this model's is not known."""
        setting = _BY_NAME[name]
        return setting.single if self.single else setting.address

    def setting(self, address: int) -> Setting | None:
        """Return the setting that has a word at this address."""
        for setting in SETTINGS:
            first = self.address(setting.name)
            if first is not None and first <= address < first + setting.words:
                return setting
        return None

    def default(self, name: str) -> int:
        """Return the word of a setting as installed."""
        setting = _BY_NAME[name]
        match setting.unit:
            case "W":
                return min(setting.default, self.rated_power) // self.watts
            case "V":
                return round(setting.default * self.cells / self.volts)
            case "A":
                return min(setting.default, self.max_current)
        return setting.default

    def is_valid(self, address: int, word: int) -> bool:
        """Return True if the inverter accepts this word here."""
        setting = self.setting(address)
        if setting is None or setting.signed or setting.unit == "V":
            return True
        most = setting.most
        if setting.unit == "A":
            most = self.max_current
        elif setting.unit == "W" and setting.name != "max_solar_power":
            most = 2 * self.rated_power // self.watts
        if setting.name == "slot_time" and word % 100 > 59:
            return False
        return setting.least <= word <= most

    def defaults(self) -> Words:
        """Return every writable word, as the user set it."""
        words: Words = dict(OTHER_OF_SINGLE) if self.single else {}
        if not self.single:
            words |= dict.fromkeys(range(60, 500), 0) | dict(OTHER_SETTINGS)
            for address, voltage in OTHER_VOLTAGES.items():
                words[address] = round(voltage * self.cells / self.volts)
            for address, power in OTHER_POWERS.items():
                words[address] = power // self.watts
        words |= dict.fromkeys(range(self.clock, self.clock + 3), 0)
        for setting in SETTINGS:
            first = self.address(setting.name)
            if first is not None:
                words |= dict.fromkeys(
                    range(first, first + setting.words), self.default(setting.name)
                )
        for name, values in (
            ("slot_time", SLOT_TIMES),
            ("slot_soc", (NIGHT_CHARGE,)),
            ("slot_flags", (FLAG_GRID,)),
        ):
            first = self.address(name)
            if first is not None:
                words |= dict(enumerate(values, first))
        return words


_BY_NAME: Final = {setting.name: setting for setting in SETTINGS}


class Settings:
    """Words of settings, read by name."""

    def __init__(self, model: Model, words: Words) -> None:
        """Keep these words; they may change."""
        self.model = model
        self.words = words

    def __getitem__(self, name: str) -> int:
        """Return a setting's word, with its sign."""
        return self.slot(name, 0)

    def slot(self, name: str, number: int) -> int:
        """Return the word of a slot (0…5)."""
        first = self.model.address(name)
        if first is None:
            return self.model.default(name)
        word = self.words[first + number]
        if _BY_NAME[name].signed and word & 0x8000:
            word -= 0x10000
        return word

    def slots(self, name: str) -> list[int]:
        """Return the words of all slots."""
        return [self.slot(name, number) for number in range(SLOTS)]

    def power(self, name: str, number: int = 0) -> float:
        """Return a setting in W."""
        return float(self.slot(name, number) * self.model.watts)

    def voltage(self, name: str, number: int = 0) -> float:
        """Return a setting in V."""
        return self.slot(name, number) * self.model.volts

    @property
    def is_on(self) -> bool:
        """Return True if the inverter is on (word 1; off is 0, with one phase 2)."""
        return self["on_off"] == 1
