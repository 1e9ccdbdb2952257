"""Powers that a Deye inverter of some size cannot have: words that loggers make up."""

import pytest

from custom_components.homebattery.drivers.battery.controller import Grant, LimitReason
from custom_components.homebattery.drivers.deye.limits import most_powers

from .support import HIGH_VOLTAGE, MIDDAY, both_ways, on_image, vector

pytestmark = pytest.mark.usefixtures("socket_enabled", "no_waiting")

MADE_UP = 30_806
"""The word that one logger put into many registers for a moment, at a 12K."""
LIVE = (588, 590, 616, 622, 625, 633, 636, 643, 650, 653, 667, 673)
SIZES = {"12 kW": (120_000, 30_000), "8 kW": (80_000, 27_600)}
"""Rated power in tenths of W, and the most of any power, W."""


def with_size(tenths: int) -> dict[str, int]:
    """Return the words of a rated power."""
    return {"r20": tenths & 0xFFFF, "r21": tenths >> 16}


@both_ways
@pytest.mark.parametrize(("tenths", "most"), SIZES.values(), ids=SIZES)
async def test_a_power_that_is_too_much_for_the_inverter_is_no_value(
    way: str, tenths: int, most: int
) -> None:
    """Nor is the PV power with such a string in it; the others are as they are."""
    words = {f"r{address}": MADE_UP for address in LIVE}
    async with on_image(vector(MIDDAY, **with_size(tenths), **words), way) as (
        battery,
        _,
    ):
        readings = await battery.read()

    live = {key: value for key, value in readings.items() if key.endswith("power")}
    too_much = {
        key: value
        for key, value in live.items()
        if isinstance(value, int | float) and abs(value) > most
    }
    assert too_much == {}
    for key in ("battery_power", "battery_charge_power", "grid_power", "pv_power"):
        assert readings[key] is None, key
    assert readings["active_power_l2"] == 1842
    assert readings["pv1_power"] == 4470
    assert readings["max_sell_power"] == 12_000


@pytest.mark.parametrize(
    ("words", "key", "power"),
    [
        pytest.param({"r625": 22_000, "r690": 0}, "grid_power", 22_000, id="car"),
        pytest.param({"r672": 15_600}, "pv1_power", 15_600, id="more PV than AC"),
        pytest.param({"r590": 21_000}, "battery_power", -21_000, id="overload"),
        pytest.param({"r590": 26_000}, "battery_power", None, id="more than that"),
        pytest.param({"r653": 28_000}, "load_power", None, id="more than the house"),
    ],
)
async def test_what_is_possible_at_a_12k_is_shown(
    words: dict[str, int], key: str, power: int | None
) -> None:
    """About twice the rated power of the inverter, or three phases of 40 A."""
    async with on_image(vector(MIDDAY, **words)) as (battery, _):
        assert await battery.get(key) == power


@both_ways
async def test_nothing_follows_from_a_power_that_is_too_much(way: str) -> None:
    """The battery charges; one damaged word does not make it discharge."""
    async with on_image(vector(MIDDAY), way) as (battery, units):
        assert await battery.get("battery_status") == "charging"
        units.damaged = {590: MADE_UP}
        readings = await battery.read(["battery_power", "battery_status"])

    assert dict(readings) == {"battery_power": None, "battery_status": None}


async def test_a_power_coupled_at_the_ac_side_is_one_of_the_house() -> None:
    """Its words count 10 W; 0xFFFF is one that is not there."""
    words = {"r684": MADE_UP, "r685": 2700, "r686": 0xFFFF}
    keys = [f"ac_coupled_power_l{phase}" for phase in (1, 2, 3)]
    async with on_image(vector(MIDDAY, **words)) as (battery, _):
        readings = await battery.read(keys)

    assert [readings[key] for key in keys] == [None, 27_000, None]


async def test_a_high_voltage_inverter_has_its_own_size() -> None:
    """Its words count 10 W: 20 kW are no more than it can have."""
    async with on_image(vector(HIGH_VOLTAGE, r590=2000)) as (battery, _):
        assert await battery.get("battery_power") == -20_000


@pytest.mark.parametrize(
    ("name", "kilowatts", "filled", "power"),
    [
        pytest.param(HIGH_VOLTAGE, 25, True, 35_000, id="25K"),
        pytest.param(HIGH_VOLTAGE, 30, True, 44_000, id="30K"),
        pytest.param(HIGH_VOLTAGE, 50, True, 64_000, id="50K"),
        pytest.param(HIGH_VOLTAGE, 30, True, -3000, id="30K, exporting"),
        pytest.param(HIGH_VOLTAGE, 30, True, -20_000, id="30K, exporting more"),
        pytest.param(HIGH_VOLTAGE, 25, True, -25_000, id="25K, exporting"),
        pytest.param(HIGH_VOLTAGE, 20, True, -30_000, id="20K, exporting"),
        pytest.param(HIGH_VOLTAGE, 30, False, -30_536, id="30K, old firmware"),
        pytest.param(MIDDAY, 20, True, -30_000, id="low voltage, exporting"),
    ],
)
async def test_a_house_may_import_more_than_its_inverter_has(
    name: str, kilowatts: int, filled: bool, power: int
) -> None:
    """35 kW are no export, where the firmware is known to fill high words.

    Some leave one 0 beside others: what is much for the inverter is export.
    """
    low = power & 0xFFFF
    words = {"r625": low, "r690": 0, "r653": low, "r659": 0}
    other = {"r636": 0xFFF0, "r694": 0xFFFF} if filled else {"r636": 100}
    size = with_size(kilowatts * 10_000)
    blank = dict.fromkeys((f"r{each}" for each in range(687, 709)), 0)
    case = vector(name, **blank | words | other | size)
    async with on_image(case) as (battery, _):
        readings = await battery.read(["grid_power", "load_power"])

    assert dict(readings) == {"grid_power": power, "load_power": power}


async def test_the_meter_of_parallel_inverters_shows_all_of_them() -> None:
    """Three of 12 kW feed in more than one could."""
    words = {"r336": 0x0003, "r625": 0x10000 - 32_000, "r690": 0xFFFF}
    async with on_image(vector(MIDDAY, **words)) as (battery, _):
        readings = await battery.read()

    assert readings["grid_power"] == -32_000


def test_an_unknown_size_limits_nothing() -> None:
    """As behind gateways that do not answer for the first registers."""
    assert most_powers(0, is_parallel=False) == {}


@both_ways
@pytest.mark.parametrize("address", [587, 588])
@pytest.mark.parametrize("name", [MIDDAY, HIGH_VOLTAGE])
async def test_a_setpoint_heeds_no_impossible_voltage_or_soc(
    way: str, name: str, address: int
) -> None:
    """Nor is a battery of 30806 % full: it is held still until that is known."""
    async with on_image(vector(name, **{f"r{address}": 30_806}), way) as (battery, _):
        grant = await battery.set_power_setpoint(2000)
        await battery.release()

    assert grant == Grant(0, LimitReason.UNKNOWN_STATE)
