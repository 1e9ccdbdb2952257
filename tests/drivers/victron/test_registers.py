"""The Victron driver where registers are not what they seem, and limits are bounded."""

from typing import Any

import pytest

from custom_components.homebattery.drivers.battery.base import SetpointLimits
from custom_components.homebattery.drivers.battery.controller import Grant, LimitReason
from custom_components.homebattery.drivers.errors import (
    DeviceBusyError,
    InvalidValueError,
)
from custom_components.homebattery.drivers.victron import (
    controller as victron_controller,
)
from custom_components.homebattery.drivers.victron.inverter import VictronInverter
from tests.drivers.victron.test_inverter import connected
from tests.simulators import VictronSimulator
from tests.simulators.image import ModbusImage, Vector, load

pytestmark = pytest.mark.usefixtures("socket_enabled")

VECTORS = load("victron")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the pauses, and read the conditions of a setpoint each time."""
    monkeypatch.setattr(VictronInverter, "settle", 0)
    monkeypatch.setattr(victron_controller, "_FRESH", 0)


def changed(vector: Vector, words: dict[int, dict[int, int]]) -> Vector:
    """Return a vector with other words, by unit and address."""
    units = {
        unit: known | {str(at): word for at, word in words.get(int(unit), {}).items()}
        for unit, known in vector["units"].items()
    }
    return vector | {"units": units}


# Words


@pytest.mark.parametrize(
    ("word", "power"), [(0, 0), (65535, -1), (0xF000, -4096), (0xEFFF, 61439)]
)
async def test_pv_power_is_unsigned_but_for_small_negative_values(
    word: int, power: int
) -> None:
    """At night it is a little below 0; a large array is beyond 32767 W."""
    for address in (808, 812, 850):
        vector = changed(VECTORS[0], {100: {808: 0, 811: 0, 850: 0, address: word}})
        for wide in range(884, 902):
            del vector["units"]["100"][str(wide)]
        async with ModbusImage(vector) as image, connected(image) as battery:
            assert await battery.get("pv_power") == power


async def test_pv_power_of_large_sites_comes_from_the_wide_registers() -> None:
    """The 16-bit register wraps; the 32-bit one may be a little below 0, too."""
    for words, power in (([1, 34464], 100_000), ([0xFFFF, 0xFFFE], -2)):
        wide = dict(enumerate(words, 890))
        vector = changed(VECTORS[0], {100: {808: 0, 811: 34464, 850: 0, **wide}})
        async with ModbusImage(vector) as image, connected(image) as battery:
            assert await battery.get("pv_power") == power


async def test_a_setpoint_beside_35_kw_of_dc_pv_draws_nothing_from_the_grid() -> None:
    """The Multis feed in what the battery does not take."""
    (vector,) = (v for v in VECTORS if v["name"] == "dc_pv_35_kw")
    async with ModbusImage(vector) as image, connected(image) as battery:
        await battery.set_power_setpoint(5000)
        _, _, words = image.writes[-1]

    setpoints = [words[0], *words[3:]]
    assert words[1:3] == [0, 0]
    assert all(setpoint >= 0x8000 for setpoint in setpoints)


async def test_powers_of_the_meter_beyond_32_kw_are_right() -> None:
    """The 16-bit registers wrap; the 32-bit ones beside them do not."""
    words = {2600: 40000, 2638: 0, 2639: 40000, 2601: 65436, 2640: 65535, 2641: 65436}
    vector = changed(VECTORS[1], {VECTORS[1]["unit_ids"]["grid"]: words})
    async with ModbusImage(vector) as image, connected(image) as battery:
        readings = await battery.read(["meter_power_l1", "meter_power_l2"])
    assert dict(readings) == {"meter_power_l1": 40000, "meter_power_l2": -100}


@pytest.mark.parametrize("volts", [26.5, 53.2])
async def test_without_a_battery_monitor_the_soc_is_unknown(volts: float) -> None:
    """It reads 0, and the battery is not called empty."""
    (vector,) = (v for v in VECTORS if v["name"] == "no_battery_monitor")
    # The grid is there, and the battery not low.
    vector = changed(vector, {100: {840: round(10 * volts)}, 228: {35: 0}})
    async with ModbusImage(vector) as image, connected(image) as battery:
        assert await battery.get("battery_soc") is None
        granted = await battery.set_power_setpoint(-500)
        assert granted == Grant(-500)


async def test_a_low_battery_without_a_soc_may_be_empty() -> None:
    """A 0 beside a low voltage counts."""
    (vector,) = (v for v in VECTORS if v["name"] == "no_battery_monitor")
    vector = changed(vector, {100: {840: 478}})
    async with ModbusImage(vector) as image, connected(image) as battery:
        assert await battery.get("battery_soc") == 0
        granted = await battery.set_power_setpoint(-500)
        assert granted == Grant(0, LimitReason.LOW_BATTERY)


@pytest.mark.parametrize(("before", "then"), [(63, None), (3, 0)])
async def test_a_soc_that_is_lost_is_not_0(before: int, then: int | None) -> None:
    """As while the service of the battery restarts; but it may go from 3 % to 0."""
    (vector,) = (v for v in VECTORS if v["name"] == "no_battery_monitor")
    vector = changed(vector, {100: {843: before}})
    async with ModbusImage(vector) as image, connected(image) as battery:
        assert await battery.get("battery_soc") == before
        image.units.units[100][843] = 0
        assert await battery.get("battery_soc") == then


async def test_a_soc_of_0_in_the_simulator_is_unknown() -> None:
    async with VictronSimulator(battery="none") as gx, connected(gx) as battery:
        await gx.misbehave("no_soc")
        assert await battery.get("battery_soc") is None
        await gx.misbehave("no_soc", on=False)
        assert await battery.get("battery_soc") == 50


@pytest.mark.parametrize("firmware", ["2025", "new"])
async def test_filler_among_the_alarms_is_no_alarm(firmware: Any) -> None:
    """Servers of 2025 had no registers yet at 327 to 329, and read 0xFFFF there."""
    async with VictronSimulator(firmware=firmware) as gx, connected(gx) as battery:
        assert await battery.get("problem") == ()
        assert await battery.get("battery_alarms") == ()
        await gx.misbehave("alarm", path="/Alarms/Contactor", service="battery")
        seen = await battery.get("battery_alarms")
    assert seen == (("Contactor",) if firmware == "new" else ())


@pytest.mark.parametrize("word", [3, 255, 0xFFFF])
async def test_a_word_that_is_no_level_of_an_alarm_is_no_alarm(word: int) -> None:
    """Nor is one that is neither 0 nor 1 a yes."""
    alarms = {
        unit: dict.fromkeys(addresses, word)
        for unit, addresses in {
            227: (34, 35, 36, 42, 43, 44, 63, 64, 94),
            225: (267, 268, 320, 326, 327, 329),
        }.items()
    }
    flags = {100: dict.fromkeys((806, 2707, 2708, 2709, 5400), word) | {2900: 13}}
    vector = changed(VECTORS[0], {**alarms, **flags})
    async with ModbusImage(vector) as image, connected(image) as battery:
        readings = await battery.read()
        assert readings["problem"] == ()
        for key in ("relay_1", "feed_in_dc_pv", "feed_in_limiting_active"):
            assert readings[key] is None
        for key in ("ess_state", "ess_battery_life_mode"):
            assert readings[key] is None
        assert (await battery.set_power_setpoint(500)).reason is not LimitReason.NO_GRID


@pytest.mark.parametrize(
    ("words", "rating"),
    [([0, 5000], 5000), ([1, 1], 5000), ([0, 499], 5000), ([0, 8000], 8000)],
)
async def test_a_rating_beyond_reason_is_unknown(words: list[int], rating: int) -> None:
    """Servers of 2023 had other things at its place; 5 kW are assumed then."""
    ratings = {**dict(enumerate(words, 130)), **dict(enumerate(words, 132))}
    vector = changed(VECTORS[0], {227: ratings})
    async with ModbusImage(vector) as image, connected(image) as battery:
        known = await battery.get("rated_power")
        assert battery.setpoint_limits == SetpointLimits(-rating, rating)
    assert known == (None if words in ([1, 1], [0, 499]) else rating)


async def test_a_battery_without_a_sensor_has_not_the_temperature_of_the_multi() -> (
    None
):
    """0.0 °C is unknown; only without a service of the battery the Multi's counts."""
    vector = changed(VECTORS[0], {225: {262: 0}, 227: {61: 184}})
    async with ModbusImage(vector) as image, connected(image) as battery:
        assert await battery.get("battery_temperature") is None
    vector |= {"unit_ids": vector["unit_ids"] | {"battery": None}}
    async with ModbusImage(vector) as image, connected(image) as battery:
        assert await battery.get("battery_temperature") == 18.4


# Limits


@pytest.mark.parametrize("firmware", ["old", "2025", "new"])
@pytest.mark.parametrize("key", ["discharge_power_limit", "max_feed_in_power"])
async def test_a_limit_that_was_lowered_can_be_lifted(firmware: Any, key: str) -> None:
    """By -1 in the wide register, or else by the largest value: never by 2704 = -10 W."""
    path = {
        "discharge_power_limit": "MaxDischargePower",
        "max_feed_in_power": "MaxFeedInPower",
    }[key]
    async with VictronSimulator(firmware=firmware) as gx, connected(gx) as battery:
        settings = gx.gx.settings
        await battery.set_value(key, 2000)
        assert settings[f"/Settings/CGwacs/{path}"] == 2000
        for _ in range(2):
            await battery.set_value(key, None)
            assert await battery.get(key) is None
        set_to = settings[f"/Settings/CGwacs/{path}"]
        written = [words for _, _, words in gx.server.traffic.writes]
        assert gx.state()["device"]["flash_writes"] == 2
    assert set_to == -1 if firmware == "new" else set_to > 300_000
    assert [0xFFFF] not in written


async def test_a_wide_register_that_gives_no_answer_is_not_called_missing() -> None:
    """The limit is not lifted then, and may be later."""
    async with VictronSimulator() as gx, connected(gx) as battery:
        await battery.set_value("discharge_power_limit", 2000)
        gx.server.set_faults(exception=6, exception_count=1)
        with pytest.raises(DeviceBusyError):
            await battery.set_value("discharge_power_limit", None)
        assert await battery.get("discharge_power_limit") == 2000


async def test_what_the_device_bounds_is_shown_and_no_error() -> None:
    """The range of the input current is that of the inverter's transfer switch."""
    async with VictronSimulator() as gx, connected(gx) as battery:
        await battery.set_value("ac_input_current_limit", 50)
        assert await battery.get("ac_input_current_limit") == 32
        with pytest.raises(InvalidValueError, match="keeps 32"):
            await battery.set_value("ac_input_current_limit", 60)


@pytest.mark.parametrize(("value", "taken"), [(22, 20), (24, 25), (36, 35)])
async def test_a_minimum_soc_that_the_device_rounds_is_no_error(
    monkeypatch: pytest.MonkeyPatch, value: int, taken: int
) -> None:
    """Some firmware has steps of 5 %."""
    async with VictronSimulator(min_soc=20) as gx, connected(gx) as battery:
        write = gx.gx.write

        def round_and_write(service: str, path: str, word: Any) -> None:
            is_soc = path.endswith("MinimumSocLimit")
            write(service, path, 5 * round(word / 5) if is_soc else word)

        monkeypatch.setattr(gx.gx, "write", round_and_write)
        await battery.set_value("min_soc", value)
        assert await battery.get("min_soc") == taken
