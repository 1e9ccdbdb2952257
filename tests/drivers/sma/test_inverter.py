"""The SMA driver, against register images and against a simulated Sunny Island."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
import itertools
from typing import Any

import pytest

from custom_components.homebattery.drivers.battery.base import SetpointLimits
from custom_components.homebattery.drivers.battery.controller import (
    DeviceIssue,
    Grant,
    LimitReason,
    SuspendedError,
)
from custom_components.homebattery.drivers.battery.settings import (
    NumberSetting,
    SwitchSetting,
)
from custom_components.homebattery.drivers.errors import (
    CannotConnectError,
    DeviceRefusedError,
    InvalidValueError,
    NotConfirmedError,
    NotSupportedError,
    TakenOverError,
    UnitAbsentError,
    WrongDeviceError,
)
from custom_components.homebattery.drivers.measurements import MEASUREMENTS
from custom_components.homebattery.drivers.modbus.planning import plan_blocks
from custom_components.homebattery.drivers.modbus.register import DataType
from custom_components.homebattery.drivers.sma import conditions as sma_conditions
from custom_components.homebattery.drivers.sma.inverter import SmaInverter
from custom_components.homebattery.drivers.sma.measurements import (
    NO_WATCHDOG,
    firmware,
    model,
)
from custom_components.homebattery.drivers.sma.registers import LAYOUT, REGISTERS
from tests.drivers.conftest import Leap, fast_keys
from tests.drivers.vectors import assert_expected, by_name, read_plausible
from tests.simulators import ManualClock, Plant, SmaSimulator
from tests.simulators.image import ModbusImage, Vector, load
from tests.simulators.modbus import Read, Write

pytestmark = pytest.mark.usefixtures("socket_enabled")

VECTORS = load("sma_sunny_island")
BY_NAME = {vector["name"]: vector for vector in VECTORS}
IDENTIFIED = BY_NAME["identification"]

NEVER_WRITE = {
    **dict.fromkeys(
        (40210, 40211, *range(44025, 44035)), "Grid Guard: needs the installer's code"
    ),
    **dict.fromkeys((43090, 43091), "the installer's code itself"),
    **dict.fromkeys((40077, 40078), "restarts the device"),
    **dict.fromkeys(
        range(41193, 41197), "behaviour without a controller: the installer's choice"
    ),
    **dict.fromkeys((44037, 44038), "the same"),
    **dict.fromkeys(
        (44425, 44426, 44427, 44428), "flash, read-back of the cyclic setpoint"
    ),
    **dict.fromkeys((44439, 44440), "flash, read-back of the cyclic grid target"),
    **dict.fromkeys(
        (30953, 31391, 40073, 40212, 40216, 40793, 40797), "another device's"
    ),
}
"""Registers that the driver must not write, and why."""


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the pauses, and read the conditions of a setpoint each time."""
    monkeypatch.setattr(SmaInverter, "settle", 0)
    monkeypatch.setattr(SmaInverter, "spacing", 0)
    monkeypatch.setattr(sma_conditions, "_FRESH", 0)


def device(vector: Vector = IDENTIFIED, /, **numbers: int | None) -> ModbusImage:
    """Return an image with some numbers (by 'r' and address) changed, or gone."""
    words = dict(vector["units"]["3"])
    for name, number in numbers.items():
        address = int(name.removeprefix("r"))
        for offset, word in enumerate(_two_words(number or 0)):
            words[str(address + offset)] = word
            if number is None:
                del words[str(address + offset)]
    return ModbusImage(vector | {"units": {"3": words}})


def _two_words(number: int) -> tuple[int, int]:
    return number >> 16 & 0xFFFF, number & 0xFFFF


def put(image: ModbusImage, address: int, number: int) -> None:
    """Change a number of a running image."""
    image.units.units[3].update(enumerate(_two_words(number), address))


@asynccontextmanager
async def connected(
    image: ModbusImage | SmaSimulator, **options: Any
) -> AsyncIterator[SmaInverter]:
    """Yield a driver of an image or a simulator."""
    async with SmaInverter(image.host, image.port, **options) as battery:
        yield battery


# Vectors


@pytest.mark.parametrize("vector", by_name(VECTORS))
async def test_values_are_those_of_the_vector(vector: Vector) -> None:
    """Every expected value is met."""
    async with ModbusImage(vector) as image, connected(image) as battery:
        readings = await battery.read()
        seen = {**readings, "model": battery.identity.model}

    assert_expected(vector, seen)


@pytest.mark.parametrize("vector", by_name(VECTORS))
async def test_every_other_value_is_plausible(vector: Vector) -> None:
    """Each value that no vector expects is at least of its key's kind."""
    async with ModbusImage(vector) as image, connected(image) as battery:
        await read_plausible(battery)


@pytest.mark.parametrize("vector", by_name([v for v in VECTORS if v["writes"]]))
async def test_writes_are_those_of_the_vector(vector: Vector) -> None:
    """Each action writes exactly these words, one after the other."""
    async with ModbusImage(vector) as image, connected(image) as battery:
        for action in vector["writes"]:
            before = len(image.writes)
            if action["action"] == "release":
                # Of a lease of the time before a restart.
                battery.snapshot = battery.snapshot or {"external_control": None}
                await battery.release()
            else:
                await battery.set_power_setpoint(action["value"])
            written = [list(write) for write in image.writes[before:]]
            assert written in (
                action["expect_writes"],
                action.get("or_single_write"),
            ), action


# The table


def test_forbidden_registers_are_not_writable() -> None:
    """Neither the installer's, nor those in flash that are no settings."""
    writable = {
        address
        for register in REGISTERS
        if register.writable
        for address in range(register.address, register.end)
    }
    assert not writable & NEVER_WRITE.keys()
    assert LAYOUT.never_write == NEVER_WRITE.keys()


@pytest.mark.parametrize("address", NEVER_WRITE)
async def test_writes_to_forbidden_registers_are_refused(address: int) -> None:
    """By any caller, and within any number of words."""
    async with device() as image, connected(image) as battery:
        (unit,) = battery.devices
        for words in ([0], [0, 0]):
            with pytest.raises(NotSupportedError, match="never be written"):
                await unit.write_words(address + 1 - len(words), words)
        assert image.writes == []


def test_registers_have_names_and_places_of_their_own() -> None:
    """No two registers share a word or a name."""
    names = [register.name for register in REGISTERS]
    assert len(set(names)) == len(names)
    ordered = sorted(REGISTERS, key=lambda register: register.address)
    for one, next_one in itertools.pairwise(ordered):
        assert one.end <= next_one.address, (one, next_one)


@pytest.mark.parametrize("register", REGISTERS, ids=lambda register: register.name)
def test_not_available_is_none_in_every_type(register: Any) -> None:
    """Each type has its own number for 'not available'."""
    nans = {
        DataType.INT16: [[0x8000]],
        DataType.INT32: [[0x8000, 0], [0x7FFF, 0xFFFF]],
        DataType.UINT32: [[0xFFFF, 0xFFFF]],
        DataType.UINT64: [[0xFFFF] * 4],
    }[register.data_type]
    if register.enum is not None:
        nans.append([0x00FF, 0xFFFD])

    assert [register.decode(words) for words in nans] == [None] * len(nans)


def test_registers_in_flash_are_marked() -> None:
    """Settings live in flash; the setpoint and its like do not."""
    persistent = {register.name for register in REGISTERS if register.persistent}
    cyclic = {register.name for register in REGISTERS if not register.readable}

    assert {"operation", "charge_power_limit", "backup_width"} <= persistent
    assert {"setpoint", "external_control"} <= cyclic
    assert not persistent & cyclic


def test_no_block_runs_across_a_register_that_can_only_be_written() -> None:
    """Such a block would be refused; and each begins and ends with a register."""
    readable = [register for register in REGISTERS if register.readable]
    write_only = {register.address for register in REGISTERS if not register.readable}

    for block in plan_blocks(readable, LAYOUT):
        addresses = range(block.address, block.address + block.count)
        assert not write_only.intersection(addresses)
        assert addresses[-1] + 1 == max(register.end for register in block.registers)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0x03200904, "3.20.9.R"),
        (0x02050003, "2.05.0.B"),
        (0x10110C00, "10.11.12.N"),
        (0x01000209, "1.00.2.9"),
        (None, None),
    ],
)
def test_firmware_version_has_its_usual_form(
    code: int | None, text: str | None
) -> None:
    """Two numbers in BCD, one in binary, and a letter."""
    assert firmware(code) == text


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (9476, "SI8.0H-13"),
        (9223, "SI6.0H-11"),
        (9999, "SMA 9999"),
        (None, "Sunny Island"),
    ],
)
def test_models_are_named(code: int | None, name: str) -> None:
    """An unknown model is no reason to fail."""
    assert model(code) == name


# Connecting


async def test_identity_is_that_of_the_device() -> None:
    """Serial number, model and firmware come from the device."""
    async with device() as image, connected(image) as battery:
        identity = battery.identity

    assert identity.serial_number == "3012345678"
    assert (identity.manufacturer, identity.model) == ("SMA", "SI8.0H-13")
    assert identity.firmware == "3.20.9.R"


@pytest.mark.parametrize(
    "numbers", [{"r30051": 8001}, {"r30055": 460}, {"r30051": None}]
)
async def test_another_device_is_turned_down(numbers: dict[str, int | None]) -> None:
    """A solar inverter of SMA, another maker's device, one without these registers."""
    async with device(**numbers) as image:
        with pytest.raises(WrongDeviceError, match="not an SMA"):
            await SmaInverter(image.host, image.port).connect()


async def test_another_unit_id_says_so() -> None:
    """The error is that of the unit, not of the kind of device."""
    async with device() as image:
        with pytest.raises(UnitAbsentError):
            await SmaInverter(image.host, image.port, unit_id=4).connect()


@pytest.mark.parametrize("code", [9326, 9356, 9360, 9225, 12345])
async def test_a_model_that_is_no_sunny_island_is_only_read(code: int) -> None:
    """It would accept a setpoint, and do nothing."""
    async with device(r30053=code) as image, connected(image) as battery:
        assert battery.issues == {DeviceIssue.MODEL_READ_ONLY}
        assert battery.setpoint_limits is None
        assert battery.settings == {}
        assert (await battery.read())["battery_soc"] is not None
        with pytest.raises(NotSupportedError, match="40149"):
            await battery.set_power_setpoint(500)
        assert battery.snapshot is None
        assert image.writes == []


async def test_a_model_that_was_held_before_it_was_known_is_released() -> None:
    """By the snapshot of an earlier version."""
    async with device(r30053=9356) as image, connected(image) as battery:
        battery.snapshot = {"external_control": None}
        await battery.release()
        assert image.writes == [(3, 40151, [0, 803])]
        assert battery.snapshot is None


async def test_series_11_lacks_three_settings() -> None:
    """One of them refused two, and the third is not in their list."""
    gone = {"bms_mode", "active_power_upper_limit", "active_power_lower_limit"}
    for code, missing in ((9279, gone), (9333, set[str]())):
        async with device(r30053=code) as image, connected(image) as battery:
            assert gone - battery.settings.keys() == missing


async def test_reading_and_connecting_write_nothing() -> None:
    """Only a setpoint or a setting causes a write."""
    async with device() as image, connected(image) as battery:
        await battery.read()
        await battery.release()
        await battery.keep_alive()

        assert image.writes == []


async def test_a_cluster_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """The effect of its setpoint is not known."""
    async with device(r40783=123, r40785=0) as image, connected(image) as battery:
        assert await battery.get("cluster") is True
    assert "master of a cluster" in caplog.text


# Reading


FULL = BY_NAME["charging_single_phase"]


@pytest.mark.parametrize(
    ("numbers", "most"),
    [({"r44425": 0, "r44427": 803, "r30859": 803}, 4), ({"r44425": 0}, 6), ({}, 6)],
    ids=["all there", "half a read-back", "no read-back"],
)
async def test_the_fast_poll_takes_few_requests(
    numbers: dict[str, int], most: int
) -> None:
    """The lively default values take at most six requests, four with all registers."""
    async with device(FULL, **numbers) as image, connected(image) as battery:
        await battery.read()
        fast = fast_keys(battery)
        before = image.traffic.requests
        readings = await battery.read(fast)
        requests = image.traffic.requests - before

    assert not readings.failures
    assert {"battery_power", "battery_soc", "active_power", "grid_power"} <= set(fast)
    assert requests <= most


async def test_a_missing_register_costs_itself_only() -> None:
    """A block with a hole is asked for in halves once, and then around the hole."""
    async with device(FULL, r30851=None) as image, connected(image) as battery:
        keys = ["battery_soc", "battery_temperature", "battery_voltage"]
        first = await battery.read(keys)
        before = image.traffic.requests
        second = await battery.read(keys)

        assert first["battery_soc"] == second["battery_soc"] == 57
        assert isinstance(second.failures["battery_voltage"], NotSupportedError)
        assert image.traffic.requests - before == 1
        assert "battery_voltage" not in battery.measurements


async def test_only_registers_are_asked_for_that_the_table_has() -> None:
    """Each block begins and ends with a register of the table."""
    async with device() as image, connected(image) as battery:
        await battery.read()
        asked = {
            (entry.address, entry.address + entry.words)
            for entry in image.traffic.reads
        }

    assert {start for start, _ in asked} <= {register.address for register in REGISTERS}
    assert {end for _, end in asked} <= {register.end for register in REGISTERS}


async def test_battery_power_falls_back_on_the_ac_side() -> None:
    """Without its own registers the battery's power is that of the inverter."""
    async with (
        device(FULL, r31393=None, r31395=0xFFFFFFFF) as image,
        connected(image) as battery,
    ):
        assert await battery.get("battery_power") == 2480


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ({"r31393": 0xFFFFFFFF, "r31395": 300}, -300),
        ({"r31393": 300, "r31395": 0xFFFFFFFF}, 300),
    ],
)
async def test_one_direction_of_battery_power_may_be_unknown(
    numbers: dict[str, int], expected: int
) -> None:
    """While the battery charges, a device may not know its discharging power."""
    async with device(FULL, **numbers) as image, connected(image) as battery:
        assert await battery.get("battery_power") == expected


@pytest.mark.parametrize(("number", "health"), [(98, 98), (104, 104), (201, None)])
async def test_the_state_of_health_may_be_above_100(
    number: int, health: int | None
) -> None:
    """SMA calls it the present capacity, of 0 to 200 % of the rated one."""
    async with device(FULL, r30847=number) as image, connected(image) as battery:
        assert await battery.get("battery_soh") == health


COUNTERS = dict.fromkeys(("r31397", "r31399", "r31401", "r31403"), 0xFFFFFFFF)
"""The counters at the battery, not available; those of the AC side are."""


async def test_a_device_without_counters_at_the_battery_shows_those_of_the_ac_side() -> (
    None
):
    """Whether it lacks them, or does not know them."""
    for numbers in (dict.fromkeys(COUNTERS), COUNTERS):
        async with device(FULL, **numbers) as image, connected(image) as battery:
            assert await battery.get("energy_charged_total") == 1250
            assert await battery.get("energy_discharged_total") == 1090


async def test_energy_counters_keep_the_source_of_the_first_read() -> None:
    """The other one would make the total jump, whatever becomes known later."""
    async with device(FULL, **COUNTERS) as image, connected(image) as battery:
        assert await battery.get("energy_charged_total") == 1250
        for address, number in zip((31397, 31399), (0, 1_300_500), strict=True):
            put(image, address, number)
        assert await battery.get("energy_charged_total") == 1250

    async with device(FULL) as image, connected(image) as battery:
        at_battery = await battery.get("energy_charged_total")
        assert at_battery not in (None, 1250)
        for address in (31397, 31399):
            put(image, address, 0xFFFFFFFF)
        assert await battery.get("energy_charged_total") is None


async def test_a_counter_that_fails_just_now_does_not_decide_about_the_source() -> None:
    """Not read is neither unknown nor missing."""
    async with device(FULL) as image, connected(image) as battery:
        image.set_faults(exception=4, exception_count=2)
        first = await battery.read(["energy_charged_total", "energy_discharged_total"])
        assert first.failures
        readings = await battery.read(["energy_charged_total"])
        assert readings["energy_charged_total"] not in (None, 1250)


async def test_counters_that_nothing_is_known_of_yet_are_chosen_later() -> None:
    """A device in standby may report neither of them."""
    nothing = {**COUNTERS, "r30595": 0xFFFFFFFF, "r30597": 0xFFFFFFFF}
    async with device(FULL, **nothing) as image, connected(image) as battery:
        assert await battery.get("energy_charged_total") is None
        put(image, 30595, 1_250_000)
        assert await battery.get("energy_charged_total") == 1250


async def test_old_models_have_the_rating_of_their_name() -> None:
    """Models -11 do not report it."""
    async with (
        device(r30053=9279, r30231=None, r40189=0xFFFFFFFF, r40191=0xFFFFFFFF) as image,
        connected(image) as battery,
    ):
        assert battery.identity.model == "SI4.4M-11"
        assert await battery.get("rated_power") == 3300
        assert battery.setpoint_limits == SetpointLimits(-3300, 3300)


async def test_an_idle_battery_has_no_negative_zero() -> None:
    """0 A is 0 A either way."""
    vector = BY_NAME["standby_nan_and_negative_temperature"]
    async with ModbusImage(vector) as image, connected(image) as battery:
        assert str(await battery.get("battery_current")) in ("0", "0.0")


async def test_the_ac_current_is_that_of_all_phases() -> None:
    """Positive while the inverter delivers."""
    vector = BY_NAME["discharging_three_phase_cluster"]
    async with ModbusImage(vector) as image, connected(image) as battery:
        assert await battery.get_active_current_total() == pytest.approx(19.505)
        assert await battery.get_phase_current(2) == pytest.approx(6.57)
    vector = BY_NAME["standby_nan_and_negative_temperature"]
    async with ModbusImage(vector) as image, connected(image) as battery:
        assert await battery.get_active_current_total() is None


async def test_a_current_that_runs_the_other_way_is_reported_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """SMA's list does not give its sign."""
    async with device(FULL, r30843=46500) as image, connected(image) as battery:
        for _ in range(2):
            await battery.read(["battery_current", "battery_power"])
    async with device(FULL) as image, connected(image) as battery:
        await battery.read(["battery_current", "battery_power"])

    assert caplog.text.count("would be the other way") == 1


async def test_power_that_changes_its_sign_amid_a_read_is_not_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with device(FULL, r30843=46500) as image, connected(image) as battery:
        await battery.read(["battery_current", "battery_power"])

    assert "would be the other way" not in caplog.text


async def test_problems_are_named() -> None:
    """The device's complaints, in words."""
    async with (
        device(
            r30199=0,
            r30201=35,
            r30211=337,
            r30213=3501,
            r30215=885,
            r30251=1796,
            r31015=307,
            r31053=455,
            r31055=35,
        ) as image,
        connected(image) as battery,
    ):
        assert await battery.get("problem") == (
            "Fault",
            "Contact the installer",
            "Message 3501",
            "Locked after an error",
            "L2: Warning",
            "L3: Fault",
        )
        assert await battery.get("device_status") == "fault"


async def test_all_is_well_without_problems() -> None:
    """A part that is off, fine, absent or unknown is no problem."""
    numbers = {"r30211": 887, "r30213": 886, "r30215": 885, "r30251": 0x00FFFFFD}
    async with device(r31015=303, **numbers) as image, connected(image) as battery:
        assert await battery.get("problem") == ()


@pytest.mark.parametrize(
    ("number", "mode", "problems"),
    [(2506, "keep_values", (NO_WATCHDOG,)), (2507, "use_fallback", ())],
)
async def test_a_device_without_a_watchdog_is_warned_of(
    number: int, mode: str, problems: tuple[str, ...]
) -> None:
    """If it keeps its values, it goes on after a controller's crash."""
    async with device(r41193=number, r41195=600) as image, connected(image) as battery:
        assert await battery.get("fallback_mode") == mode
        assert await battery.get("fallback_timeout") == 600
        assert await battery.get("problem") == problems


@pytest.mark.parametrize(
    ("number", "issues"),
    [
        (2506, {DeviceIssue.KEEPS_SETPOINT}),
        (2507, set()),
        (0x00FFFFFD, {DeviceIssue.FALLBACK_UNKNOWN}),
        (None, {DeviceIssue.FALLBACK_UNKNOWN}),
    ],
    ids=["keeps", "falls back", "no value", "no register"],
)
async def test_a_fallback_that_is_wrong_or_unknown_is_an_issue(
    number: int | None, issues: set[DeviceIssue]
) -> None:
    """Where it is unknown the battery may keep its last setpoint, too."""
    async with device(r41193=number) as image, connected(image) as battery:
        await battery.read()
        assert battery.issues == issues


# Control


LIMITED = {"r33019": -4800 & 0xFFFFFFFF, "r30233": 5000}


@pytest.mark.parametrize(
    ("numbers", "limits", "asked", "granted"),
    [
        ({}, (-6000, 6000), (9999, -9999), (5500, -5800)),
        (LIMITED, (-6000, 4800), (9999, -9999), (4800, -5000)),
        (
            {"r40189": 0xFFFFFFFF, "r40191": 0xFFFFFFFF},
            (-6000, 6000),
            (6000, -6000),
            (6000, -6000),
        ),
        (
            {"r30233": 0xFFFFFFFF, "r40189": 0xFFFFFFFF, "r40191": 0xFFFFFFFF},
            (-6000, 6000),
            (6000, -6000),
            (6000, -6000),
        ),
        ({"r30231": 0xFFFFFFFF}, (-2300, 2300), (9999, -9999), (2300, -2300)),
    ],
    ids=["battery", "inverter", "no BMS", "rating alone", "nothing known"],
)
async def test_setpoints_are_kept_within_the_permitted_power(
    numbers: dict[str, int],
    limits: tuple[int, int],
    asked: tuple[int, int],
    granted: tuple[int, int],
) -> None:
    """Within the range of the inverter; the grant is within the battery's."""
    async with device(**numbers) as image, connected(image) as battery:
        assert battery.setpoint_limits == limits
        grants = [await battery.set_power_setpoint(power) for power in asked]
        assert tuple(grant.power for grant in grants) == granted
        assert image.writes[-1] == Write(3, 40149, [0, -granted[1], 0, 802])


async def test_the_users_limits_are_kept() -> None:
    """They narrow the range, and never widen it."""
    async with (
        device() as image,
        connected(image, max_charge_power=1200, max_discharge_power=9000) as battery,
    ):
        assert battery.setpoint_limits == SetpointLimits(-6000, 1200)
        assert await battery.set_power_setpoint(4000) == Grant(1200)


async def test_a_current_setpoint_is_that_of_the_battery() -> None:
    """A × battery voltage."""
    async with device(FULL) as image, connected(image) as battery:
        assert await battery.set_current_setpoint(10) == Grant(522)


async def test_renewal_repeats_the_setpoint_before_it_reads() -> None:
    """A slow device must not lapse during a read."""
    async with device() as image, connected(image) as battery:
        await battery.set_power_setpoint(1000)
        image.traffic.clear()
        granted = await battery.keep_alive()

        assert granted == Grant(1000)
        assert image.traffic.log[0] == Write(3, 40149, [0xFFFF, 64536, 0, 802])
        assert len(image.writes) == 1


async def test_renewal_does_not_need_to_read() -> None:
    """A value that cannot be read now counts as before."""
    async with device() as image, connected(image, timeout=0.1) as battery:
        await battery.set_power_setpoint(1000)
        image.traffic.clear()
        image.set_faults(drop=2)
        granted = await battery.keep_alive()

        assert granted == Grant(1000)
        assert image.writes == [(3, 40149, [0xFFFF, 64536, 0, 802])]


async def test_renewal_does_not_wait_for_a_whole_poll(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It goes in between two requests of a poll that is under way."""
    monkeypatch.setattr(sma_conditions, "_FRESH", 60)
    async with device(FULL) as image, connected(image) as battery:
        await battery.set_power_setpoint(1000)
        await battery.read()
        image.traffic.clear()
        image.set_faults(hang=True)
        poll = asyncio.create_task(battery.read())
        await asyncio.sleep(0.01)
        renewal = asyncio.create_task(battery.keep_alive())
        await asyncio.sleep(0.01)
        image.set_faults(hang=False)
        await asyncio.gather(poll, renewal)

        assert isinstance(image.traffic.log[0], Read)
        assert isinstance(image.traffic.log[1], Write)


async def test_renewal_follows_the_permitted_power() -> None:
    """A nearly full battery permits less charging, and later more again."""
    async with device() as image, connected(image) as battery:
        await battery.set_power_setpoint(3000)
        put(image, 40189, 900)
        less = await battery.keep_alive()
        put(image, 40189, 5500)
        more = await battery.keep_alive()

        assert (less, more) == (Grant(900, LimitReason.BATTERY), Grant(3000))
        assert image.writes[-1].words == [0xFFFF, 62536, 0, 802]


@pytest.mark.parametrize(
    ("numbers", "interval"),
    [
        ({}, 30),
        ({"r41193": 2507, "r41195": 600}, 30),
        ({"r41193": 2507, "r41195": 45}, 15),
        ({"r41193": 2507, "r41195": 1}, 1),
        ({"r41193": 2507, "r41195": 0xFFFFFFFF}, 30),
    ],
)
async def test_the_interval_of_renewals_fits_the_devices_time_out(
    numbers: dict[str, int], interval: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thrice in the time-out, but not more than once a second."""
    monkeypatch.setattr(SmaInverter, "spacing", 1)
    async with device(**numbers) as image, connected(image) as battery:
        assert battery.keep_alive_interval == interval


async def test_setpoints_are_spaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A burst of changes does not become a burst of writes."""
    monkeypatch.setattr(SmaInverter, "spacing", 1000)
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    async with device() as image, connected(image) as battery:
        monkeypatch.setattr(asyncio, "sleep", pause)
        await battery.set_power_setpoint(100)
        await battery.set_power_setpoint(200)
        monkeypatch.undo()

    assert pauses[0] == 0
    assert pauses[-1] == pytest.approx(1000, abs=10)


READ_BACK_REGISTERS = {"r44425": 0, "r44427": 803}


async def test_without_read_back_registers_the_accepted_setpoint_counts() -> None:
    """Until it is released."""
    async with device() as image, connected(image) as battery:
        before = await battery.get("power_setpoint")
        await battery.set_power_setpoint(-700)
        held = await battery.get("power_setpoint")
        await battery.release()

        assert (before, held, await battery.get("power_setpoint")) == (None, -700, None)


async def test_read_back_registers_count() -> None:
    """The device's register goes before the last write."""
    async with device(**READ_BACK_REGISTERS) as image, connected(image) as battery:
        await battery.set_power_setpoint(-700)
        ignored = await battery.get("power_setpoint")
        put(image, 44427, 802)
        put(image, 44425, 650)
        seen = await battery.get("power_setpoint")

        assert (ignored, seen) == (None, -650)


async def test_release_switches_external_control_off_once() -> None:
    """One write, and the snapshot is dropped."""
    async with device(**READ_BACK_REGISTERS) as image, connected(image) as battery:
        await battery.set_power_setpoint(500)
        assert battery.snapshot == {"external_control": "inactive"}
        await battery.release()
        await battery.release()
        await battery.keep_alive()

        assert image.writes[1:] == [(3, 40151, [0, 803])]
        assert battery.snapshot is None


async def test_release_after_a_restart_needs_only_the_snapshot() -> None:
    """A new driver releases a battery held by an earlier one."""
    async with device() as image, connected(image) as battery:
        await battery.set_power_setpoint(500)
        snapshot = battery.snapshot
    async with device() as image, connected(image) as battery:
        battery.snapshot = snapshot
        await battery.release()

        assert image.writes == [(3, 40151, [0, 803])]
        assert battery.snapshot is None


async def test_a_release_that_the_device_contradicts_is_kept_for_another_try() -> None:
    """The read-back shows external control that was not there before."""
    async with device(**READ_BACK_REGISTERS) as image, connected(image) as battery:
        await battery.set_power_setpoint(500)
        put(image, 44427, 802)
        with pytest.raises(NotConfirmedError, match="still active"):
            await battery.release()
        assert battery.snapshot is not None

        put(image, 44427, 803)
        await battery.release()
        assert battery.snapshot is None


async def test_another_controllers_setpoint_does_not_hinder_a_release() -> None:
    """Another controller keeps renewing, as it did before the snapshot."""
    async with device(r44425=0, r44427=802) as image, connected(image) as battery:
        await battery.set_power_setpoint(500)
        await battery.release()

        assert image.writes[-1] == (3, 40151, [0, 803])
        assert battery.snapshot is None


async def test_a_release_that_is_refused_is_kept_for_another_try() -> None:
    """The error of the device is raised."""
    async with device() as image, connected(image) as battery:
        await battery.set_power_setpoint(500)
        image.set_faults(exception=4, exception_count=1)
        with pytest.raises(DeviceRefusedError):
            await battery.release()
        assert battery.snapshot is not None


async def test_a_refused_setpoint_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing counts as held; the snapshot is kept, for a release."""
    async with device() as image, connected(image) as battery:
        battery.snapshot = await battery.take_snapshot()
        monkeypatch.setattr(sma_conditions, "_FRESH", 60)
        image.set_faults(exception=3, exception_count=1)
        with pytest.raises(DeviceRefusedError):
            await battery.set_power_setpoint(500)

        assert battery.snapshot is not None
        assert battery.held is None
        assert image.writes == []


async def test_a_setpoint_that_may_have_been_taken_is_released() -> None:
    """Exceptions 5 and 11 are no refusal: it is being done, or an answer got lost."""
    async with device() as image, connected(image) as battery:
        for code in (5, 11):
            image.set_faults(write_exception=code)
            with pytest.raises(DeviceRefusedError) as refused:
                await battery.set_power_setpoint(500)
            assert refused.value.written
            assert not refused.value.restored
            assert battery.snapshot is not None
            image.set_faults(write_exception=0)
            await battery.release()
            assert image.writes[-1] == (3, 40151, [0, 803])


async def test_after_a_refused_change_the_former_setpoint_is_renewed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing of the change was written."""
    monkeypatch.setattr(sma_conditions, "_FRESH", 60)
    async with device() as image, connected(image) as battery:
        await battery.set_power_setpoint(500)
        image.set_faults(exception=3, exception_count=1)
        with pytest.raises(DeviceRefusedError):
            await battery.set_power_setpoint(800)
        assert await battery.keep_alive() == Grant(500)
        assert image.writes[-1].words == [0xFFFF, 0x10000 - 500, 0, 802]


async def test_a_limit_that_is_refused_once_goes_on_to_count() -> None:
    """A device that once refuses to report a limit permits no more for that."""
    async with device(r40189=900) as image, connected(image) as battery:
        await battery.set_power_setpoint(3000)
        image.set_faults(exception=2, exception_count=1_000_000)
        with pytest.raises(DeviceRefusedError, match="refuses all"):
            await battery.read()
        image.set_faults(exception_count=0)
        del image.units.units[3][40189]
        assert await battery.keep_alive() == Grant(900, LimitReason.BATTERY)


@pytest.mark.parametrize("number", [1129, 0x00FFFFFD])
async def test_an_open_or_unknown_gate_permits_control(number: int) -> None:
    """Only a plain no closes it."""
    async with device(r31061=number) as image, connected(image) as battery:
        assert await battery.set_power_setpoint(100) == Grant(100)


async def test_a_closed_gate_refuses_control() -> None:
    """The error names the setting to change; nothing is written."""
    async with device(r31061=1130) as image, connected(image) as battery:
        assert await battery.get("charge_control_available") is False
        with pytest.raises(NotSupportedError, match="31061"):
            await battery.take_snapshot()
        with pytest.raises(NotSupportedError, match="31061"):
            await battery.set_power_setpoint(100)
        assert battery.snapshot is None
        assert image.writes == []


async def test_a_gate_that_closes_and_opens_again() -> None:
    """The device is released meanwhile, with one write; then control resumes."""
    async with device(r31061=1129) as image, connected(image) as battery:
        await battery.set_power_setpoint(100)
        put(image, 31061, 1130)
        for _ in range(2):
            with pytest.raises(SuspendedError, match="31061"):
                await battery.keep_alive()
        with pytest.raises(NotSupportedError, match="31061"):
            await battery.set_power_setpoint(200)
        writes = [list(write) for write in image.writes]
        shown = await battery.get("power_setpoint"), await battery.get("problem")
        put(image, 31061, 1129)
        granted = await battery.keep_alive()

        assert writes[1:] == [[3, 40149, [0xFFFF, 65436, 0, 802]], [3, 40151, [0, 803]]]
        assert shown == (
            None,
            ("The device takes no control of charging (31061 says no)",),
        )
        assert granted == Grant(100)
        assert image.writes[-1].words == [0xFFFF, 65436, 0, 802]
        assert await battery.get("problem") == ()


@pytest.mark.parametrize(
    ("address", "number"),
    [(33003, 1463), (33003, 2677), (30877, 1462)],
    ids=["backup", "generator", "no backup"],
)
async def test_off_the_grid_the_setpoint_rests(address: int, number: int) -> None:
    """The inverter makes the grid itself; back on the grid the setpoint resumes."""
    async with device() as image, connected(image) as battery:
        before = image.units.units[3][address + 1]
        await battery.set_power_setpoint(-1000)
        put(image, address, number)
        without_grid = await battery.keep_alive()
        resting = image.writes[-1]
        put(image, address, before)
        granted = await battery.keep_alive()

        assert without_grid == Grant(0, LimitReason.NO_GRID)
        assert resting == (3, 40151, [0, 803])
        assert granted == Grant(-1000)
        assert image.writes[-1].words == [0, 1000, 0, 802]


async def test_a_setpoint_that_is_set_off_the_grid_waits_for_it() -> None:
    """Nothing is written until the grid is back, and nothing when it fails again."""
    async with (
        ModbusImage(BY_NAME["discharging_three_phase_cluster"]) as image,
        connected(image) as battery,
    ):
        put(image, 33003, 1463)
        granted = await battery.set_power_setpoint(-1000)
        renewed = await battery.keep_alive()
        while_off = [*image.writes]
        put(image, 33003, 235)
        back = await battery.keep_alive()

        assert granted == renewed == Grant(0, LimitReason.NO_GRID)
        assert while_off == []
        assert back == Grant(-1000)
        assert image.writes == [(3, 40149, [0, 1000, 0, 802])]


async def test_another_setpoint_off_the_grid_ends_the_held_one() -> None:
    """Also before the loss of the grid was noticed; it is ended once."""
    async with device() as image, connected(image) as battery:
        before = image.units.units[3][33004]
        await battery.set_power_setpoint(-1000)
        put(image, 33003, 1463)
        for power in (-500, 700):
            granted = await battery.set_power_setpoint(power)
            assert granted == Grant(0, LimitReason.NO_GRID)
        while_off = image.writes[1:]
        put(image, 33003, before)
        assert await battery.keep_alive() == Grant(700)

        assert while_off == [(3, 40151, [0, 803])]


async def test_a_setpoint_of_before_is_ended_when_one_is_set_off_the_grid() -> None:
    """As after a crash of the controller: the device still is at the former one."""
    held = {"r44425": 1000, "r44427": 802}
    async with device(r33003=1463, **held) as image, connected(image) as battery:
        granted = await battery.set_power_setpoint(-500)

        assert granted == Grant(0, LimitReason.NO_GRID)
        assert image.writes == [(3, 40151, [0, 803])]


async def test_a_setpoint_that_waits_for_the_grid_can_be_released() -> None:
    async with device(r33003=1463) as image, connected(image) as battery:
        await battery.set_power_setpoint(-500)
        await battery.release()

        assert battery.held is None
        assert image.writes == [(3, 40151, [0, 803])]


async def test_emergency_charge_and_faults_are_the_devices_business() -> None:
    """The setpoint is renewed; the device decides."""
    async with device(r33003=3664, r30201=35) as image, connected(image) as battery:
        await battery.set_power_setpoint(-1000)
        assert await battery.keep_alive() == Grant(-1000)


@pytest.mark.parametrize(
    ("number", "mode", "problems"),
    [
        (1079, "external", ()),
        (
            1077,
            "manual_watts",
            ("The setpoint may be ignored (active-power mode: manual_watts)",),
        ),
        (0x00FFFFFD, None, ()),
    ],
)
async def test_a_mode_that_ignores_setpoints_is_a_problem_while_one_is_held(
    number: int, mode: str | None, problems: tuple[str, ...]
) -> None:
    """It is the installer's, so it is not changed."""
    async with device(r30835=number) as image, connected(image) as battery:
        assert await battery.get("active_power_mode") == mode
        assert await battery.get("problem") == ()
        await battery.set_power_setpoint(-1000)

        assert await battery.get("problem") == problems
        assert {write.address for write in image.writes} == {40149}


@pytest.mark.parametrize(
    ("asked", "measured", "stopped"),
    [
        (-2000, 5900, True),
        (-2000, 2900, False),
        (-2000, -5900, False),
        (2000, -5900, True),
        (-400, 5900, False),
    ],
)
async def test_a_cluster_that_multiplies_the_setpoint_is_stopped(
    asked: int, measured: int, stopped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a master's setpoint counts for each phase is not known."""
    monkeypatch.setattr(sma_conditions, "_RAMP", 0)
    async with device(r40783=123, r40785=456) as image, connected(image) as battery:
        await battery.set_power_setpoint(asked)
        put(image, 30775, measured & 0xFFFFFFFF)
        if not stopped:
            assert await battery.keep_alive() == Grant(asked)
            return
        for _ in range(2):
            with pytest.raises(SuspendedError, match="cluster"):
                await battery.keep_alive()
        assert image.writes[-1] == (3, 40151, [0, 803])
        assert len(image.writes) == 3

        put(image, 30775, 0)
        assert await battery.set_power_setpoint(-300) == Grant(-300)
        assert await battery.keep_alive() == Grant(-300)


@pytest.mark.parametrize("numbers", [{"r40783": 123}, {}])
async def test_a_cluster_gets_time_to_follow(numbers: dict[str, int]) -> None:
    """Filter and ramp of the device are slow; a single device is not judged at all."""
    async with device(r40785=0, **numbers) as image, connected(image) as battery:
        await battery.set_power_setpoint(-2000)
        put(image, 30775, 5900)
        assert await battery.keep_alive() == Grant(-2000)


async def test_fresh_readings_are_not_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A renewal costs one request while polls read its conditions."""
    monkeypatch.setattr(sma_conditions, "_FRESH", 60)
    async with device(FULL) as image, connected(image) as battery:
        await battery.read()
        await battery.set_power_setpoint(1000)
        before = image.traffic.requests
        await battery.keep_alive()

        assert image.traffic.requests - before == 1


async def test_phases_take_no_setpoints_of_their_own() -> None:
    """The installer would have to switch them on."""
    async with device() as image, connected(image) as battery:
        with pytest.raises(NotSupportedError):
            await battery.set_power_setpoint_phase(100, 1)
        with pytest.raises(NotSupportedError):
            await battery.set_current_setpoint_phase(1, 1)
        assert image.writes == []


# Settings


SETTINGS: list[tuple[str, int, int, Any, list[int]]] = [
    ("charge_power_limit", 44433, 6000, 2500, [0, 2500]),
    ("discharge_power_limit", 44437, 6000, 0, [0, 0]),
    ("ac_charge_current_limit", 40755, 20000, 12.5, [0, 12500]),
    ("active_power_upper_limit", 44039, 10000, 0, [0, 0]),
    ("active_power_lower_limit", 44041, -10000, -55.5, [0xFFFF, 0x10000 - 5550]),
    ("feed_in_resume_soc", 40705, 20, 30, [0, 30]),
    ("deep_discharge_protection_width", 40721, 10, 12, [0, 12]),
    ("backup_width", 40723, 15, 40, [0, 40]),
    ("conservation_width", 40725, 5, 6, [0, 6]),
    ("self_consumption_width", 40727, 65, 30, [0, 30]),
    ("operation", 40009, 1467, "stop", [0, 381]),
    ("bms_mode", 41259, 2424, "discharge", [0, 2290]),
    ("self_consumption_increase", 40075, 1130, True, [0, 1129]),
]


@pytest.mark.parametrize(
    ("key", "address", "number", "value", "words"),
    SETTINGS,
    ids=str,
)
async def test_a_setting_is_written_read_back_and_not_written_again(
    key: str, address: int, number: int, value: Any, words: list[int]
) -> None:
    """A setting in flash is written only when it changes."""
    numbers: dict[str, int | None] = {f"r{address}": number & 0xFFFFFFFF}
    async with device(**numbers) as image, connected(image) as battery:
        await battery.set_value(key, value)
        assert await battery.get(key) == value
        await battery.set_value(key, value)

        writes = [list(write) for write in image.writes]
        register = next(r for r in REGISTERS if r.address == address)
        assert writes == [[3, address, words]] * (1 if register.persistent else 2)


def test_every_setting_is_tested() -> None:
    """The list above has all of them."""
    battery = SmaInverter("127.0.0.1")
    assert set(battery.settings) == {key for key, *_ in SETTINGS}
    assert set(battery.settings) <= MEASUREMENTS.keys()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("feed_in_resume_soc", 91),
        ("conservation_width", 3),
        ("charge_power_limit", 6001),
        ("charge_power_limit", None),
        ("operation", "restart"),
        ("self_consumption_increase", "yes"),
    ],
)
async def test_a_value_that_cannot_be_is_refused(key: str, value: Any) -> None:
    """Before anything is written."""
    async with device() as image, connected(image) as battery:
        with pytest.raises(InvalidValueError):
            await battery.set_value(key, value)
        assert image.writes == []


async def test_a_setting_that_the_device_lacks_is_none() -> None:
    """Once the device has refused it."""
    async with device(r40723=10) as image, connected(image) as battery:
        await battery.read()
        assert "backup_width" in battery.settings
        assert "operation" not in battery.settings
        with pytest.raises(NotSupportedError):
            await battery.set_value("operation", "stop")


async def test_settings_are_of_the_kinds_that_platforms_know() -> None:
    """A number's ends hold, and a switch is one."""
    async with device() as image, connected(image) as battery:
        number = battery.settings["discharge_power_limit"]
        assert isinstance(number, NumberSetting)
        assert (number.minimum, number.maximum) == (0, 6000)
        assert isinstance(battery.settings["self_consumption_increase"], SwitchSetting)


# A simulated device


def island(**options: Any) -> tuple[SmaSimulator, ManualClock]:
    """Return a simulated device without panels, and its clock."""
    clock = ManualClock()
    plant = Plant(clock=clock, pv_peak=0, **options.pop("plant", {}))
    return SmaSimulator(plant, **options), clock


@pytest.mark.parametrize("read_back", [True, False])
@pytest.mark.parametrize("power", [2000, -2000, 0, 1, -1])
async def test_the_battery_follows_the_setpoint(power: int, read_back: bool) -> None:
    """In both directions, and not at all; less the losses up to the AC side."""
    simulator, clock = island(read_back=read_back)
    async with simulator, connected(simulator) as battery:
        granted = await battery.set_power_setpoint(power)
        clock.advance(5)

        assert granted == Grant(power)
        assert simulator.state()["mode"] == "controlled"
        assert simulator.device.output == pytest.approx(-power)
        assert await battery.get("active_power") == pytest.approx(-power)
        assert await battery.get("battery_power") == pytest.approx(
            power, rel=0.1, abs=1
        )
        assert await battery.get("power_setpoint") == power


async def test_renewal_keeps_the_setpoint_and_silence_ends_it() -> None:
    """Half an hour of renewals; then the device falls back by itself."""
    simulator, clock = island(time_out=90)
    async with simulator, connected(simulator) as battery:
        await battery.set_power_setpoint(1500)
        for _ in range(60):
            clock.advance(30)
            await battery.keep_alive()
        held = simulator.state()
        clock.advance(91)

        assert battery.keep_alive_interval == 30
        assert held["device"]["follows"]
        assert not simulator.state()["device"]["follows"]
        assert held["device"]["flash_writes"] == 0


async def test_a_device_that_keeps_its_values_has_no_watchdog() -> None:
    """The warning about it is for this."""
    simulator, clock = island(time_out=90, on_loss="keep")
    async with simulator, connected(simulator) as battery:
        problems = await battery.get("problem")
        await battery.set_power_setpoint(1500)
        clock.advance(3600)

        assert problems == (NO_WATCHDOG,)
        assert simulator.state()["device"]["follows"]


@pytest.mark.parametrize(
    "options", [{}, {"read_back": False}, {"write_only": "unknown"}]
)
async def test_a_released_device_is_automatic(options: dict[str, Any]) -> None:
    """It is automatic again, whichever of its registers can be read."""
    simulator, clock = island(**options)
    async with simulator, connected(simulator) as battery:
        await battery.set_power_setpoint(1500)
        clock.advance(5)
        await battery.release()
        clock.advance(5)

        assert simulator.state()["mode"] == "automatic"
        assert simulator.state()["grid_power"] == pytest.approx(0, abs=1)
        assert battery.snapshot is None


async def test_a_device_that_forgets_its_writes_is_not_called_released() -> None:
    """Its read-back shows that it still is controlled."""
    simulator, _ = island()
    async with simulator, connected(simulator) as battery:
        await battery.set_power_setpoint(1500)
        await simulator.misbehave("ignore_writes")
        with pytest.raises(NotConfirmedError):
            await battery.release()
        await simulator.misbehave("ignore_writes", on=False)
        await battery.release()

        assert simulator.state()["mode"] == "automatic"


async def test_a_device_that_was_off_is_held_again_by_the_next_renewal() -> None:
    """It comes back without external control, on another connection."""
    simulator, clock = island()
    async with simulator, connected(simulator) as battery:
        await battery.set_power_setpoint(1500)
        await simulator.misbehave("power_cycle")
        clock.advance(1)
        lost = simulator.state()["mode"]
        with suppress(CannotConnectError):
            await battery.keep_alive()
        await battery.keep_alive()

        assert (lost, simulator.state()["mode"]) == ("automatic", "controlled")


async def test_another_controllers_setpoint_is_noticed(leap: Leap) -> None:
    """After two reads the control is theirs: to renew, and to end."""
    simulator, _ = island()
    async with simulator, connected(simulator) as battery:
        await battery.set_power_setpoint(1500)
        await battery.get("power_setpoint")
        leap(10)
        await simulator.misbehave("other_controller", power=700)
        before = len(simulator.server.traffic.writes)
        for _ in range(2):
            await battery.get("power_setpoint")
        with pytest.raises(TakenOverError):
            await battery.keep_alive()
        await battery.release()

        assert len(simulator.server.traffic.writes) == before
        assert simulator.state()["battery_power"] < 0


async def test_write_without_effect_is_not_called_another_controllers(
    leap: Leap,
) -> None:
    """The device still shows the setpoint before, and takes the next one."""
    simulator, _ = island()
    async with simulator, connected(simulator) as battery:
        await battery.set_power_setpoint(1500)
        await battery.get("power_setpoint")
        await simulator.misbehave("ignore_writes")
        await battery.set_power_setpoint(-400)
        leap(10)
        for _ in range(3):
            await battery.get("power_setpoint")
        with pytest.raises(NotConfirmedError, match="still shows"):
            await battery.keep_alive()
        await simulator.misbehave("ignore_writes", on=False)
        await battery.keep_alive()
        assert await battery.get("power_setpoint") == -400
        assert await battery.keep_alive() == Grant(-400)
        await battery.release()
        assert simulator.mode == "automatic"


@pytest.mark.parametrize(("minutes", "is_theirs"), [(1, True), (20, False)])
async def test_external_control_that_is_switched_off_twice(
    leap: Leap, minutes: int, is_theirs: bool
) -> None:
    """Once may be a restart. Soon again is another controller; later a restart."""
    simulator, clock = island()
    async with simulator, connected(simulator) as battery:
        await battery.set_power_setpoint(1500)
        for passing in (10, 60 * minutes):
            await battery.get("power_setpoint")
            leap(passing)
            simulator.device.restart()
            for _ in range(3):
                await battery.get("power_setpoint")
            if passing == 10 or not is_theirs:
                assert await battery.keep_alive() == Grant(1500)
                assert simulator.mode == "controlled"
        if is_theirs:
            with pytest.raises(TakenOverError):
                await battery.keep_alive()
            assert simulator.mode == "automatic"


async def test_the_reason_for_a_smaller_grant_is_reported() -> None:
    """And reset with it."""
    async with device() as image, connected(image) as battery:
        reasons = [(await battery.set_power_setpoint(3000)).reason]
        put(image, 40189, 900)
        grant = await battery.keep_alive()
        assert grant is not None
        reasons.append(grant.reason)
        put(image, 31061, 1130)  # "no"
        with pytest.raises(SuspendedError) as suspended:
            await battery.keep_alive()
        reasons.append(suspended.value.reason)
        await battery.release()
        assert battery.held is None

    assert reasons == [None, LimitReason.BATTERY, LimitReason.REFUSED]


async def test_when_the_grid_fails_the_setpoint_rests_until_it_is_back() -> None:
    """The house is fed meanwhile."""
    simulator, clock = island()
    async with simulator, connected(simulator) as battery:
        await battery.set_power_setpoint(1500)
        await simulator.misbehave("grid_lost")
        clock.advance(30)
        assert await battery.keep_alive() == Grant(0, LimitReason.NO_GRID)
        resting = simulator.state()["mode"]
        await simulator.misbehave("grid_lost", on=False)
        clock.advance(30)
        await battery.keep_alive()

        assert (resting, simulator.state()["mode"]) == ("automatic", "controlled")


async def test_a_setpoint_without_effect_is_seen() -> None:
    """The measured power and the problem show it, not the setpoint."""
    simulator, clock = island(power_mode=1077)
    async with simulator, connected(simulator) as battery:
        await battery.set_power_setpoint(1500)
        clock.advance(5)
        readings = await battery.read(["battery_power", "problem", "active_power_mode"])

    assert isinstance(readings["battery_power"], float | int)
    assert readings["battery_power"] < 0
    assert readings["active_power_mode"] == "manual_watts"
    assert readings["problem"] == (
        "The setpoint may be ignored (active-power mode: manual_watts)",
    )


@pytest.mark.parametrize(("per_phase", "stopped"), [(True, True), (False, False)])
async def test_a_cluster_is_watched(
    per_phase: bool, stopped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster that takes the setpoint per device does three times as much."""
    monkeypatch.setattr(sma_conditions, "_RAMP", 0)
    simulator, clock = island(plant={"phases": 3}, per_phase=per_phase)
    async with simulator, connected(simulator) as battery:
        await battery.set_power_setpoint(-1000)
        clock.advance(30)
        if stopped:
            with pytest.raises(SuspendedError, match="cluster"):
                await battery.keep_alive()
        else:
            assert await battery.keep_alive() == Grant(-1000)

        assert simulator.state()["mode"] == ("automatic" if stopped else "controlled")


async def test_the_whole_range_is_taken() -> None:
    """No setpoint within the limits is out of the device's range."""
    simulator, _ = island(rated_power=3300)
    async with simulator, connected(simulator) as battery:
        limits = battery.setpoint_limits
        assert limits is not None
        for power in (limits.minimum, limits.maximum, 99999, -99999):
            await battery.set_power_setpoint(power)

        assert limits == SetpointLimits(-3300, 3300)
        refusals = simulator.server.traffic.refusals
        assert {refusal.code for refusal in refusals} <= {2}


async def test_a_start_and_a_minute_of_polls_do_not_lock_the_device_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The number of requests that are too many is not known; the start has thirty."""
    monkeypatch.setattr(sma_conditions, "_FRESH", 75)
    simulator, clock = island()
    async with simulator, connected(simulator) as battery:
        await simulator.misbehave("lock_up", requests=30)
        await battery.read()
        for _ in range(6):
            clock.advance(11)
            await battery.read()
            await battery.set_power_setpoint(500)

        assert not simulator.state()["device"]["locked_up"]


async def test_standby_is_unknown_not_zero() -> None:
    """A device in standby reports neither power nor the energy at the battery."""
    simulator, _ = island()
    async with simulator, connected(simulator) as battery:
        await simulator.misbehave("standby")
        readings = await battery.read()

    for key in ("active_power", "battery_power", "grid_power"):
        assert readings[key] is None
    assert readings["energy_charged_total"] == 1000
    assert readings["battery_soc"] == 50


async def test_grid_power_fails_when_neither_direction_can_be_read() -> None:
    """Unknown it would be if the device said so."""
    simulator, _ = island()
    async with simulator, connected(simulator) as battery:
        await battery.read()
        await simulator.misbehave("exception", code=4, count=100)
        readings = await battery.read(["grid_power", "battery_soc"])

    assert readings.failures.keys() == {"grid_power", "battery_soc"}


async def test_every_setting_of_a_device_can_be_changed() -> None:
    """Each is written once, if the device keeps it in flash."""
    simulator, _ = island()
    async with simulator, connected(simulator) as battery:
        before = await battery.read(list(battery.settings))
        for key, _, _, value, _ in SETTINGS:
            await battery.set_value(key, value)
            assert await battery.get(key) == value
        once = simulator.state()["device"]["flash_writes"]
        for key, _, _, value, _ in SETTINGS:
            await battery.set_value(key, value)

        assert not before.failures
        assert simulator.state()["device"]["flash_writes"] == once
        assert set(simulator.state()["device"]["flash_writes_by_setting"].values()) == {
            1
        }


@pytest.mark.parametrize("fault", ["negative_rating", "reversed_current"])
async def test_signs_that_are_not_documented_do_no_harm(fault: str) -> None:
    """The rated power for charging counts without its sign."""
    simulator, _ = island()
    async with simulator:
        await simulator.misbehave(fault)
        async with connected(simulator) as battery:
            assert battery.setpoint_limits == SetpointLimits(-6000, 6000)
            assert await battery.set_power_setpoint(1000) == Grant(1000)
