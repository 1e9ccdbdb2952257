"""Searching a GX device: the services that it has, and the questions that it refuses.

A GX logs each refused question as an error, and no register lists its services.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import pytest

from custom_components.homebattery.drivers.battery.controller import LimitReason
from custom_components.homebattery.drivers.errors import RequestTimeoutError
from custom_components.homebattery.drivers.victron import (
    controller as victron_controller,
    search as victron_search,
    units as victron_units,
)
from custom_components.homebattery.drivers.victron.inverter import VictronInverter
from tests.simulators import ManualClock, Plant, VictronSimulator
from tests.simulators.image import ModbusImage
from tests.simulators.modbus import Silent

from .sites import (
    BATTERY,
    IDLE_BATTERY,
    IDLE_SYSTEM,
    METER,
    VEBUS,
    battery,
    name,
    pv_inverter,
    site,
    vebus,
)

pytestmark = pytest.mark.usefixtures("socket_enabled")

MOST_REFUSED: Final = 5
"""Questions that the GX of a usual site refuses, once in its life."""


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the pauses."""
    monkeypatch.setattr(VictronInverter, "settle", 0)
    monkeypatch.setattr(victron_controller, "_FRESH", 0)
    monkeypatch.setattr(victron_search, "CHANGING", 0)
    monkeypatch.setattr(victron_units, "SERVER_RESTART", 0)


def idle_house() -> Plant:
    """Return a house with neither load nor sun."""
    plant = Plant(clock=ManualClock())
    plant.fixed_pv = plant.fixed_load = 0.0
    return plant


# Questions that are refused


@pytest.mark.parametrize("house", [Plant, idle_house])
async def test_a_healthy_gx_refuses_few_questions(house: Any) -> None:
    """As few as before other places were asked: five."""
    async with VictronSimulator(house()) as gx:
        async with VictronInverter(gx.host, gx.port) as inverter:
            detected = dict(inverter.detected_config)
        refused = gx.server.traffic.refusals

    assert detected == {"unit_id": 227, "battery_unit_id": 225, "grid_unit_id": 40}
    assert len(refused) <= MOST_REFUSED


async def test_a_site_at_rest_at_night_costs_few_questions() -> None:
    """Nothing is certain then: neither current nor charge, and no power at the input."""
    units = {"225": {**BATTERY, **IDLE_BATTERY}, "227": vebus(0, 0)}
    async with (
        site(units, {**IDLE_SYSTEM, "811": 0}) as gx,
        VictronInverter(gx.host, gx.port) as inverter,
    ):
        refused = gx.traffic.refusals

    assert inverter.choices == {}
    assert len(refused) <= MOST_REFUSED


async def test_a_start_asks_for_nothing_that_is_absent() -> None:
    """The units are those of the entry."""
    async with (
        VictronSimulator(pv_unit=20) as gx,
        VictronInverter.from_setup(gx.setup),
    ):
        assert gx.server.traffic.refusals == []


# Questions that get no answer


def hang(gx: ModbusImage, monkeypatch: pytest.MonkeyPatch, *silent: int) -> None:
    """Leave reads of some units without an answer."""
    read = gx.units.read

    def answer(unit: int, address: int, count: int) -> list[int]:
        if unit in silent:
            raise Silent
        return read(unit, address, count)

    monkeypatch.setattr(gx.units, "read", answer)


async def test_the_search_goes_on_after_a_unit_that_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with site({"225": None, "77": BATTERY}) as gx:
        hang(gx, monkeypatch, 225)
        async with VictronInverter(gx.host, gx.port, timeout=0.3) as inverter:
            assert inverter.battery_unit_id == 77


async def test_the_search_ends_at_the_second_unit_that_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A GX refuses what it does not have: each time-out would cost seconds."""
    async with site({"225": None, "77": BATTERY}) as gx:
        hang(gx, monkeypatch, 225, 223)
        with pytest.raises(RequestTimeoutError):
            await VictronInverter(gx.host, gx.port, timeout=0.3).connect()


# Places


@pytest.mark.parametrize("unit", [100, 1, 60, 61, 77, 98, 99, 101, 204, 223, 244])
async def test_a_battery_is_detected(unit: int) -> None:
    """A device on VE.Can has instance 0, which is unit 100; drivers give others."""
    async with (
        VictronSimulator(battery_unit=unit) as gx,
        VictronInverter(gx.host, gx.port) as inverter,
    ):
        assert inverter.battery_unit_id == unit
        assert await inverter.get("battery_temperature") == 21.5


@pytest.mark.parametrize("unit", [30, 31, 40, 45, 100])
async def test_a_grid_meter_is_detected(unit: int) -> None:
    """A VM-3P75CT on VE.Can has instance 0."""
    async with (
        VictronSimulator(grid_unit=unit) as gx,
        VictronInverter(gx.host, gx.port) as inverter,
    ):
        assert inverter.grid_unit_id == unit
        assert await inverter.get("grid_import_total") == 1000


async def test_a_vebus_system_at_unit_100_is_detected() -> None:
    """It is asked last: there is hardly one with instance 0."""
    async with (
        site({"227": None, "100": VEBUS}) as gx,
        VictronInverter(gx.host, gx.port) as inverter,
    ):
        assert inverter.unit_id == 100
        assert (await inverter.set_power_setpoint(1000)).power == 1000


@pytest.mark.parametrize("firmware", ["old", "2025", "new"])
@pytest.mark.parametrize("unit", [100, 226, 3])
async def test_a_multi_rs_is_detected(unit: int, firmware: Any) -> None:
    """It is read without any unit id that was typed, and not controlled."""
    async with (
        VictronSimulator(rs_unit=unit, firmware=firmware) as gx,
        VictronInverter(gx.host, gx.port) as inverter,
    ):
        assert inverter.unit_id == unit
        assert inverter.identity.model == "Multi RS"
        assert await inverter.get("grid_voltage_l1") == 231
        assert inverter.setpoint_limits is None
        assert inverter.choices == {}


async def test_of_two_multi_rs_the_one_is_taken_that_the_gx_uses() -> None:
    """Its DC current is that of all inverters at the GX."""
    rs = dict.fromkeys(map(str, range(4500, 4616)), 0) | {"4524": 1, "4526": 5320}
    other, right = rs | {"4527": 0}, rs | {"4527": -184 & 0xFFFF}
    units = {"227": None, "100": other, "226": right}
    async with site(units) as gx, VictronInverter(gx.host, gx.port) as inverter:
        assert inverter.unit_id == 226


@pytest.mark.parametrize("firmware", ["old", "2025", "new"])
@pytest.mark.parametrize(
    ("unit", "house"), [(20, Plant), (20, idle_house), (30, Plant), (40, Plant)]
)
async def test_a_pv_inverter_is_detected(unit: int, house: Any, firmware: Any) -> None:
    """Each number is the one that a program of Victron's begins at.

    At night only the usual one is asked, as most sites have none.
    """
    async with (
        VictronSimulator(house(), pv_unit=unit, firmware=firmware) as gx,
        VictronInverter(gx.host, gx.port) as inverter,
    ):
        assert inverter.detected_config["pv_unit_id"] == unit
        assert await inverter.get("pv_energy_total") == pytest.approx(1000, abs=1)


@pytest.mark.parametrize(
    "units",
    [
        pytest.param({"20": 1234}, id="the_usual_one"),
        pytest.param({"21": 1234}, id="instead_of_20"),
        pytest.param({"21": 700, "23": 534}, id="a_gap_between"),
        pytest.param({"20": 700, "31": 0, "33": 534}, id="after_a_meter"),
        pytest.param({"40": 1000, "22": 234}, id="of_two_programs"),
    ],
)
async def test_pv_inverters_are_sought_until_they_have_the_power_of_the_gx(
    units: dict[str, int],
) -> None:
    """The GX shows 1234 W; numbers of inverters that were replaced are missing."""
    services = {unit: pv_inverter(watts) for unit, watts in units.items()}
    async with site(services) as gx, VictronInverter(gx.host, gx.port) as inverter:
        [*choices] = inverter.choices.get("pv_unit_id", ())
        detected = inverter.detected_config.get("pv_unit_id")

    seen: set[Any] = {choice.value for choice in choices} or {detected}
    assert seen == set(map(int, units))


async def test_a_pv_inverter_that_has_the_power_of_the_gx_ends_the_search() -> None:
    """As far as moments and losses allow: the next number, and no other, is asked."""
    async with (
        site({"20": pv_inverter(1150)}) as gx,
        VictronInverter(gx.host, gx.port) as inverter,
    ):
        refused = [
            each.unit for each in gx.traffic.refusals if each.unit in range(20, 50)
        ]

    assert inverter.pv_unit_id == 20
    assert refused == [30, 21]


async def test_one_of_several_pv_inverters_is_not_taken_for_all() -> None:
    """Each counts its own yield: the user chooses."""
    units = {"20": pv_inverter(1234) | name("Roof", 1070), "21": pv_inverter(-1)}
    async with site(units) as gx, VictronInverter(gx.host, gx.port) as inverter:
        assert "pv_unit_id" not in inverter.detected_config
        assert inverter.choices == {
            "pv_unit_id": ((20, "20: Roof, 1234 W"), (21, "21: -1 W"))
        }


async def test_a_server_that_crashes_over_unit_100_is_waited_for() -> None:
    """Unit 100 is the GX itself, and may yet have no battery."""
    async with VictronSimulator(battery_unit=99) as gx:
        await gx.misbehave("crash_on_absent")
        async with VictronInverter(gx.host, gx.port) as inverter:
            assert inverter.battery_unit_id == 99


async def test_a_search_finds_what_was_not_given() -> None:
    """While it is set up, an inverter's unit that is given prevents nothing."""
    async with VictronSimulator(pv_unit=20) as gx:
        inverter = VictronInverter(gx.host, gx.port, unit_id=227)
        inverter.searches = True
        async with inverter:
            assert {"host": gx.host, "port": gx.port, **inverter.detected_config} == (
                gx.setup
            )


def without(words: Mapping[str, int], address: int) -> dict[str, int]:
    """Return words without one, so that a block with it is refused."""
    return {key: words[key] for key in words if key != str(address)}


async def test_services_that_cannot_be_compared_are_listed() -> None:
    """Two of a kind would suit then, and a GX port comes before a USB port."""
    resting, meter = without(VEBUS, 12), without(METER, 2602)
    units = {"227": resting, "239": resting, "30": meter, "40": meter}
    async with site(units) as gx:
        del gx.units.units[100][845]
        async with VictronInverter(gx.host, gx.port) as inverter:
            listed = {
                field: [choice.text for choice in choices]
                for field, choices in inverter.choices.items()
            }

    assert listed == {
        "unit_id": ["227: Garage MP-II", "239: Garage MP-II"],
        "grid_unit_id": ["30: BX0000001", "40: BX0000001"],
    }


async def test_a_multi_rs_that_cannot_be_compared_is_taken() -> None:
    rs = dict.fromkeys(map(str, range(4500, 4527)), 0) | {"4524": 1}
    units = {"227": None, "100": rs, "226": rs}
    async with site(units) as gx, VictronInverter(gx.host, gx.port) as inverter:
        assert inverter.unit_id == 100


# Several batteries


@pytest.mark.parametrize("house", [Plant, idle_house])
@pytest.mark.parametrize("unit", [99, 45])
async def test_the_battery_is_the_sum_of_its_banks(house: Any, unit: int) -> None:
    """The GX uses the aggregate, whose limits are three times those of a bank.

    An idle system tells them apart by the charge that was taken out.
    """
    async with (
        VictronSimulator(house(), battery_unit=unit, banks=3) as gx,
        VictronInverter(gx.host, gx.port) as inverter,
    ):
        assert inverter.battery_unit_id == unit
        assert await inverter.get("max_discharge_current") == 100
        assert inverter.choices == {}


async def test_a_bank_at_a_port_of_the_gx_is_not_the_battery() -> None:
    """A second voltage that is equal is not enough."""
    units = {"225": battery(-6.1, -322), "223": battery(-12.3, -643), "7": BATTERY}
    async with site(units) as gx, VictronInverter(gx.host, gx.port) as inverter:
        assert inverter.battery_unit_id == 7


async def test_power_is_compared_too() -> None:
    units = {"225": battery(-18.4, -300), "3": BATTERY}
    async with site(units) as gx, VictronInverter(gx.host, gx.port) as inverter:
        assert inverter.battery_unit_id == 3


async def test_servers_without_the_power_of_a_battery_are_searched() -> None:
    """Before October 2022 it was not in the list."""
    old = {key: BATTERY[key] for key in BATTERY if int(key) >= 259}
    bank = {**old, "261": -61 & 0xFFFF}
    units = {"225": None, "1": bank, "2": old}
    async with site(units) as gx, VictronInverter(gx.host, gx.port) as inverter:
        assert inverter.battery_unit_id == 2


async def test_one_bank_that_is_blocked_does_not_block_the_system() -> None:
    """Its BMS allows no discharge; the aggregate's allows 300 A."""
    blocked = {"308": 0, "1298": 0}
    whole = {**BATTERY, "308": 3000}
    bank = battery(-6.1, -322)
    units = {"225": None, "1": bank | blocked, "2": bank, "3": bank, "99": whole}
    async with site(units) as gx, VictronInverter(gx.host, gx.port) as inverter:
        granted = await inverter.set_power_setpoint(-3000)

    assert granted.power == -3000


async def test_limits_of_a_bms_at_unit_100_are_kept() -> None:
    """In ESS mode 3 the GX keeps none of them."""
    bms = {**BATTERY, "307": 50, "308": 0, "1298": 0}
    units = {"225": None, "100": bms}
    async with site(units) as gx, VictronInverter(gx.host, gx.port) as inverter:
        discharge = await inverter.set_power_setpoint(-2500)
        charge = await inverter.set_power_setpoint(2500)

    assert (discharge.power, discharge.reason) == (0, LimitReason.BATTERY)
    assert charge.power < 300


@pytest.fixture
def idle_banks() -> ModbusImage:
    """Return a site with banks that do not differ: idle, without a count."""
    bank = {**BATTERY, **IDLE_BATTERY}
    low = {**bank, "266": 610}
    return site(
        {
            "225": None,
            "1": bank | name("Left", 1336),
            "2": bank,
            "3": low,
            "77": bank | name("Whole", 1336),
        },
        IDLE_SYSTEM,
    )


async def test_several_batteries_that_would_suit_are_listed(
    idle_banks: ModbusImage,
) -> None:
    """With names and present values; one with another SOC would not suit."""
    async with idle_banks as gx, VictronInverter(gx.host, gx.port) as inverter:
        [choices] = inverter.choices.values()

    assert inverter.choices.keys() == {"battery_unit_id"}
    assert choices == (
        (1, "1: Left, 52.38 V, 0.0 A, 0 W, 63.4 %, BMS +120/-150 A"),
        (2, "2: 52.38 V, 0.0 A, 0 W, 63.4 %, BMS +120/-150 A"),
        (77, "77: Whole, 52.38 V, 0.0 A, 0 W, 63.4 %, BMS +120/-150 A"),
    )
    assert inverter.battery_unit_id == 1


async def test_an_idle_battery_beside_its_aggregate_is_listed_with_it() -> None:
    idle = {**BATTERY, **IDLE_BATTERY}
    async with (
        site({"225": idle, "99": idle}, IDLE_SYSTEM) as gx,
        VictronInverter(gx.host, gx.port) as inverter,
    ):
        [choices] = inverter.choices.values()

    assert [choice.value for choice in choices] == [225, 99]


async def test_several_batteries_of_which_none_suits_are_listed() -> None:
    units = {"225": battery(-6.1, -322), "4": battery(-5.0, -262)}
    async with site(units) as gx, VictronInverter(gx.host, gx.port) as inverter:
        [choices] = inverter.choices.values()

    assert [choice.value for choice in choices] == [225, 4]


async def test_a_battery_that_follows_a_moment_later_is_compared_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The GX copies the values of a service after they have changed."""
    async with site({"225": battery(-30.0, -1571)}) as gx:

        async def wait(_seconds: float) -> None:
            gx.units.units[225].update({258: -965 & 0xFFFF, 261: -184 & 0xFFFF})

        monkeypatch.setattr(asyncio, "sleep", wait)
        async with VictronInverter(gx.host, gx.port) as inverter:
            refused = gx.traffic.refusals

    assert inverter.battery_unit_id == 225
    assert len(refused) <= MOST_REFUSED


# Several VE.Bus systems


@pytest.mark.parametrize(
    ("first", "second", "detected"),
    [
        pytest.param(vebus(-18.4, -840), vebus(3.0, 0), 227, id="charger_by_mk3"),
        pytest.param(vebus(3.0, 160), vebus(-18.4, -840), 239, id="second_fits"),
        pytest.param(vebus(-18.4, 0), vebus(-18.4, -840), 239, id="second_has_input"),
    ],
)
async def test_of_two_vebus_systems_the_one_is_taken_that_the_gx_uses(
    first: dict[str, int], second: dict[str, int], detected: int
) -> None:
    """Its DC current is that of the GX, and its input carries power."""
    async with (
        site({"227": first, "239": second}) as gx,
        VictronInverter(gx.host, gx.port) as inverter,
    ):
        assert inverter.unit_id == detected
        assert inverter.choices == {}


async def test_two_vebus_systems_that_would_suit_are_listed() -> None:
    resting = vebus(0, 0)
    units = {"227": resting | name("House", 140), "239": resting | name("", 140)}
    async with (
        site(units, IDLE_SYSTEM) as gx,
        VictronInverter(gx.host, gx.port) as inverter,
    ):
        assert inverter.choices["unit_id"] == (
            (227, "227: House, 52.31 V, 0.0 A, AC-in 0 W"),
            (239, "239: USB, 52.31 V, 0.0 A, AC-in 0 W"),
        )


async def test_an_inverter_off_grid_is_certain_by_its_current() -> None:
    """There is no power at any input: no other system need be asked for."""
    units = {"227": vebus(-18.4, 0)}
    async with (
        site(units, {"826": 240}) as gx,
        VictronInverter(gx.host, gx.port) as inverter,
    ):
        refused = gx.traffic.refusals

    assert inverter.unit_id == 227
    assert len(refused) <= MOST_REFUSED


# Several grid meters


@pytest.mark.parametrize("unit", ["30", "100"])
async def test_the_grid_meter_is_the_one_that_the_gx_uses(unit: str) -> None:
    units = {"40": METER | {"2600": 900}, unit: METER}
    async with site(units) as gx, VictronInverter(gx.host, gx.port) as inverter:
        assert inverter.grid_unit_id == int(unit)


async def test_two_grid_meters_that_would_suit_are_listed() -> None:
    """Meters report a serial number, if their user gave them no name."""
    async with (
        site({"30": METER | name("Main", 2650)}) as gx,
        VictronInverter(gx.host, gx.port) as inverter,
    ):
        assert inverter.choices["grid_unit_id"] == (
            (30, "30: Main, -422 W"),
            (40, "40: BX0000001, -422 W"),
        )
