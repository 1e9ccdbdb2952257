"""Measurements and identity of a Deye inverter as words, for three phases and one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
import math
import struct
from typing import Final

from .deye_inverter import PACK_ADDRESS, PACK_WORDS, DeyeInverter
from .deye_registers import FULL_WORD, ZERO_EXPORT_TO_CT, Words

STANDBY, NORMAL, ALARM, FAULT = 0, 2, 3, 4  # device status
DEVICE_TYPES: Final = {"lv": 5, "hv": 6, "single": 3}
PROTOCOL: Final = 0x0104
MAIN_BOARD: Final = {"lv": (0x2005, 0x1807), "hv": (0x3002, 0x1808), "single": (0, 0)}
HMI: Final = (0x1001, 0xC050)
NOMINAL_VOLTS: Final = 51.2
OUTPUT_VOLTS: Final = 230.0
STRINGS: Final = ((0.55, 612.0), (0.45, 548.0))
"""Share of the solar power, and voltage, of each string."""
EIGHT_STRINGS: Final = tuple((0.125, 560.0 + 10 * place) for place in range(8))
SECOND_BMS: Final = 31
"""Distance of the second BMS's words from those of the first."""
SOH: Final = 99
SOC_OF_LOST_BATTERY: Final = 0
LITHIUM_LOST: Final = 31
"""Warning number of a battery that has stopped communicating."""
PACK_VOLTS_PER_CELL: Final = 16
# Lifetime counters at the start of the simulation, kWh; two of them need both words.
COUNTED_BEFORE: Final = {
    "charged": 7000.1,
    "discharged": 6600.4,
    "imported": 6554.8,
    "exported": 7012.2,
    "load": 20000.0,
    "pv": 15000.0,
}


@dataclass(frozen=True)
class Identity:
    """The parts of the identity that only another firmware changes."""

    serial: str
    release: int
    """Middle part of the main firmware's number: 0x1170 reads 1170."""
    unit: int
    has_extension: bool
    """Whether powers have their high words."""
    packs: int
    whole_kwh: bool
    """Whether energies are counted in kWh instead of tenths."""
    power_ratio: int = 1
    """W that most power words of a single-phase inverter count."""
    amp_steps: int = 100
    """Parts of an ampere that its battery current counts."""
    has_meter: bool = True
    """Whether it has a meter or CT where the house is connected."""


def live(inverter: DeyeInverter, identity: Identity) -> Words:
    """Return every word that is not a setting."""
    words = _identity(inverter, identity)
    if inverter.model.single:
        return (
            words
            | _single_phase_power(inverter, identity)
            | _single_phase_status(inverter, identity)
            | _single_phase_bms(inverter)
        )
    return (
        words
        | _bms(inverter)
        | _status(inverter, identity)
        | _power(inverter, identity)
    )


def packs(inverter: DeyeInverter, identity: Identity) -> Words:
    """Return the words of the battery packs."""
    words = {10002: identity.packs}
    plant = inverter.plant
    for number in range(identity.packs):
        first = PACK_ADDRESS + number * PACK_WORDS
        cell = plant.voltage / PACK_VOLTS_PER_CELL
        warm = _temperature(inverter.bms.temperature)
        words |= dict.fromkeys(range(first, first + PACK_WORDS), 0)
        words |= _text(first, f"PACK{number + 1:012}")
        words |= {
            first + 8: round(10 * plant.voltage),
            first + 9: _word(10 * plant.current / identity.packs),
            **{first + 10 + place: warm for place in range(4)},
            first + 15: round(10 * plant.soc),
            first + 16: 10 * SOH,
            first + 18: round(10 * _amp_hours(inverter) / identity.packs),
            first + 22: round(1000 * cell) + 4,
            first + 23: round(1000 * cell) - 4,
            first + 24: 120,
        }
    return words


def status(inverter: DeyeInverter) -> int:
    """Return the device status."""
    if inverter.faults:
        return FAULT
    if not inverter.settings.is_on:
        return STANDBY
    return ALARM if _alarms(inverter) else NORMAL


def _identity(inverter: DeyeInverter, identity: Identity) -> Words:
    model = inverter.model
    board, version = MAIN_BOARD[model.variant]
    rated = 10 * model.rated_power
    return {
        0: DEVICE_TYPES[model.variant],
        1: identity.unit,
        2: PROTOCOL,
        **_text(3, identity.serial.ljust(10)[:10]),
        11: version,
        13: 0x1007,
        14: board,
        15: identity.release,
        **({} if model.single else dict(enumerate(HMI, 17))),
        **_long(16 if model.single else 20, rated),
        **_clock(inverter),
    } | ({} if model.single else _inputs(inverter))


def _inputs(inverter: DeyeInverter) -> Words:
    """Return the numbers of PV inputs and phases, and of battery inputs."""
    strings = EIGHT_STRINGS if inverter.more_strings else STRINGS
    return {
        22: len(strings) << 8 | inverter.plant.phases,
        24: 1 + inverter.two_batteries,
    }


def _clock(inverter: DeyeInverter) -> Words:
    now = inverter.now
    return {
        inverter.model.clock: (now.year - 2000) << 8 | now.month,
        inverter.model.clock + 1: now.day << 8 | now.hour,
        inverter.model.clock + 2: now.minute << 8 | now.second,
    }


def _bms(inverter: DeyeInverter) -> Words:
    model, bms, plant = inverter.model, inverter.bms, inverter.plant
    if bms.lost:
        return dict.fromkeys(range(210, 230), 0)
    if bms.blank:
        return dict.fromkeys(range(210, 228), FULL_WORD)
    volts = model.cells / model.volts
    batteries = 1 + inverter.two_batteries
    words = {
        210: round(56.8 * volts),
        211: round(46.0 * volts),
        212: bms.charge_current // batteries,
        213: bms.discharge_current // batteries,
        214: round(plant.soc),
        215: round(plant.voltage * volts),
        216: _word(
            plant.battery
            / inverter.voltage
            * (10 if model.cells > 1 else 1)
            / batteries
        ),
        217: _temperature(bms.temperature),
        218: bms.charge_current // batteries,
        219: bms.discharge_current // batteries,
        220: 0,
        221: 0,
        222: 2 * bms.force_charge,
        223: 0,
        224: SOH,
        225: 0x0107,
        226: round(_amp_hours(inverter)),
        227: 0,
        229: 1,
    }
    if inverter.two_batteries:
        words |= {at + SECOND_BMS: words[at] for at in range(210, 228)}
    return words


def _status(inverter: DeyeInverter, identity: Identity) -> Words:
    energies = inverter.energies
    kwh = 1.0 if identity.whole_kwh else 10.0
    today = {name: round(kwh * wh / 1000) for name, wh in energies.today.items()}
    total = {
        name: round(kwh * (COUNTED_BEFORE[name] + wh / 1000))
        for name, wh in energies.total.items()
    }
    words = {
        500: status(inverter),
        514: today["charged"],
        515: today["discharged"],
        **_long(516, total["charged"]),
        **_long(518, total["discharged"]),
        520: today["imported"],
        521: today["exported"],
        **_long(522, total["imported"]),
        **_long(524, total["exported"]),
        526: today["load"],
        **_long(527, total["load"]),
        529: today["pv"],
        **_strings_today(inverter, kwh),
        **_long(534, total["pv"]),
        540: _temperature(inverter.temperature - 6),
        541: _temperature(inverter.temperature),
        551: int(inverter.settings.is_on),
        552: _relays(inverter),
    }
    return words | _bits(553, 2, _alarms(inverter)) | _bits(555, 4, inverter.faults)


def _strings_today(inverter: DeyeInverter, kwh: float) -> Words:
    """Return the energies of the first four strings, which share the PV energy."""
    strings = EIGHT_STRINGS if inverter.more_strings else STRINGS
    energy = inverter.energies.today["pv"] / 1000
    return {
        530 + place: round(kwh * share * energy)
        for place, (share, _) in enumerate(strings[:4])
    }


def _power(inverter: DeyeInverter, identity: Identity) -> Words:
    plant, model = inverter.plant, inverter.model
    watts = model.watts
    output = [-power for power in plant.inverter]
    backup = inverter.backup
    mains = plant.mains
    volts = _output_volts(inverter)
    lost = inverter.bms.lost
    batteries = 1 + inverter.two_batteries
    words = {
        586: 1000 if lost else _temperature(inverter.bms.temperature),
        587: round(plant.voltage * model.cells / model.volts),
        588: SOC_OF_LOST_BATTERY if lost else round(plant.soc),
        590: _word(-plant.battery / watts / batteries),
        591: _word(-100 * plant.battery / inverter.voltage / batteries),
        592: round(_amp_hours(inverter)),
        **_each(598, mains, 10),
        609: round(100 * plant.frequency),
        **_each(613, _amps(plant.grid, mains), 100),
        **_each(627, volts, 10),
        **_each(630, _amps(output, volts), 100),
        637: round(abs(sum(output))) & 0xFFFF,
        638: 5000 if any(volts) else 0,
        **_each(644, volts, 10),
        655: 5000 if any(volts) else 0,
    }
    if inverter.two_batteries:
        words |= {
            589: words[588],
            593: words[587],
            594: words[591],
            595: words[590],
            596: words[586],
        }
    feed = inverter.micro_inverters
    load = [each - fed for each, fed in zip(plant.load, feed, strict=True)]
    port = [load - power for load, power in zip(backup, output, strict=True)]
    for first, extension, powers in (
        (604, 700, (*port, sum(port))),
        (616, 705, (*plant.grid, sum(plant.grid))),
        (622, 687, (*plant.grid, sum(plant.grid))),
        (633, 691, (*output, sum(output))),
        (640, 696, (*backup, sum(backup))),
        (650, 656, (*load, sum(load))),
        (664, 668, (*feed, sum(feed))),
    ):
        raw = [round(power) for power in powers]
        words |= _each(first, raw)
        if identity.has_extension:
            words |= _each(extension, [power >> 16 for power in raw])
    return words | _pv(inverter)


def _pv(inverter: DeyeInverter) -> Words:
    """Return power, voltage and current of each string."""
    strings = EIGHT_STRINGS if inverter.more_strings else STRINGS
    words: Words = {}
    for number, (share, pv_volts) in enumerate(strings):
        power = inverter.plant.pv_dc * share
        at = (
            (672 + number, 676 + 2 * number, 677 + 2 * number)
            if number < 4
            else (723 + number, 715 + number, 719 + number)
        )
        values = (
            power / inverter.model.watts,
            10 * pv_volts * (power > 0),
            10 * power / pv_volts,
        )
        words |= {each: round(value) for each, value in zip(at, values, strict=True)}
    return words


def _single_phase_power(inverter: DeyeInverter, identity: Identity) -> Words:
    """Return the live values.

    "Total grid" (169) is the meter's power in zero export to CT, else that of the
    inverter's own grid port; the load (178) is what it makes with the inverter's.
    """
    plant, model = inverter.plant, inverter.model
    output = -sum(plant.inverter)
    port = sum(inverter.backup) - output
    meter = sum(plant.grid) if identity.has_meter else 0.0
    to_ct = inverter.settings["work_mode"] == ZERO_EXPORT_TO_CT
    grid = meter if to_ct else port
    count = identity.power_ratio
    words = {
        150: round(10 * plant.mains[0]),
        162: _word(100 * meter / plant.mains[0] if plant.mains[0] else 0),
        166: 0,
        167: _word(port / count),
        169: _word(grid / count),
        **dict.fromkeys((170, 172), _word(meter / count)),
        **dict.fromkeys((173, 175), _word(output)),
        **dict.fromkeys((176, 178), _word((output + grid) / count)),
        182: _temperature(inverter.bms.temperature),
        183: round(plant.voltage / model.volts),
        184: round(plant.soc),
        190: _word(-plant.battery),
        191: _word(-identity.amp_steps * plant.current),
        194: int(not plant.grid_lost),
    }
    for number, (share, pv_volts) in enumerate(STRINGS):
        power = plant.pv_dc * share
        words |= {
            186 + number: round(power),
            109 + 2 * number: round(10 * pv_volts) if power else 0,
            110 + 2 * number: round(10 * power / pv_volts),
        }
    return words


def _single_phase_status(inverter: DeyeInverter, identity: Identity) -> Words:
    """Return status and counters; the frequency stands in the counter of import."""
    energies = inverter.energies
    today = {name: round(wh / 100) for name, wh in energies.today.items()}
    total = {
        name: round(10 * (COUNTED_BEFORE[name] + wh / 1000))
        for name, wh in energies.total.items()
    }
    low, high = _split(total["imported"])
    words = {
        54: identity.power_ratio,
        59: status(inverter),
        70: today["charged"],
        71: today["discharged"],
        **_long(72, total["charged"]),
        **_long(74, total["discharged"]),
        76: today["imported"],
        77: today["exported"],
        78: low,
        79: round(100 * inverter.plant.frequency),
        80: high,
        **_long(81, total["exported"]),
        84: today["load"],
        **_long(85, total["load"]),
        90: _temperature(inverter.temperature - 6),
        91: _temperature(inverter.temperature),
        **_long(96, total["pv"]),
        107: round(_amp_hours(inverter)),
        108: today["pv"],
    }
    return words | _bits(101, 2, _alarms(inverter)) | _bits(103, 4, inverter.faults)


def _single_phase_bms(inverter: DeyeInverter) -> Words:
    bms, plant = inverter.bms, inverter.plant
    if bms.lost:
        return dict.fromkeys(range(312, 326), 0)
    return {
        312: 5680,
        313: 4600,
        314: bms.charge_current,
        315: bms.discharge_current,
        316: round(plant.soc),
        317: round(100 * plant.voltage),
        318: _word(plant.current),
        319: _temperature(bms.temperature),
        320: bms.charge_current,
        321: bms.discharge_current,
        322: 0,
        323: 0,
        324: 2 * bms.force_charge,
        325: 0,
    }


def _alarms(inverter: DeyeInverter) -> set[int]:
    return inverter.alarms | ({LITHIUM_LOST} if inverter.bms.lost else set())


def _relays(inverter: DeyeInverter) -> int:
    running = inverter.settings.is_on and not inverter.faults
    grid = not inverter.plant.grid_lost
    return running | (running and grid) << 2 | grid << 4


def _output_volts(inverter: DeyeInverter) -> list[float]:
    plant = inverter.plant
    if not plant.grid_lost:
        return plant.mains
    return [OUTPUT_VOLTS if plant.output_share else 0.0] * 3


def _amp_hours(inverter: DeyeInverter) -> float:
    return inverter.plant.capacity / NOMINAL_VOLTS / inverter.model.cells


def _amps(powers: Sequence[float], volts: Sequence[float]) -> list[float]:
    return [
        power / each if each else 0.0 for power, each in zip(powers, volts, strict=True)
    ]


def _temperature(celsius: float) -> int:
    return round(10 * celsius + 1000)


def _word(value: float) -> int:
    """Return a rounded word, clamped to the largest that fits."""
    return max(-0x8000, min(0x7FFF, math.floor(value + 0.5))) & 0xFFFF


def _each(first: int, values: Iterable[float], scale: int = 1) -> Words:
    return {
        address: round(scale * value) & 0xFFFF
        for address, value in enumerate(values, first)
    }


def _split(value: int) -> tuple[int, int]:
    """Return low and high word."""
    return value & 0xFFFF, value >> 16 & 0xFFFF


def _long(first: int, value: int) -> Words:
    return dict(enumerate(_split(value), first))


def _text(first: int, text: str) -> Words:
    words = struct.unpack(f">{len(text) // 2}H", text.encode("ascii"))
    return dict(enumerate(words, first))


def _bits(first: int, words: int, numbers: Iterable[int]) -> Words:
    """Return bits set by numbers that count from 1."""
    raw = sum(1 << number - 1 for number in numbers)
    return {first + place: raw >> 16 * place & 0xFFFF for place in range(words)}
