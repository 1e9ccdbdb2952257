"""Single-phase inverters: register images of real ones, and scales learned of them.

`deye_single_phase.json` has the images of Deye's lists and of reports; `source` says
which words of each are real.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest

from custom_components.homebattery.drivers.deye.inverter import DeyeInverter
from custom_components.homebattery.drivers.deye.modbus_tcp import DeyeModbusInverter
from custom_components.homebattery.drivers.deye.registers import Kind
from custom_components.homebattery.drivers.errors import NotSupportedError
from custom_components.homebattery.drivers.modbus.probe import Probe
from custom_components.homebattery.drivers.modbus.tcp import ModbusTcpConnection
from tests.drivers.conftest import fast_keys
from tests.drivers.vectors import assert_expected, by_name, read_plausible
from tests.simulators.image import ModbusImage, Vector, VectorUnits, load

from .support import both_ways, connected, house, on_image, simulator

pytestmark = pytest.mark.usefixtures("socket_enabled", "no_waiting")

VECTORS: Final = load("deye_single_phase")
TO_CT: Final = "sg1p_8k_zero_export_to_ct"
TO_LOAD: Final = "sg1p_8k_zero_export_to_load"
LARGE: Final = "sg01lp1_16k"
OFF_GRID: Final = "sg03lp1_no_ct_off_grid"
SELLING: Final = "sg02lp1_10k"
NEW_FIRMWARE: Final = "sg04lp1_5k_current_x0_1"
NO_METER: Final = "sg01lp1_8k_counters"

SELLING_FIRST, TO_LOAD_MODE, TO_CT_MODE = 0, 1, 2
MICRO_INVERTER: Final = 2


def image(name: str, words: Mapping[int, int] | None = None) -> Vector:
    """Return the vector whose name begins so, with some words changed."""
    (original,) = (each for each in VECTORS if each["name"].startswith(name))
    changed = {str(address): word & 0xFFFF for address, word in (words or {}).items()}
    return original | {"units": {"1": original["units"]["1"] | changed}}


class Site:
    """An inverter that stands still, its registers, and a driver on it."""

    def __init__(self, battery: DeyeInverter, units: VectorUnits) -> None:
        """Take both over."""
        self.battery = battery
        self._words = units.units[1]

    async def get(self, *keys: str, **words: int) -> Any:
        """Return readings after some words have changed (r169=21)."""
        self._words.update(
            (int(name.removeprefix("r")), word & 0xFFFF) for name, word in words.items()
        )
        readings = await self.battery.read(keys)
        return readings[keys[0]] if len(keys) == 1 else tuple(map(readings.get, keys))


@asynccontextmanager
async def site(
    name: str, words: Mapping[int, int] | None = None, way: str = "deye_modbus"
) -> AsyncIterator[Site]:
    """Yield an image and a driver that is connected to it."""
    async with on_image(image(name, words), way) as (battery, units):
        yield Site(battery, units)


# Images


@both_ways
@pytest.mark.parametrize("case", by_name(VECTORS))
async def test_values_are_those_of_the_image(case: Vector, way: str) -> None:
    """Every expected value is met at the first read, and reading writes nothing."""
    async with on_image(case, way) as (battery, units):
        readings = await battery.read()

        assert battery.kind is Kind.SINGLE_PHASE
        assert_expected(case, readings)
        assert units.traffic.writes == []


@pytest.mark.parametrize("case", by_name(VECTORS))
async def test_every_other_value_is_plausible(case: Vector) -> None:
    """Each value that no image expects is at least of its key's kind."""
    async with on_image(case) as (battery, _):
        await read_plausible(battery)


@both_ways
async def test_the_fast_poll_takes_one_request(way: str) -> None:
    """All that is lively by default lies in one block."""
    async with on_image(image(TO_CT), way) as (battery, units):
        await battery.read()
        fast = fast_keys(battery)
        before = units.traffic.requests
        readings = await battery.read(fast)

        assert {"battery_current", "grid_power", "load_power", "pv_power"} <= set(fast)
        assert not readings.failures
        assert units.traffic.requests == before + 1


# Kinds


@both_ways
@pytest.mark.parametrize(
    ("code", "model"),
    [
        (0x0003, "SUN-6K-SG0xLP1"),
        (0x0300, "SUN-6K-SG0xLP1"),
        (0x0103, "SUN-6K-OG0xLP1"),
        (0x0104, "SUN-6K-ESS"),
    ],
)
async def test_hybrids_of_all_types_have_the_single_phase_map(
    way: str, code: int, model: str
) -> None:
    """Also those for use off the grid, and storage systems."""
    async with site("og01lp1", {0: code}, way) as at:
        assert await at.get("battery_soc") == 70
        assert at.battery.kind is Kind.SINGLE_PHASE
        assert at.battery.identity.model == model
        assert at.battery.identity.firmware == "4388-1516"


@pytest.mark.parametrize("code", [0x0103, 0x0104])
async def test_hybrids_of_all_types_are_detected(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(Probe, "connect_delay", 0)
    async with ModbusImage(image("og01lp1", {0: code})) as server:
        probe = Probe(server.host, server.port, ModbusTcpConnection.shared)
        detected = await DeyeModbusInverter.detect(probe)
        await probe.close()

    assert [each.serial_number for each in detected] == ["2409876503"]


async def test_firmware_that_is_not_there_is_unknown() -> None:
    async with site(TO_CT, {13: 0, 14: 0xFFFF}) as at:
        assert at.battery.identity.firmware is None
        assert await at.get("firmware", "hmi_firmware") == (None, None)


# The meter


@pytest.mark.parametrize("mode", [SELLING_FIRST, TO_LOAD_MODE, TO_CT_MODE])
async def test_grid_power_is_the_meters_in_every_working_mode(mode: int) -> None:
    """169 is not used: outside of zero export to CT it is the grid port's."""
    async with site(TO_LOAD, {244: mode}) as at:
        assert await at.get("grid_power", "load_power", "ups_power") == (
            3312,
            3867,
            576,
        )
        assert await at.get("grid_power_l1", "external_ct_power") == (3312, 3312)
        assert await at.get("internal_power") == 21


@pytest.mark.parametrize(
    "words", [{162: 0, 172: 3312}, {162: 1377, 172: 0}, {162: 0, 172: 0, 244: 2}]
)
async def test_a_meter_that_was_seen_twice_is_remembered(
    words: dict[int, int],
) -> None:
    """By its power, its current, or the working mode that needs one."""
    async with site(TO_LOAD, words) as at:
        for _ in range(2):
            await at.battery.read()
        assert await at.get("grid_power", r162=0, r169=21, r172=0, r244=1) == 0
        assert await at.get("grid_power", r172=-700) == -700


async def test_a_meter_is_remembered_over_a_reconnect() -> None:
    async with site(TO_LOAD) as at:
        for _ in range(2):
            await at.battery.read()
        await at.battery.close()
        await at.battery.connect()
        assert await at.get("grid_power", r162=0, r172=0) == 0


@pytest.mark.parametrize(
    "damage", [{"r172": 3}, {"r162": 1377}, {"r162": 30_806, "r172": 30_806}]
)
@both_ways
async def test_words_of_a_meter_in_one_read_are_none(
    way: str, damage: dict[str, int]
) -> None:
    """A damaged word may pass for a meter, in that read only."""
    none = {162: 0, 172: 0, 244: TO_LOAD_MODE}
    async with site(NO_METER, none, way) as at:
        await at.battery.read()
        for _ in range(3):
            await at.get("grid_power", **damage)
            assert await at.get("grid_power", r162=0, r172=0) == 113


async def test_one_damaged_working_mode_makes_no_meter() -> None:
    """Live values are read many times before the mode is read again."""
    none = {162: 0, 172: 0, 244: TO_LOAD_MODE}
    async with site(NO_METER, none) as at:
        await at.battery.read()
        await at.get("working_mode", r244=TO_CT_MODE)
        for _ in range(3):
            assert await at.get("grid_power") == 113
        await at.get("working_mode", r244=TO_LOAD_MODE)
        assert await at.get("grid_power") == 113


@pytest.mark.parametrize("filler", [0, 0xFFFF])
async def test_without_a_meter_the_grid_port_is_the_grid(filler: int) -> None:
    """That is what 169 is then; a word that is not there is no meter either."""
    async with site(NO_METER, {162: filler, 172: filler, 244: 1}) as at:
        assert await at.get("grid_power", "load_power") == (113, 1051)


async def test_a_meters_power_without_current_is_none_while_selling_first() -> None:
    """As in a report of a 10K whose display took 169; else it is a meter."""
    async with site(SELLING) as at:
        assert await at.get("grid_power", "load_power") == (-5200, 130)
        assert await at.get("grid_power", "working_mode", r244=TO_LOAD_MODE) == (
            -3100,
            "zero_export_to_load",
        )


# The scale of power


@pytest.mark.parametrize("stated", [0, 1, 2])
async def test_the_ratio_is_seen_by_balance_where_its_register_is_wrong(
    stated: int,
) -> None:
    """178 = 175 + 169 fits one ratio only."""
    async with site(LARGE, {54: stated}) as at:
        assert await at.get("grid_power", "load_power") == (-1400, 1810)
    async with site(TO_CT, {54: 10}) as at:
        assert await at.get("grid_power", "load_power") == (1252, 3790)


async def test_the_ratio_is_the_stated_one_where_the_balance_says_nothing() -> None:
    """Below 500 W, and where neither ratio fits."""
    async with site(LARGE, {175: 400, 169: -30, 172: -30, 178: 10}) as at:
        assert await at.get("grid_power") == -300
        assert await at.get("grid_power", r175=3210, r178=4000) == -300
    async with site(LARGE, {54: 1, 175: 400, 169: -30, 172: -30, 178: 10}) as at:
        assert await at.get("grid_power") == -30


async def test_one_odd_balance_does_not_change_the_ratio_and_two_do() -> None:
    """Words of different moments may fit the wrong one by chance."""
    odd, even = {"r178": 3070, "r172": -140}, {"r178": 181}
    async with site(LARGE) as at:
        assert await at.get("grid_power") == -1400
        for _ in range(3):
            assert await at.get("grid_power", **odd) == -1400
            assert await at.get("grid_power", **even) == -1400
        await at.get("grid_power", **odd)
        assert await at.get("grid_power", **odd) == -140


@both_ways
async def test_the_first_balance_that_contradicts_the_stated_ratio_is_one_of_two(
    way: str,
) -> None:
    """It may come long after the first read, at night for instance."""
    little = {175: 100, 169: -14, 172: -14, 178: 86}
    odd = {"r175": 3210, "r169": -140, "r172": -140, "r178": 3070}
    async with site(LARGE, little, way) as at:
        assert await at.get("grid_power") == -140
        assert await at.get("grid_power", **odd) == -1400
        assert await at.get("grid_power", r178=181) == -1400
        await at.get("grid_power", **odd)
        assert await at.get("grid_power", **odd) == -140


async def test_one_damaged_ratio_changes_nothing_and_two_do() -> None:
    little = {175: 100, 169: -14, 172: -14, 178: 86}
    async with site(LARGE, little) as at:
        await at.battery.read()
        for word in (1, 10, 30_806, 10):
            await at.get("problem", r54=word)
            assert await at.get("grid_power") == -140
        for _ in range(2):
            await at.get("problem", r54=1)
        assert await at.get("grid_power") == -14


@both_ways
@pytest.mark.parametrize("word", [0, 1, 5, 30_806, 0xFFFF])
async def test_a_ratio_damaged_when_connecting_changes_nothing(
    word: int, way: str
) -> None:
    """Nor does a damaged mode: both are read until two reads in a row agree."""
    little = {175: 100, 169: -14, 172: -14, 178: 86, 162: 0}
    damaged = {"damaged": {54: word, 244: TO_CT_MODE}}
    async with on_image(image(LARGE, little) | damaged, way) as (battery, units):
        at = Site(battery, units)
        assert units.damaged == {}
        assert await at.get("grid_power") == -140
        assert await at.get("grid_power", r54=word) == -140
    async with on_image(image(NO_METER, {162: 0, 172: 0, 244: 1}) | damaged, way) as (
        battery,
        units,
    ):
        assert await Site(battery, units).get("grid_power") == 113


async def test_words_that_are_no_ratio_state_none() -> None:
    """However often they are read: 10 is the last one stated."""
    little = {175: 100, 169: -14, 172: -14, 178: 86}
    async with site(LARGE, little) as at:
        for _ in range(3):
            await at.get("problem", r54=30_806)
        assert await at.get("grid_power") == -140


async def test_power_of_the_inverter_and_of_pv_has_no_ratio() -> None:
    async with site(LARGE, {244: 1, 235: MICRO_INVERTER, 166: -500}) as at:
        await at.battery.read()
        assert await at.get("active_power", "pv_power", "battery_power") == (
            *(3210, 9350, 5350),
        )


# The scale of the battery current


@pytest.mark.parametrize(("word", "amps"), [(-189, 18.9), (-1890, 18.9)])
async def test_the_scale_of_the_current_is_seen_by_power_and_voltage(
    word: int, amps: float
) -> None:
    async with site(NEW_FIRMWARE, {191: word}) as at:
        assert await at.get("battery_current") == amps


async def test_the_current_comes_from_the_power_until_its_scale_is_seen() -> None:
    """From then on small ones have it, too."""
    async with site(NEW_FIRMWARE, {190: 106, 191: 21}) as at:
        assert await at.get("battery_current") == -2
        assert await at.get("battery_current", r190=-1016, r191=-189) == 18.9
        assert await at.get("battery_current", r190=106, r191=21) == -2.1


async def test_one_odd_current_does_not_change_the_scale_and_two_do() -> None:
    """After an update of the firmware; no reading is ten times too small meanwhile."""
    old, new = {"r190": -1016, "r191": -1890}, {"r190": -1016, "r191": -189}
    async with site(NEW_FIRMWARE, {191: -1890}) as at:
        assert await at.get("battery_current") == 18.9
        for _ in range(3):
            assert await at.get("battery_current", **new) == 19.17
            assert await at.get("battery_current", **old) == 18.9
        assert await at.get("battery_current", r190=-106, r191=-200) == 2
        await at.get("battery_current", **new)
        assert await at.get("battery_current", **new) == 18.9
        assert await at.get("battery_current", r190=-106, r191=-20) == 2


@pytest.mark.parametrize("is_learned", [True, False])
async def test_no_current_follows_from_a_power_that_is_too_much(
    is_learned: bool,
) -> None:
    """5 kW have no 30 kW; the current's own word counts once its scale was seen."""
    little, much = {"r190": -106, "r191": -20}, {"r190": -1016, "r191": -189}
    keys = ("battery_current", "battery_power", "battery_status")
    async with site(NEW_FIRMWARE, {190: -106, 191: -20}) as at:
        await at.get("battery_current", **(much if is_learned else little))
        assert await at.get(*keys, r190=30_806, r191=-20) == (
            *(2 if is_learned else None, None, None),
        )


@pytest.mark.parametrize(
    ("word", "is_on"), [(0, False), (1, True), (2, False), (0xFFFF, None)]
)
async def test_a_switch_that_is_not_there_is_not_off(
    word: int, is_on: bool | None
) -> None:
    async with site(TO_CT, {43: word}) as at:
        assert await at.get("inverter_on") is is_on


async def test_a_voltage_that_no_battery_has_is_unknown() -> None:
    """Such a word comes from a logger."""
    async with site(TO_CT, {183: 30_806}) as at:
        assert await at.get("battery_voltage", "battery_soc") == (None, None)


async def test_a_current_that_fits_no_scale_says_nothing() -> None:
    async with site(NEW_FIRMWARE, {191: -40_000}) as at:
        assert await at.get("battery_current") == 19.17
        assert await at.get("battery_current", r183=0) is None


# GEN port


async def test_one_damaged_mode_of_the_gen_port_changes_nothing() -> None:
    """It is read once a minute, live values in between."""
    async with site(TO_CT, {235: MICRO_INVERTER, 166: -500}) as at:
        assert await at.get("pv_power") == 1056
        for word in (30_806, 0xFFFF):
            await at.get("min_soc", r235=word)
            assert await at.get("pv_power") == 1056


async def test_a_micro_inverter_at_the_gen_port_is_pv_and_load() -> None:
    """Power that it feeds in is negative in its register."""
    async with site(TO_CT, {166: -800}) as at:
        before = await at.get("pv_power", "load_power", "ups_power", "generator_power")
        await at.get("min_soc", r235=MICRO_INVERTER)
        after = await at.get("pv_power", "load_power", "ups_power", "generator_power")
        smart_load = await at.get("pv_power", "generator_power", r166=600)

    assert before == (556, 3790, 520, 800)
    assert after == (1356, 4590, 1320, 800)
    assert smart_load == (556, -600)


# BMS, counters


BMS_KEYS: Final = (
    *("battery_bms_soc", "battery_bms_voltage", "battery_bms_current"),
    *("battery_bms_charge_voltage", "battery_bms_discharge_voltage"),
    *("battery_bms_charge_current_limit", "battery_bms_discharge_current_limit"),
    *("battery_bms_temperature", "battery_force_charge"),
    *("max_charge_current", "max_discharge_current"),
    *("max_charge_power", "max_discharge_power"),
)


@both_ways
@pytest.mark.parametrize(
    ("address", "keys"),
    [
        (314, {"max_charge_current", "max_charge_power"}),
        (315, {"max_discharge_current", "max_discharge_power"}),
        (183, {"max_charge_power", "max_discharge_power"}),
    ],
)
async def test_a_power_limit_is_unknown_without_its_current_or_voltage(
    way: str, address: int, keys: set[str]
) -> None:
    """0 W would be a BMS that refuses."""
    limits = [each for each in BMS_KEYS if each.startswith("max_")]
    async with site(LARGE, {address: 0xFFFF}, way) as at:
        shown = dict(zip(limits, await at.get(*limits), strict=True))

    assert {each for each in limits if shown[each] is None} == keys


@pytest.mark.parametrize("filler", [0, 0xFFFF])
async def test_without_a_bms_its_block_is_void(filler: int) -> None:
    words = dict.fromkeys(range(312, 326), filler)
    async with site(LARGE, words) as at:
        assert set(await at.get(*BMS_KEYS)) == {None}
        assert await at.get("battery_soc") == 71


async def test_values_of_the_bms() -> None:
    async with site(LARGE, {324: 2}) as at:
        assert await at.get(*BMS_KEYS) == (
            *(71, 53.19, 100, 56.8, 46, 200, 240, 23, True),
            *(200, 240, round(200 * 53.2), round(240 * 53.2)),
        )


async def test_an_inverter_may_lack_the_bms_block() -> None:
    case = image(TO_CT)
    words = {at: word for at, word in case["units"]["1"].items() if int(at) < 300}
    async with on_image(case | {"units": {"1": words}}) as (battery, _):
        readings = await battery.read()

    assert readings["battery_soc"] == 96
    assert not readings.keys() & set(BMS_KEYS)


async def test_the_import_counter_has_the_frequency_between_its_words() -> None:
    async with site(TO_CT, {78: 7, 79: 5013, 80: 1}) as at:
        assert await at.get("grid_import_total", "grid_frequency") == (6554.3, 50.13)


@pytest.mark.parametrize(
    ("key", "addresses"),
    [
        ("energy_charged_today", (70,)),
        ("pv_energy_today", (108,)),
        ("grid_import_total", (78, 80)),
        ("energy_charged_total", (72, 73)),
    ],
)
async def test_counters_that_are_not_there_are_unknown(
    key: str, addresses: tuple[int, ...]
) -> None:
    async with site(TO_CT, dict.fromkeys(addresses, 0xFFFF)) as at:
        assert await at.get(key) is None


async def test_words_that_are_not_there_are_no_power_nor_voltage() -> None:
    """Of signed ones 0xFFFF is -1; of others it means 'not there'."""
    words = {183: 0xFFFF, 184: 0xFFFF, 186: 0xFFFF, 188: 0xFFFF}
    async with site(TO_CT, words) as at:
        assert await at.get("battery_voltage", "battery_soc", "pv1_power") == (
            *(None, None, None),
        )
        assert await at.get("pv_power") is None


@pytest.mark.parametrize(("count", "power"), [(0x202, None), (0, 295), (0xFFFF, 295)])
async def test_pv_power_is_that_of_all_strings_that_are_counted(
    count: int, power: int | None
) -> None:
    """Without a count it is that of those that are known."""
    async with site(TO_CT, {18: count}) as at:
        assert await at.get("pv_power") == 556
        assert await at.get("pv_power", r186=0xFFFF) == power


async def test_counters_of_an_inverter_that_wakes_up_are_dropped() -> None:
    """It may answer zeros until it knows better; its temperatures give that away."""
    async with site(TO_CT, {90: 0, 91: 0, 72: 0, 78: 0}) as at:
        readings = await at.battery.read(["energy_charged_total", "grid_import_total"])

    assert readings.failures.keys() == {"energy_charged_total", "grid_import_total"}


# Setpoint


@both_ways
@pytest.mark.parametrize("case", by_name(VECTORS))
async def test_no_setpoint_is_offered(case: Vector, way: str) -> None:
    """The error says why, and nothing is written."""
    async with on_image(case, way) as (battery, units):
        assert battery.setpoint_limits is None
        assert not battery.issues
        with pytest.raises(NotSupportedError, match="single-phase"):
            await battery.set_power_setpoint(100)
        await battery.release()

        assert units.traffic.writes == []


@pytest.mark.parametrize("address", [44, 54, 240, 284, 290, 297, 311])
async def test_writes_to_forbidden_registers_are_refused(address: int) -> None:
    """Factory reset, erasing the settings, tests, and the grid code."""
    async with on_image(image(TO_CT)) as (battery, units):
        for device in battery.devices:
            with pytest.raises(NotSupportedError, match="never"):
                await device.write_words(address, [1])
        assert units.traffic.writes == []


# A simulated house


@both_ways
@pytest.mark.parametrize("work_mode", ["zero_export_to_load", "zero_export_to_ct"])
@pytest.mark.parametrize("counts", [{}, {"power_ratio": 10, "amp_steps": 10}])
async def test_values_are_those_of_the_house(
    way: str, work_mode: Any, counts: Mapping[str, int]
) -> None:
    """In either step that the inverter counts, and either power that it calls grid."""
    plant = house(phases=1, time_of_day=20.0, soc=70)
    plant.fixed_load = 3000
    options: dict[str, Any] = {"variant": "single", "work_mode": work_mode, **counts}
    async with (
        simulator(way, plant=plant, **options) as inverter,
        connected(inverter) as battery,
    ):
        readings = await battery.read()
        state = inverter.state()
        volts = inverter.inverter.voltage
        backup = sum(inverter.inverter.backup)

    seen = {
        key: pytest.approx(readings[key], abs=11)
        for key in ("battery_power", "grid_power", "load_power")
    }
    assert {key: state[key] for key in seen} == seen
    assert readings["ups_power"] == pytest.approx(backup, abs=11)
    assert readings["battery_current"] == pytest.approx(
        state["battery_power"] / volts, abs=0.1
    )
    assert readings["grid_connected"] is True
    assert readings["energy_charged_total"] == 7000.1
    assert readings["grid_import_total"] == 6554.8
    assert readings["battery_bms_charge_current_limit"] == 200


async def test_without_a_meter_the_load_is_that_of_the_backup_port() -> None:
    """The inverter sees nothing else of the house."""
    plant = house(phases=1)
    plant.fixed_load = 3000
    async with (
        simulator(
            plant=plant, variant="single", meter=False, work_mode="zero_export_to_load"
        ) as inverter,
        connected(inverter) as battery,
    ):
        assert await battery.get("load_power") == pytest.approx(600, abs=2)
        assert await battery.get("grid_power") == pytest.approx(
            sum(inverter.inverter.backup) + sum(inverter.plant.inverter), abs=2
        )
