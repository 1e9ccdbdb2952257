"""Inverters behind an EMMA or a SmartLogger, which measures the house for them."""

import asyncio
from typing import Any

import pytest

from custom_components.homebattery.drivers import SmaInverter, detection
from custom_components.homebattery.drivers.battery.controller import DeviceIssue
from custom_components.homebattery.drivers.detection import detect, detect_at
from custom_components.homebattery.drivers.errors import (
    BatteryError,
    DeviceBusyError,
    DeviceFailureError,
    DeviceRefusedError,
    RequestTimeoutError,
    UndetectedUnitError,
    UnitAbsentError,
)
from custom_components.homebattery.drivers.measurements import Value
from custom_components.homebattery.drivers.modbus.probe import Probe
from custom_components.homebattery.drivers.modbus.tcp import ModbusTcpConnection
from custom_components.homebattery.drivers.sun2000 import (
    device_list,
    gateways as sun2000_gateways,
    house,
)
from custom_components.homebattery.drivers.sun2000.inverter import Sun2000Inverter
from tests.simulators import HuaweiSimulator, ManualClock
from tests.simulators.huawei_gateways import METER_UNIT
from tests.simulators.modbus import DEVICE_BUSY, Dropped, Read, Refusal, Refused

from .bench import bench, connected, without_pauses

pytestmark = pytest.mark.usefixtures("socket_enabled")

HOUSE = ("grid_power", "load_power", "grid_import_total", "grid_export_total")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    without_pauses(monkeypatch)
    monkeypatch.setattr(Probe, "connect_delay", 0)


def number(value: Value) -> float:
    assert isinstance(value, int | float)
    return value


def live_keys(battery: Sun2000Inverter) -> set[str]:
    """Return the keys of a live poll: those of all registers that are read often."""
    return {
        key for key in battery.measurements if battery.poll_rate(key).name == "FAST"
    }


def units_asked(
    simulator: HuaweiSimulator, monkeypatch: pytest.MonkeyPatch
) -> set[int]:
    """Return the unit ids that are read from now on, also those that are silent."""
    asked = set()
    read = simulator.units.read

    def note(unit: int, address: int, count: int) -> list[int]:
        asked.add(unit)
        return read(unit, address, count)

    monkeypatch.setattr(simulator.units, "read", note)
    return asked


# The house


@pytest.mark.parametrize("pv", [0, 4000])
async def test_an_emma_measures_the_house(pv: float) -> None:
    """Grid power is positive = import, the load that of grid and inverter.

    What the EMMA itself calls the load lacks storage that it does not control.
    """
    async with bench(access="emma", unit_id=4, pv=pv, soc=5 if not pv else 99) as at:
        state = at.simulator.state()
        readings = await at.battery.read()

        assert readings["grid_power"] == pytest.approx(state["grid_power"], abs=1)
        assert (number(readings["grid_power"]) > 0) is (pv == 0)
        assert readings["load_power"] == pytest.approx(600, abs=2)
        assert readings["meter_voltage_l2"] == 230
        assert (number(readings["meter_current_l1"]) > 0) is (pv == 0)
        assert readings["grid_import_total"] == 1000
        assert readings["grid_export_total"] == 1000
        assert "meter_status" not in readings
        assert "battery_soc" in readings


async def test_an_emma_without_totals_of_its_own_has_those_of_its_sensor() -> None:
    """Its negative energy is the export."""
    async with HuaweiSimulator(access="emma") as simulator:
        spans = [(30000, 30049), (30354, 30368), (31639, 31690)]
        emma = simulator.units.listeners[0]
        simulator.units.listeners[0] = emma._replace(spans=lambda: spans)
        simulator.plant.counters.imported[0] = 7000.0
        async with connected(simulator) as battery:
            readings = await battery.read()

    assert readings["grid_import_total"] == pytest.approx(1007, abs=0.1)
    assert readings["grid_export_total"] == pytest.approx(1000, abs=0.1)


async def test_a_smart_logger_measures_the_house_at_the_unit_of_its_meter() -> None:
    """Not the energies: which of the two is the import is uncertain."""
    async with bench(access="smartlogger", unit_id=26, soc=5) as at:
        readings = await at.battery.read()

        assert readings["grid_power"] == pytest.approx(600, abs=2)
        assert readings["load_power"] == pytest.approx(600, abs=2)
        assert number(readings["meter_current_l1"]) > 0
        assert "grid_import_total" not in readings


@pytest.mark.parametrize("model", ["SUN2000-6KTL-M1", "SUN2000-6KTL-L1"])
@pytest.mark.parametrize("access", ["emma", "smartlogger"])
async def test_a_gateway_measures_the_grid_as_a_whole(access: Any, model: Any) -> None:
    """Not by phase, however many phases the inverter has."""
    async with bench(access=access, unit_id=4, model=model) as at:
        assert "grid_power" in at.battery.measurements
        assert "grid_power_l1" not in at.battery.measurements


@pytest.mark.parametrize(
    ("access", "names"),
    [
        ("emma", ("EMMA", "EMMA-A02", "EM2250000001")),
        ("smartlogger", ("SmartLogger", "SmartLogger3000", "SL2250000001")),
        ("sdongle", None),
        ("wlan", None),
    ],
)
async def test_the_gateway_is_named(access: Any, names: tuple[str, ...] | None) -> None:
    async with HuaweiSimulator(access=access, meter="absent") as simulator:
        if access == "smartlogger":
            simulator.device.meter = "offline"
        async with connected(simulator) as battery:
            gateway = battery.gateway

    seen = gateway and (gateway.name, gateway.model, gateway.serial_number)
    assert seen == names


async def test_a_gateway_that_was_never_there_does_not_make_the_inverter_doubtful() -> (
    None
):
    """Its serial number, compared already, is not asked for once more."""
    async with HuaweiSimulator(access="sdongle") as simulator:
        battery = Sun2000Inverter.from_setup(simulator.setup)
        battery.identity_check.expected = "HV2250123456"
        log = simulator.server.traffic.log
        async with battery:
            compared = [
                each
                for each in log
                if isinstance(each, Read) and (each.address, each.words) == (30015, 10)
            ]
            assert [each.unit for each in log if isinstance(each, Refusal)][-1] == 0
    assert len(compared) == 1


async def test_an_inverter_with_a_meter_measures_the_house_itself() -> None:
    """It names the gateway, and says what that overrules; it asks it once."""
    async with HuaweiSimulator(access="emma", unit_id=4) as simulator:
        simulator.device.meter = "present"
        async with connected(simulator) as battery:
            await battery.read()
            assert battery.gateway is not None
            assert battery.gateway.serial_number == "EM2250000001"
            assert battery.shows_house is None
            assert DeviceIssue.GATEWAY_OVERRULES in battery.issues

            log = simulator.server.traffic.log
            log.clear()
            assert not await battery.has_new_parts()
            readings = await battery.read(live_keys(battery))

    assert readings["grid_power"] is not None
    assert {each.unit for each in log if isinstance(each, Read)} == {4}


@pytest.mark.parametrize(
    ("access", "second_unit", "requests"),
    [("emma", 0, 4), ("emma", 16, 4), ("smartlogger", 0, 3), ("smartlogger", 16, 4)],
)
async def test_a_live_poll_behind_a_gateway_costs_one_request_more_at_most(
    access: Any, second_unit: int, requests: int
) -> None:
    """Inverter, battery and meter; one more for the power of all inverters."""
    async with bench(access=access, unit_id=4, second_unit=second_unit) as at:
        await at.battery.read()
        keys = live_keys(at.battery)
        assert {"grid_power", "load_power", "battery_power"} <= keys
        traffic = at.simulator.server.traffic
        for _ in range(3):
            traffic.clear()
            await at.battery.read(keys)
            assert traffic.requests == requests
            assert not traffic.refusals


@pytest.mark.parametrize("access", ["emma", "smartlogger"])
async def test_only_the_first_of_several_shows_the_house(access: Any) -> None:
    """Else the energy dashboard would count it twice. Each names the gateway."""
    async with HuaweiSimulator(access=access) as simulator:
        battery = Sun2000Inverter(simulator.host, simulator.port, unit_id=1)
        battery.claim_house = lambda _gateway: False
        async with battery:
            readings = await battery.read()

            assert not {*HOUSE, "meter_voltage_l1"} & {*battery.measurements}
            assert "active_power" in readings
            assert battery.gateway is not None


def site_of_two(access: Any, **options: Any) -> HuaweiSimulator:
    """Return a house of 600 W, half of whose PV feeds in by another inverter."""
    plant = HuaweiSimulator.house(clock=ManualClock(), pv_dc_share=0.5)
    plant.fixed_pv, plant.fixed_load = 2000, 600
    return HuaweiSimulator(plant, access=access, **options)


def without_sum(simulator: HuaweiSimulator) -> None:
    """Take the power of all inverters (40525) from a SmartLogger."""
    logger = simulator.units.listeners[0]
    spans = [(40713, 40722), (65524, 65533)]
    simulator.units.listeners[0] = logger._replace(spans=lambda: spans)


@pytest.mark.parametrize("has_list", [True, False])
@pytest.mark.parametrize("access", ["emma", "smartlogger"])
async def test_the_load_behind_several_inverters_counts_all_of_them(
    access: Any, *, has_list: bool
) -> None:
    """A gateway knows their power, also one that does not list them."""
    async with site_of_two(access, second_unit=16) as simulator:
        simulator.units.lists_devices = has_list
        async with connected(simulator) as battery:
            readings = await battery.read()

    assert readings["load_power"] == pytest.approx(600, abs=2)


@pytest.mark.parametrize("access", ["emma", "smartlogger"])
async def test_the_load_is_right_where_the_list_is_refused_for_once(
    access: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be busy at the start: that does not mean that there is one inverter."""
    async with site_of_two(access, second_unit=16) as simulator:
        with monkeypatch.context() as busy:
            busy.setattr(simulator.units, "other", refuse_as_busy)
            await simulator_reads(simulator, 600)
        await simulator_reads(simulator, 600)


def refuse_as_busy(_unit: int, _pdu: bytes) -> bytes:
    raise Refused(DEVICE_BUSY)


async def simulator_reads(simulator: HuaweiSimulator, load: float) -> None:
    """Connect to the first inverter, and expect a load, W."""
    async with connected(simulator) as battery:
        readings = await battery.read()
    assert readings["load_power"] == pytest.approx(load, abs=2)


async def test_an_emma_counts_an_inverter_that_comes_later() -> None:
    async with site_of_two("emma") as simulator, connected(simulator) as battery:
        simulator.units.add_inverter(16)
        assert not await battery.has_new_parts()
        assert (await battery.read())["load_power"] == pytest.approx(600, abs=2)


async def test_a_second_inverter_behind_a_smart_logger_is_news() -> None:
    """The load needs the power of both from then on; one is enough to say it once."""
    async with (
        site_of_two("smartlogger") as simulator,
        connected(simulator) as battery,
    ):
        await battery.read()
        assert not await battery.has_new_parts()
        simulator.units.add_inverter(16)
        assert await battery.has_new_parts()

        await battery.connect()
        assert (await battery.read())["load_power"] == pytest.approx(600, abs=2)
        assert not await battery.has_new_parts()


async def test_there_is_no_load_where_the_power_of_other_inverters_is_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Old firmware lacks the sum, and the list may be refused: a failure is no news."""
    async with site_of_two("smartlogger") as simulator:
        without_sum(simulator)
        async with connected(simulator) as battery:
            assert "load_power" in battery.measurements
            with monkeypatch.context() as busy:
                busy.setattr(simulator.units, "other", refuse_as_busy)
                assert not await battery.has_new_parts()
                await battery.connect()
                assert "load_power" not in battery.measurements
            assert await battery.has_new_parts()

            simulator.units.add_inverter(16)
            await battery.connect()
            assert "load_power" not in battery.measurements
            assert "grid_power" in battery.measurements


@pytest.mark.parametrize("has_sum", [True, False])
async def test_a_list_without_the_meter_does_not_say_that_there_is_one_inverter(
    *, has_sum: bool
) -> None:
    """It is not whole; a load of this inverter alone would be too low."""
    async with site_of_two("smartlogger", second_unit=16) as simulator:
        del simulator.units.listed[1:]
        if not has_sum:
            without_sum(simulator)
        async with connected(simulator) as battery:
            readings = await battery.read()

    assert readings["grid_power"] is not None
    assert readings.get("load_power") == (
        pytest.approx(600, abs=2) if has_sum else None
    )


async def test_a_gateway_that_fails_costs_its_own_values() -> None:
    async with bench(access="emma", unit_id=4) as at:
        await at.battery.read()
        emma = at.simulator.units.listeners.pop(0)
        readings = await at.battery.read()

        assert readings["battery_soc"] == 50
        assert isinstance(readings.failures["grid_power"], BatteryError)

        at.simulator.units.listeners[0] = emma
        assert (await at.battery.read())["grid_power"] is not None


async def test_a_total_of_a_gateway_that_falls_to_zero_is_unknown() -> None:
    """As any counter is."""
    async with bench(access="emma", unit_id=4) as at:
        assert (await at.battery.read(["grid_import_total"]))[
            "grid_import_total"
        ] == 1000
        at.simulator.units.unknown.add(30338)
        assert (await at.battery.read(["grid_import_total"]))[
            "grid_import_total"
        ] is None


async def test_a_gateway_that_comes_later_is_a_new_part() -> None:
    """It may have been silent when the inverter was set up."""
    async with HuaweiSimulator(access="emma") as simulator:
        emma = simulator.units.listeners.pop(0)
        async with connected(simulator) as battery:
            await battery.read()
            assert battery.gateway is None
            assert not await battery.has_new_parts()
            simulator.units.listeners[0] = emma
            assert await battery.has_new_parts()


async def test_a_meter_of_its_own_is_news_behind_a_gateway() -> None:
    async with (
        HuaweiSimulator(access="emma") as simulator,
        connected(simulator) as battery,
    ):
        await battery.read()
        assert not await battery.has_new_parts()
        simulator.device.meter = "present"
        assert await battery.has_new_parts()


async def test_a_meter_of_its_own_that_does_not_report_its_kind_is_one() -> None:
    """It has the phases of the inverter."""
    async with HuaweiSimulator(access="emma") as simulator:
        simulator.device.meter = "present"
        await simulator.misbehave("unknown", address=37125)
        async with connected(simulator) as battery:
            readings = await battery.read()
            assert battery.shows_house is None
            assert readings["meter_status"] == "normal"
            assert readings["grid_power_l3"] is not None


async def test_a_smart_logger_without_a_meter_is_a_gateway_only() -> None:
    """The inverter's own meter may come back; its state is read now and then."""
    async with HuaweiSimulator(access="smartlogger", unit_id=26) as simulator:
        meter = simulator.units.listeners.pop(METER_UNIT)
        listed = simulator.units.listed.pop()
        async with connected(simulator) as battery:
            readings = await battery.read()
            assert battery.gateway is not None
            assert readings["meter_status"] == "offline"
            assert readings["load_power"] is None
            assert not await battery.has_new_parts()
            simulator.units.listeners[METER_UNIT] = meter
            simulator.units.listed.append(listed)
            assert await battery.has_new_parts()


def refuse(
    simulator: HuaweiSimulator,
    monkeypatch: pytest.MonkeyPatch,
    at: int,
    *,
    count: int,
    code: int = 2,
) -> None:
    """Let a gateway refuse reads from an address on, so many of them."""
    read = simulator.units.read
    refusals = iter(range(count))

    def refusing(unit: int, address: int, words: int) -> list[int]:
        if (unit, address) == (0, at) and next(refusals, None) is not None:
            raise Refused(code)
        return read(unit, address, words)

    monkeypatch.setattr(simulator.units, "read", refusing)


@pytest.mark.parametrize(
    ("access", "serial", "number"),
    [("emma", 30015, "EM2250000001"), ("smartlogger", 40713, "SL2250000001")],
)
async def test_a_gateway_that_refuses_its_serial_number_for_once_has_one(
    access: Any, serial: int, number: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the next inverter would show the house, too."""
    async with HuaweiSimulator(access=access) as simulator:
        refuse(simulator, monkeypatch, serial, count=1)
        async with connected(simulator) as battery:
            assert battery.gateway is not None
            assert battery.gateway.serial_number == number


async def test_a_gateway_is_detected_while_another_inverter_is_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is waited for from the question on: not while it serves the other entry."""
    monkeypatch.setattr(house, "PROBE_TIMEOUT", 0.1)
    async with HuaweiSimulator(access="emma", other_units="silent") as simulator:
        connection = ModbusTcpConnection(simulator.host, simulator.port, 0.2)
        await connection.open()
        other = asyncio.create_task(connection.unit(9).read_holding_registers(1, 1))
        await asyncio.sleep(0)
        gateway = await house.discover_gateway("emma", connection, connection.unit)
        with pytest.raises(RequestTimeoutError):
            await other
        await connection.close()

    assert gateway is not None


@pytest.mark.parametrize(
    ("code", "addresses"), [(2, [30000, 65524, 40713]), (11, [30000])]
)
async def test_unit_0_is_asked_three_times_at_most_where_there_is_no_gateway(
    code: int, addresses: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind an SDongle each question costs 1.5 s."""
    async with HuaweiSimulator(access="wlan") as simulator:
        asked = []
        read = simulator.units.read

        def refusing(unit: int, address: int, words: int) -> list[int]:
            if unit == 0:
                asked.append(address)
                raise Refused(code)
            return read(unit, address, words)

        monkeypatch.setattr(simulator.units, "read", refusing)
        async with connected(simulator) as battery:
            assert battery.gateway is None

    assert asked == addresses


async def test_a_gateway_that_has_another_serial_number_is_news() -> None:
    """It was exchanged; the next inverter behind it would show the house, too."""
    async with (
        HuaweiSimulator(access="emma") as simulator,
        connected(simulator) as battery,
    ):
        assert not await battery.has_new_parts()
        emma = simulator.units.listeners[0]
        simulator.units.listeners[0] = emma._replace(
            values=lambda: {**emma.values(), "serial": "EM2250000002"}
        )
        assert await battery.has_new_parts()


@pytest.mark.parametrize("access", ["emma", "smartlogger"])
async def test_a_gateway_without_its_serial_number_is_not_another_one(
    access: Any,
) -> None:
    """As one that restarts and answers zeros; its number is news where it was not."""
    async with HuaweiSimulator(access=access) as simulator:
        gateway = simulator.units.listeners[0]
        nameless = gateway._replace(values=lambda: {**gateway.values(), "serial": ""})
        async with connected(simulator) as battery:
            simulator.units.listeners[0] = nameless
            assert not await battery.has_new_parts()
            await battery.connect()
            simulator.units.listeners[0] = gateway
            assert await battery.has_new_parts()


async def test_totals_that_an_emma_refuses_for_once_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those of its sensor would be other counters in the energy dashboard."""
    async with HuaweiSimulator(access="emma") as simulator:
        refuse(simulator, monkeypatch, 30332, count=1)
        async with connected(simulator) as battery:
            await simulator.misbehave("unknown", address=30338)
            assert (await battery.read())["grid_import_total"] is None


async def test_totals_of_an_emma_that_come_later_are_news(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A question for them without an answer is none."""
    async with HuaweiSimulator(access="emma") as simulator:
        with monkeypatch.context() as refused:
            refuse(simulator, refused, 30332, count=2)
            battery = Sun2000Inverter(simulator.host, simulator.port, unit_id=1)
            await battery.connect()
        with monkeypatch.context() as busy:
            refuse(simulator, busy, 30332, count=9, code=6)
            assert not await battery.has_new_parts()
        assert await battery.has_new_parts()
        await battery.close()


async def test_a_meter_that_gets_another_unit_is_news() -> None:
    """As when a SmartLogger is set up anew."""
    async with (
        HuaweiSimulator(access="smartlogger", unit_id=26) as simulator,
        connected(simulator) as battery,
    ):
        assert not await battery.has_new_parts()
        units = simulator.units
        units.listeners[12] = units.listeners.pop(METER_UNIT)
        units.listed.append(units.listed.pop()._replace(unit=12))
        assert await battery.has_new_parts()


async def test_a_meter_that_a_smart_logger_does_not_list_is_detected() -> None:
    async with HuaweiSimulator(access="smartlogger", unit_id=26) as simulator:
        simulator.units.listed.pop()
        async with connected(simulator) as battery:
            assert (await battery.read())["grid_power"] is not None


@pytest.mark.parametrize("silent", [True, False])
async def test_the_meter_of_a_smart_logger_without_a_list_is_detected(
    monkeypatch: pytest.MonkeyPatch, *, silent: bool
) -> None:
    """By its grid power, which no inverter has there."""
    monkeypatch.setattr(house, "PROBE_TIMEOUT", 0.1)
    async with HuaweiSimulator(
        access="smartlogger",
        unit_id=26,
        other_units="silent" if silent else "refuse",
    ) as simulator:
        simulator.units.lists_devices = False
        async with connected(simulator) as battery:
            readings = await battery.read()

    assert readings["grid_power"] is not None
    assert readings["load_power"] is not None


async def test_the_search_for_a_meter_ends_at_three_silent_units(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each costs seconds."""
    monkeypatch.setattr(house, "PROBE_TIMEOUT", 0.1)
    async with HuaweiSimulator(
        access="smartlogger", unit_id=26, other_units="silent"
    ) as simulator:
        simulator.units.lists_devices = False
        simulator.units.listeners.pop(11)
        asked = units_asked(simulator, monkeypatch)
        async with connected(simulator) as battery:
            assert battery.gateway is not None
            assert battery.shows_house is None

    assert asked == {26, 0, 11, 1, 2}


async def test_no_other_meter_is_searched_for_where_the_inverter_has_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Absent units that are silent made each start of such a site slow."""
    async with HuaweiSimulator(access="smartlogger", unit_id=26) as simulator:
        simulator.device.meter = "present"
        del simulator.units.listed[1:]
        asked = units_asked(simulator, monkeypatch)
        async with connected(simulator) as battery:
            assert battery.gateway is not None

    assert asked == {26, 0}


async def test_a_meter_is_searched_for_once_beside_a_list(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not each hour: silent units disturb the others behind the gateway."""
    async with HuaweiSimulator(access="smartlogger", unit_id=26) as simulator:
        simulator.units.listeners.pop(METER_UNIT)
        del simulator.units.listed[1:]
        async with connected(simulator) as battery:
            asked = units_asked(simulator, monkeypatch)
            assert not await battery.has_new_parts()

    assert asked == {26, 0}


@pytest.mark.parametrize(
    ("access", "serial"), [("emma", 30015), ("smartlogger", 40713)]
)
async def test_a_gateway_without_an_answer_for_its_serial_number_is_asked_again(
    access: Any, serial: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it would be another one for the next inverter: the house, twice."""
    async with HuaweiSimulator(access=access) as simulator:
        read = simulator.units.read

        def refuse(unit: int, address: int, count: int) -> list[int]:
            if address == serial and unit == 0:
                raise Refused(DEVICE_BUSY)
            return read(unit, address, count)

        with monkeypatch.context() as busy:
            busy.setattr(simulator.units, "read", refuse)
            battery = Sun2000Inverter(simulator.host, simulator.port, unit_id=1)
            await battery.connect()
            assert battery.gateway is None
        assert await battery.has_new_parts()
        await battery.close()


# Control


async def test_an_emma_is_said_to_overrule_settings() -> None:
    async with bench(access="emma", unit_id=4) as at:
        assert at.battery.issues == {DeviceIssue.GATEWAY_OVERRULES}
    async with bench(access="emma", unit_id=4, battery_units=0) as at:
        assert at.battery.issues == set()
    async with bench(access="smartlogger", unit_id=4) as at:
        assert at.battery.issues == set()


async def test_a_forced_command_works_behind_an_emma() -> None:
    async with bench(access="emma", unit_id=4) as at:
        grant = await at.battery.set_power_setpoint(1500)
        assert grant.power == 1500
        assert at.control()[:2] == ("charge", 1500)
        assert {write.unit for write in at.writes} == {4}
        await at.battery.release()
        assert at.control() == ("stop", 0, 5000, 5000)


async def test_a_hold_that_an_emma_refuses_is_released_cleanly() -> None:
    """It answers the write of a limit, and keeps its own."""
    async with bench(access="emma", unit_id=4) as at:
        await at.battery.set_power_setpoint(1500)
        await at.simulator.misbehave("ignore_writes")
        with pytest.raises(BatteryError):
            await at.battery.set_power_setpoint(0)
        await at.simulator.misbehave("ignore_writes", on=False)
        await at.battery.release()
        assert at.control() == ("stop", 0, 5000, 5000)
        assert at.battery.snapshot is None


# Detection


@pytest.mark.parametrize("access", ["sdongle", "emma", "smartlogger"])
async def test_every_inverter_behind_a_gateway_is_detected(
    access: Any, closed_port: int
) -> None:
    """By its list of devices, whatever unit ids they have."""
    async with HuaweiSimulator(access=access, unit_id=1, second_unit=27) as simulator:
        ports = {502: simulator.port, 6607: closed_port, 8899: closed_port}
        detected = await detect(simulator.host, ports={80: closed_port, **ports})
        assert not simulator.server.traffic.writes

    assert [(each.setup["unit_id"], each.serial_number) for each in detected] == [
        (1, "HV2250123456"),
        (27, "HV2250654321"),
    ]


async def test_inverters_without_a_list_are_detected_at_the_usual_units(
    closed_port: int,
) -> None:
    """An inverter that answers at several units is one."""
    async with HuaweiSimulator(unit_id=1, second_unit=16) as simulator:
        simulator.units.lists_devices = False
        simulator.units.listeners[3] = simulator.units.listeners[1]
        ports = {502: simulator.port, 6607: closed_port, 80: closed_port}
        detected = await detect(simulator.host, ports={8899: closed_port, **ports})

    assert [each.setup["unit_id"] for each in detected] == [1, 16]


@pytest.mark.parametrize("second", [16, 2, 3])
async def test_the_second_of_a_cascade_is_detected_among_silent_units(
    closed_port: int, second: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to three silent units are borne in a search without a list."""
    monkeypatch.setattr(Probe, "timeout", 0.1)
    async with HuaweiSimulator(
        unit_id=1, second_unit=second, other_units="silent"
    ) as simulator:
        simulator.units.lists_devices = False
        ports = {502: simulator.port, 6607: closed_port, 80: closed_port}
        detected = await detect(simulator.host, ports={8899: closed_port, **ports})

    assert [each.setup["unit_id"] for each in detected] == [1, second]


@pytest.mark.parametrize("dark", [1, 27])
async def test_a_listed_inverter_is_detected_at_night(
    closed_port: int, dark: int
) -> None:
    """The list has its model and serial number."""
    async with HuaweiSimulator(access="emma", second_unit=27) as simulator:
        await simulator.misbehave("sleep", unit=dark)
        ports = {502: simulator.port, 6607: closed_port, 80: closed_port}
        detected = await detect(simulator.host, ports={8899: closed_port, **ports})

    assert {
        each.setup["unit_id"]: (each.model, each.serial_number) for each in detected
    } == {
        1: ("SUN2000-6KTL-M1", "HV2250123456"),
        27: ("SUN2000-6KTL-M1", "HV2250654321"),
    }


async def test_what_was_detected_is_kept_when_the_time_is_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The time is each driver's own: those before have waited for silent units."""
    monkeypatch.setattr(detection, "LIMIT", 0.3)
    monkeypatch.setattr(sun2000_gateways, "_DETECTION_LIMIT", 0.25)
    monkeypatch.setattr(Probe, "timeout", 30)
    async with HuaweiSimulator(other_units="silent") as simulator:
        at = (simulator.host, simulator.port)
        detected = await detect_at(*at, [SmaInverter, Sun2000Inverter])

    assert [each.setup["unit_id"] for each in detected] == [1]


@pytest.mark.parametrize("access", ["emma", "smartlogger"])
async def test_a_listed_inverter_is_detected_without_being_asked(
    access: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is silent at night would cost seconds."""
    async with HuaweiSimulator(access=access, unit_id=26, second_unit=27) as simulator:
        asked = units_asked(simulator, monkeypatch)
        at = (simulator.host, simulator.port)
        detected = await detect_at(*at, [Sun2000Inverter])

    assert [each.setup["unit_id"] for each in detected] == [26, 27]
    assert asked == {0, 1}


@pytest.mark.parametrize("access", ["emma", "smartlogger"])
async def test_an_inverter_at_an_unusual_unit_is_detected_by_the_list(
    access: Any,
) -> None:
    async with (
        HuaweiSimulator(access=access, unit_id=123) as simulator,
        Sun2000Inverter(simulator.host, simulator.port) as battery,
    ):
        assert battery.unit_id == 123
        assert battery.identity.serial_number == "HV2250123456"


@pytest.mark.parametrize("texts", [(40713, 40722), (65524, 65533)])
async def test_a_smart_logger_lists_its_inverters_by_whatever_it_is_known(
    closed_port: int, texts: tuple[int, int]
) -> None:
    """Some have a serial number and no name, others the other way round."""
    async with HuaweiSimulator(
        access="smartlogger", unit_id=26, second_unit=27
    ) as simulator:
        logger = simulator.units.listeners[0]
        simulator.units.listeners[0] = logger._replace(spans=lambda: [texts])
        ports = {502: simulator.port, 6607: closed_port, 80: closed_port}
        detected = await detect(simulator.host, ports={8899: closed_port, **ports})
        battery = Sun2000Inverter(simulator.host, simulator.port)
        battery.searches = True
        async with battery:
            (choices,) = battery.choices.values()
            assert battery.gateway is not None

    assert [each.setup["unit_id"] for each in detected] == [26, 27]
    assert [choice.value for choice in choices] == [26, 27]


class SearchedUnit:
    """A unit that is searched, which never writes to it."""

    def __init__(self, unit_id: int) -> None:
        self.unit_id = unit_id

    async def write_registers(self, address: int, values: list[int]) -> None:
        pytest.fail(f"{values} were written to {address}")


async def test_numbers_in_the_place_of_a_serial_number_are_no_smart_logger() -> None:
    """SunSpec devices have registers there, too."""

    class Unit(SearchedUnit):
        async def read_holding_registers(self, address: int, count: int) -> list[int]:
            if (self.unit_id, address) != (0, 40713):
                raise DeviceRefusedError("illegal address", 2)
            return [0x0103, 0xFFFF, *[0] * (count - 2)]

    connection = ModbusTcpConnection("elsewhere", 502, 1)
    with pytest.raises(UndetectedUnitError) as error:
        await sun2000_gateways.find_inverters("elsewhere", connection, Unit)
    assert "SmartLogger" not in str(error.value)


async def test_several_inverters_are_offered_while_it_is_set_up() -> None:
    """With what distinguishes them."""
    async with HuaweiSimulator(unit_id=1, second_unit=16) as simulator:
        battery = Sun2000Inverter(simulator.host, simulator.port)
        battery.searches = True
        async with battery:
            (choices,) = battery.choices.values()
            assert battery.unit_id == 1

    assert [choice.value for choice in choices] == [1, 16]
    assert choices[0].text.startswith("1: SUN2000-6KTL-M1, HV2250123456, SOC 50 %, PV")
    assert choices[1].text.startswith("16: SUN2000-6KTL-M1, HV2250654321, PV 0 W")


@pytest.mark.parametrize(("dark", "unit"), [(16, 1), (1, 16)])
async def test_a_listed_inverter_is_offered_at_night(dark: int, unit: int) -> None:
    """Without present values; choosing it says to try by daylight."""
    async with HuaweiSimulator(access="emma", unit_id=1, second_unit=16) as simulator:
        await simulator.misbehave("sleep", unit=dark)
        battery = Sun2000Inverter(simulator.host, simulator.port)
        battery.searches = True
        async with battery:
            (choices,) = battery.choices.values()
            assert battery.unit_id == unit
        texts = {choice.value: choice.text for choice in choices}

    assert texts.keys() == {1, 16}
    serial_number = {1: "HV2250123456", 16: "HV2250654321"}[dark]
    assert texts[dark] == f"{dark}: SUN2000-6KTL-M1, {serial_number}"
    assert "PV" in texts[unit]


@pytest.mark.parametrize("unit_id", [None, 27])
@pytest.mark.parametrize("access", ["emma", "smartlogger"])
async def test_listed_inverters_that_do_not_answer_may_sleep(
    access: Any, unit_id: int | None
) -> None:
    """Whether one of them is chosen or not: nothing is wrong with the unit ids."""
    async with HuaweiSimulator(access=access, unit_id=26, second_unit=27) as simulator:
        for unit in (26, 27):
            simulator.units.listeners.pop(unit)
        battery = Sun2000Inverter(simulator.host, simulator.port, unit_id=unit_id)
        battery.searches = True
        with pytest.raises(BatteryError) as caught:
            await battery.connect()
        err = await battery.explain(caught.value)

    assert isinstance(err, DeviceFailureError)
    assert f"unit {unit_id or 26}: is listed" in str(err)


async def test_an_inverter_that_is_not_listed_is_absent() -> None:
    async with HuaweiSimulator(access="emma", unit_id=26) as simulator:
        battery = Sun2000Inverter(simulator.host, simulator.port, unit_id=27)
        with pytest.raises(UnitAbsentError) as caught:
            await battery.connect()
        assert await battery.explain(caught.value) is caught.value
    assert await battery.explain(caught.value) is caught.value


@pytest.mark.parametrize("hangs_up", [True, False])
async def test_a_gateway_that_answers_garbage_or_hangs_up_explains_nothing(
    monkeypatch: pytest.MonkeyPatch, hangs_up: bool
) -> None:
    """The error of the unit that was asked for stays."""
    async with HuaweiSimulator(access="emma", unit_id=26) as simulator:
        battery = Sun2000Inverter(simulator.host, simulator.port, unit_id=27)
        with pytest.raises(UnitAbsentError) as caught:
            await battery.connect()
        answer = simulator.units.answer

        def confused(unit: int, pdu: bytes) -> bytes | None:
            if unit != 0:
                return answer(unit, pdu)
            if hangs_up:
                raise Dropped
            return bytes((pdu[0], 2, 0, 1))

        monkeypatch.setattr(simulator.units, "answer", confused)
        assert await battery.explain(caught.value) is caught.value


async def test_an_inverter_at_night_without_a_list_is_not_offered() -> None:
    """The others do not wait for daylight."""
    async with HuaweiSimulator(unit_id=1, second_unit=16) as simulator:
        simulator.units.lists_devices = False
        await simulator.misbehave("sleep", unit=16)
        battery = Sun2000Inverter(simulator.host, simulator.port)
        battery.searches = True
        async with battery:
            assert battery.unit_id == 1
            assert not battery.choices


async def test_an_inverter_that_is_busy_again_after_it_answered_is_kept() -> None:
    """It is not asked for its model once more, to be compared with the others."""
    asked = 0

    class Unit(SearchedUnit):
        async def read_holding_registers(self, address: int, count: int) -> list[int]:
            nonlocal asked
            if self.unit_id != 1:
                raise UnitAbsentError("nothing there", 11)
            asked += 1
            if asked != 2:
                raise DeviceBusyError("busy", 6)
            return [int.from_bytes(b"SU"), int.from_bytes(b"N\0"), *[0] * (count - 2)]

    candidates = await sun2000_gateways.find_inverters(
        "inverter", ModbusTcpConnection("inverter", 502, 1), Unit, every=True
    )

    assert [(each.unit_id, each.model) for each in candidates] == [(1, "SUN")]


async def test_silent_units_are_not_searched_for_further_inverters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three of them end the search: each costs seconds."""
    monkeypatch.setattr(sun2000_gateways, "PROBE_TIMEOUT", 0.1)
    monkeypatch.setattr(house, "PROBE_TIMEOUT", 0.1)
    async with HuaweiSimulator(access="wlan", other_units="silent") as simulator:
        asked = units_asked(simulator, monkeypatch)
        battery = Sun2000Inverter(simulator.host, simulator.port)
        battery.searches = True
        async with battery:
            assert battery.unit_id == 1
            assert not battery.choices

    assert asked == {1, 0, 100, 16, 2, 3}


@pytest.mark.parametrize("is_detected", [True, False])
async def test_a_slow_gateway_is_waited_for_from_the_request_on(
    monkeypatch: pytest.MonkeyPatch, is_detected: bool
) -> None:
    """Not from before the new connection, which a silent unit makes necessary, rests."""
    monkeypatch.setattr(sun2000_gateways, "_PATIENCE", 0.09)
    monkeypatch.setattr(Probe, "timeout", 0.15)
    monkeypatch.setattr(Probe, "connect_delay", 0.06)
    async with HuaweiSimulator(second_unit=16, other_units="silent") as simulator:
        simulator.server.set_faults(delay=0.04)
        at = (simulator.host, simulator.port)
        probe = Probe(*at, ModbusTcpConnection.shared)
        connection = await probe.connected()
        candidates = (
            await sun2000_gateways.detect_inverters(probe)
            if is_detected
            else await sun2000_gateways.find_inverters(
                "dongle", connection, connection.unit, every=True
            )
        )
        await probe.close()

    assert [each.unit_id for each in candidates] == [1, 16]


@pytest.mark.parametrize(
    ("objects", "units"),
    [
        ([b"\x01", b"1=SUN2000-6KTL-M1;4=HV1;5=4;6=1"], [4]),
        ([b"1=SUN2000;5=4", b"1=SUN2000;5=4"], [4]),
        ([b"1=SUN2000;5=999", b"1=SUN2000;5=x", b"5=", b"=;=", b""], []),
        ([b"1=PowerMeter;5=11", b"\xff\xfe;5=3", b"1=SUN2000-L1;5=26\0"], [26]),
    ],
)
def test_a_list_is_taken_as_far_as_it_makes_sense(
    objects: list[bytes], units: list[int]
) -> None:
    listed = device_list.parse(objects)

    assert [each.unit_id for each in listed if each.is_inverter] == units
