"""The Victron driver, against register images and against a simulated GX device."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
import itertools
from typing import Any

import pytest

from custom_components.homebattery.drivers.battery.base import SetpointLimits
from custom_components.homebattery.drivers.battery.controller import (
    DeviceIssue,
    Grant,
    LimitReason,
)
from custom_components.homebattery.drivers.battery.settings import (
    NumberSetting,
    SelectSetting,
)
from custom_components.homebattery.drivers.errors import (
    CannotConnectError,
    IllegalAddressError,
    InvalidValueError,
    NotConfirmedError,
    NotSupportedError,
    TakenOverError,
    UnitAbsentError,
    WrongDeviceError,
)
from custom_components.homebattery.drivers.modbus.tcp import ModbusTcpConnection
from custom_components.homebattery.drivers.victron import (
    controller as victron_controller,
    units as victron_units,
)
from custom_components.homebattery.drivers.victron.inverter import VictronInverter
from custom_components.homebattery.drivers.victron.setpoint import split, within_ratings
from tests.drivers.conftest import Leap, fast_keys
from tests.drivers.vectors import assert_expected, by_name, read_plausible
from tests.simulators import ManualClock, Plant, VictronSimulator
from tests.simulators.image import ModbusImage, Vector, load

pytestmark = pytest.mark.usefixtures("socket_enabled")

VECTORS = load("victron")

NEVER_WRITE = {
    30: "the SOC of the inverter would count from there",
    62: "any write restarts the inverter",
    105: "any write has the inverter look for its devices anew",
    2701: "without effect while DVCC is on",
    2702: "without effect while DVCC is on",
    2703: "the grid setpoint in flash, in steps of 100 W",
}
"""Registers that the driver must not write, and why."""


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the pauses, and read the conditions of a setpoint each time."""
    monkeypatch.setattr(VictronInverter, "settle", 0)
    monkeypatch.setattr(victron_controller, "_FRESH", 0)
    monkeypatch.setattr(victron_units, "SERVER_RESTART", 0)


@asynccontextmanager
async def connected(
    simulator: VictronSimulator | ModbusImage, **options: Any
) -> AsyncIterator[VictronInverter]:
    """Yield a driver that knows the units of a simulator."""
    setup = {key: value for key, value in simulator.setup.items() if key != "host"}
    async with VictronInverter(simulator.host, **setup, **options) as battery:
        yield battery


# Vectors


@pytest.mark.parametrize("vector", by_name(VECTORS))
async def test_values_are_those_of_the_vector(vector: Vector) -> None:
    """Every expected value is met, within its tolerance."""
    async with ModbusImage(vector) as image, connected(image) as battery:
        readings = await battery.read()

    assert_expected(vector, readings)


@pytest.mark.parametrize("vector", by_name(VECTORS))
async def test_every_other_value_is_plausible(vector: Vector) -> None:
    """Each value that no vector expects is at least of its key's kind."""
    async with ModbusImage(vector) as image, connected(image) as battery:
        await read_plausible(battery)


@pytest.mark.parametrize("vector", by_name([v for v in VECTORS if v["writes"]]))
async def test_writes_are_those_of_the_vector(vector: Vector) -> None:
    """Each action writes exactly these words in this order, one after the other."""
    async with ModbusImage(vector) as image, connected(image) as battery:
        for action in vector["writes"]:
            before = len(image.writes)
            await perform(battery, action["action"], action["value"])
            written = [
                [unit, address, list(words)]
                for unit, address, words in image.writes[before:]
            ]
            assert written == action["expect_writes"], action


async def perform(battery: VictronInverter, action: str, value: Any) -> None:
    """Perform the action of a vector."""
    if action == "release":
        await battery.release()
    elif action == "set_power_setpoint":
        await battery.set_power_setpoint(value)
    else:
        await battery.set_value(action.removeprefix("set_"), value)


@pytest.mark.parametrize("vector", by_name(VECTORS))
async def test_units_are_discovered_by_probing(vector: Vector) -> None:
    """Given only the address, the driver discovers each service of the site."""
    async with (
        ModbusImage(vector) as image,
        VictronInverter(image.host, image.port) as battery,
    ):
        detected = battery.detected_config
        writes = image.writes

    units = {
        "unit_id": vector["unit_ids"]["vebus"],
        "battery_unit_id": vector["unit_ids"]["battery"],
        "grid_unit_id": vector["unit_ids"]["grid"],
    }
    assert detected == {name: unit for name, unit in units.items() if unit is not None}
    assert writes == []


async def test_charging_that_the_bms_forbids_becomes_hold() -> None:
    """A cold battery allows 0 A: a charge becomes hold."""
    (vector,) = (v for v in VECTORS if v["name"].startswith("old_firmware"))
    async with ModbusImage(vector) as image, connected(image) as battery:
        granted = await battery.set_power_setpoint(1000)
        writes = image.writes

    assert granted.power == 0
    assert writes == [(227, 37, [0, 1, 1])]


# Discovering services


async def test_several_batteries_the_one_is_taken_that_the_gx_uses() -> None:
    """A second battery service with another voltage is not mistaken for the battery."""
    vector = VECTORS[0] | {"units": dict(VECTORS[0]["units"])}
    other = dict(vector["units"]["225"]) | {"259": 2610}
    vector["units"] |= {"225": other, "223": vector["units"]["225"]}
    async with (
        ModbusImage(vector) as image,
        VictronInverter(image.host, image.port) as battery,
    ):
        assert battery.battery_unit_id == 223


async def test_a_server_that_crashes_over_absent_services_is_waited_for() -> None:
    """Some servers of 2025 crash when probed: the next request goes on from there."""
    async with VictronSimulator(vebus_unit=242) as gx:
        await gx.misbehave("crash_on_absent")
        async with VictronInverter(gx.host, gx.port) as battery:
            assert battery.unit_id == 242
            assert (battery.battery_unit_id, battery.grid_unit_id) == (225, 40)


async def test_a_gx_without_vebus_says_so() -> None:
    """There is no inverter to control: the error names the setting to check."""
    async with VictronSimulator() as gx:
        await gx.misbehave("absent", service="vebus")
        with pytest.raises(WrongDeviceError, match="shows no VE.Bus system"):
            await VictronInverter(gx.host, gx.port).connect()
        with pytest.raises(WrongDeviceError, match="no VE.Bus system at unit 228"):
            await VictronInverter(gx.host, gx.port, unit_id=228).connect()


async def test_a_server_that_stays_away_while_probing_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Connecting gives up after a while."""
    monkeypatch.setattr(ModbusTcpConnection, "FIRST_BACK_OFF", 0)
    async with VictronSimulator(vebus_unit=242) as gx:
        await gx.misbehave("crash_on_absent")
        battery = VictronInverter(gx.host, gx.port)
        probing = asyncio.create_task(battery.connect())
        while gx.server.traffic.requests < 2:
            await asyncio.sleep(0)
        await gx.misbehave("away")
        with pytest.raises(CannotConnectError):
            await probing


async def test_units_that_are_given_are_not_probed_for() -> None:
    """The user's units of battery and meter are taken as they are."""
    async with (
        VictronSimulator() as gx,
        VictronInverter(
            gx.host, gx.port, battery_unit_id=225, grid_unit_id=40
        ) as battery,
    ):
        assert battery.detected_config == {
            "unit_id": 227,
            "battery_unit_id": 225,
            "grid_unit_id": 40,
        }


async def test_a_gx_without_serial_number_cannot_be_identified() -> None:
    """The serial number identifies an entry."""
    words = VECTORS[0]["units"]["100"] | {str(a): 0 for a in range(800, 806)}
    vector = VECTORS[0] | {"units": VECTORS[0]["units"] | {"100": words}}
    async with ModbusImage(vector) as image:
        with pytest.raises(WrongDeviceError, match="no serial number"):
            await VictronInverter(image.host, image.port, unit_id=227).connect()


async def test_a_battery_that_does_not_report_its_capacity_has_none() -> None:
    """The estimate is based on Ah."""
    words = VECTORS[0]["units"]["225"] | {"309": 0}
    vector = VECTORS[0] | {"units": VECTORS[0]["units"] | {"225": words}}
    async with ModbusImage(vector) as image, connected(image) as battery:
        assert await battery.get("rated_capacity") is None


async def test_another_modbus_device_is_not_a_gx() -> None:
    """A device without the GX's own unit is turned down."""
    vector = VECTORS[0] | {"units": {"1": {"0": 5}}}
    async with ModbusImage(vector) as image:
        with pytest.raises(WrongDeviceError, match="no GX device"):
            await VictronInverter(image.host, image.port).connect()


async def test_nothing_listening_says_what_to_check() -> None:
    """The error names the address and the usual cause."""
    async with VictronSimulator() as gx:
        port = gx.port
    with pytest.raises(CannotConnectError, match=rf"127.0.0.1:{port}.*Modbus TCP"):
        await VictronInverter("127.0.0.1", port).connect()


async def test_identity_is_that_of_the_gx() -> None:
    """The serial number is the GX's own, the name is the user's."""
    async with ModbusImage(VECTORS[0]) as image, connected(image) as battery:
        identity = battery.identity

    assert identity.serial_number == "c0619ab1c2d3"
    assert identity.name == "Garage MP-II"
    assert identity.model == "VE.Bus system"
    assert identity.firmware == "3.73"


async def test_a_multi_rs_is_read_but_not_controlled() -> None:
    """The RS family has other registers; its setpoint was never tried."""
    rs = {str(address): 0 for address in (*range(4500, 4550), *range(4609, 4615))}
    rs |= {"4500": 2305, "4506": 0xFFFF - 99, "4524": 1, "4530": 9}
    vector = VECTORS[0] | {"units": {"100": VECTORS[0]["units"]["100"], "226": rs}}
    async with (
        ModbusImage(vector) as image,
        VictronInverter(image.host, image.port) as battery,
    ):
        readings = await battery.read()
        limits = battery.setpoint_limits

        assert readings["active_power"] == 1000
        assert readings["grid_voltage_l1"] == 230.5
        assert readings["device_status"] == "inverting"
        assert limits is None
        with pytest.raises(NotSupportedError):
            await battery.set_power_setpoint(100)
        assert image.writes == []


async def test_pv_inverter_is_read_where_the_user_names_it() -> None:
    """The PV inverter's counters make the PV energy."""
    pv = {str(address): 0 for address in range(1026, 1058)}
    pv |= {"1046": 1, "1047": 0, "1049": 150}
    vector = VECTORS[0] | {"units": VECTORS[0]["units"] | {"20": pv}}
    async with (
        ModbusImage(vector) as image,
        connected(image, pv_unit_id=20) as battery,
    ):
        assert await battery.get("pv_energy_total") == pytest.approx(656.86)


# Reading


@pytest.mark.parametrize(("firmware", "most"), [("old", 5), ("2025", 6), ("new", 5)])
async def test_the_fast_poll_takes_few_requests(firmware: Any, most: int) -> None:
    """With battery and meter; servers of 2025 have the wide registers behind a gap."""
    async with VictronSimulator(firmware=firmware) as gx, connected(gx) as battery:
        fast = fast_keys(battery)
        for _ in range(3):  # an old server is learned block by block
            await battery.read(fast)
        before = gx.server.traffic.requests
        readings = await battery.read(fast)
        requests = gx.server.traffic.requests - before

    assert not readings.failures
    assert requests <= most


async def test_old_and_new_servers_give_the_same_values() -> None:
    """Only values of new servers are missing on old ones."""
    seen = []
    for firmware in ("old", "2025", "new"):
        clock = ManualClock()
        async with (
            VictronSimulator(Plant(clock=clock), firmware=firmware) as gx,
            connected(gx) as battery,
        ):
            seen.append(await battery.read())

    only_new = {
        *("firmware", "custom_name", "disable_pv_inverters", "battery_mode"),
        *("grid_metering", "meter_frequency", "rated_power", "rated_power_l1"),
    }
    for old, new in itertools.pairwise(seen):
        assert set(old) <= set(new)
        assert set(new) - set(old) <= only_new
        same = set(old) - only_new
        assert {key: old[key] for key in same} == {key: new[key] for key in same}


async def test_an_absent_battery_service_costs_its_own_values_only() -> None:
    """With the BMS gone the system's coarser values remain."""
    async with VictronSimulator() as gx, connected(gx) as battery:
        await gx.misbehave("absent", service="battery")
        readings = await battery.read(["battery_soc", "battery_soh", "battery_power"])

        assert isinstance(readings.failures["battery_soh"], UnitAbsentError)
        assert readings["battery_soc"] == 50
        assert "battery_power" in readings


async def test_no_battery_at_all_is_unknown_not_empty() -> None:
    """Victron reports unknown as 0: a SOC of 0 % would be a false alarm."""
    units = VECTORS[0]["units"]
    vector = VECTORS[0] | {
        "units": {
            "100": units["100"] | {"840": 0, "841": 0, "842": 0, "843": 0},
            "227": units["227"],
        },
        "unit_ids": {"vebus": 227, "battery": None, "grid": None},
    }
    async with ModbusImage(vector) as image, connected(image) as battery:
        readings = await battery.read(
            ["battery_soc", "battery_power", "battery_current", "battery_status"]
        )
        granted = await battery.set_power_setpoint(500)

    assert set(readings.values()) == {None}
    assert granted.power == 0


async def test_zero_degrees_count_once_the_sensor_has_shown_itself() -> None:
    """0.0 °C means 'no sensor' until another value was seen."""
    vector = VECTORS[0] | {"units": VECTORS[0]["units"] | {}}
    vector["units"]["225"] = VECTORS[0]["units"]["225"] | {"262": 0}
    async with ModbusImage(vector) as image, connected(image) as battery:
        at_first = await battery.get("battery_temperature")
        image.units.units[225][262] = 5
        then = await battery.get("battery_temperature")
        image.units.units[225][262] = 0
        at_last = await battery.get("battery_temperature")

    assert (at_first, then, at_last) == (None, 0.5, 0)


async def test_energy_counters_of_a_bms_without_history_do_not_exist() -> None:
    """A CAN-bus BMS reads 0 kWh for ever; a shunt counts."""
    async with VictronSimulator(battery="bms") as gx, connected(gx) as battery:
        with_bms = battery.measurements
    (shunt,) = (v for v in VECTORS if "shunt" in v["name"])
    async with ModbusImage(shunt) as image, connected(image) as battery:
        readings = await battery.read(
            ["energy_charged_total", "energy_discharged_total"]
        )

    assert "energy_charged_total" not in with_bms
    assert dict(readings) == {
        "energy_charged_total": 1234.5,
        "energy_discharged_total": 1180.2,
    }


async def test_sites_beyond_32_kw_a_phase_use_the_wide_registers() -> None:
    """The 16-bit register wraps; the 32-bit one is right."""
    words = VECTORS[0]["units"]["100"] | {"820": 40000, "908": 0, "909": 40000}
    vector = VECTORS[0] | {"units": VECTORS[0]["units"] | {"100": words}}
    async with ModbusImage(vector) as image, connected(image) as battery:
        assert await battery.get("grid_power") == 40000


async def test_problems_are_named() -> None:
    """Alarms of the inverter and the battery come by Victron's names."""
    async with VictronSimulator() as gx, connected(gx) as battery:
        assert await battery.get("problem") == ()
        await gx.misbehave("alarm", path="/Alarms/HighTemperature", level=1)
        await gx.misbehave("alarm", path="/Alarms/CellImbalance", service="battery")

        assert await battery.get("problem") == (
            "HighTemperature",
            "Battery CellImbalance",
        )


# Control


@pytest.mark.parametrize("phases", [1, 2, 3])
@pytest.mark.parametrize("power", [2000, -2000])
@pytest.mark.parametrize(
    "house",
    [
        pytest.param({"critical_share": 0.0}, id="nothing on AC-out"),
        pytest.param({"critical_share": 0.8}, id="loads on AC-out"),
        # More than the loads, which the user lets the GX feed in.
        pytest.param({"pv_dc_share": 1.0, "feeds_in": True}, id="PV on DC"),
        pytest.param({"pv_on_output": True}, id="PV on AC-out"),
    ],
)
async def test_the_battery_gets_the_power_that_was_asked_for(
    phases: int, power: int, house: dict[str, Any]
) -> None:
    """With any load on the inverter: the setpoint is battery power, less losses."""
    clock = ManualClock()
    own = {"pv_dc_share", "feeds_in"}
    options = {key: house[key] for key in house if key not in own}
    plant = Plant(
        phases=phases,
        clock=clock,
        mean_load=1000,
        pv_dc_share=house.get("pv_dc_share", 0),
    )
    async with VictronSimulator(plant, **options) as gx, connected(gx) as battery:
        if house.get("feeds_in"):
            await gx.misbehave("setting", path="CGwacs/OvervoltageFeedIn", value=1)
        granted = await battery.set_power_setpoint(power)
        clock.advance(1)
        await battery.keep_alive()
        clock.advance(1)

        state = gx.state()
        assert granted.power == power
        assert state["mode"] == "controlled"
        assert state["battery_power"] == pytest.approx(power, rel=0.15)
        assert await battery.get("power_setpoint") == power


async def test_hold_leaves_the_battery_alone() -> None:
    """0 W: loads on AC-out come from the grid."""
    clock = ManualClock()
    async with (
        VictronSimulator(Plant(clock=clock), critical_share=1.0) as gx,
        connected(gx) as battery,
    ):
        granted = await battery.set_power_setpoint(0)
        clock.advance(2)

        assert granted.power == 0
        assert gx.state()["battery_power"] == 0
        assert gx.state()["device"]["passthru"]
        assert await battery.get("power_setpoint") == 0


async def test_renewal_keeps_the_setpoint_and_silence_ends_it() -> None:
    """Ten minutes of renewals hold; then the device's own watchdog ends control."""
    clock = ManualClock()
    async with VictronSimulator(Plant(clock=clock)) as gx, connected(gx) as battery:
        await battery.set_power_setpoint(1500)
        for _ in range(120):
            clock.advance(5)
            await battery.keep_alive()
        held = gx.state()["device"]["lapsed"]
        clock.advance(61)

        assert not held
        assert gx.state()["device"]["lapsed"]
        assert gx.state()["battery_power"] == 0
        assert await battery.get("power_setpoint") is None


async def test_renewal_follows_the_load() -> None:
    """A load that is switched on at AC-out does not discharge the battery for long."""
    clock = ManualClock()
    async with (
        VictronSimulator(Plant(clock=clock, mean_load=500), critical_share=1.0) as gx,
        connected(gx) as battery,
    ):
        await battery.set_power_setpoint(1000)
        clock.advance(1)
        gx.plant.mean_load = 2500
        clock.advance(1)
        await battery.keep_alive()
        clock.advance(1)

        assert gx.state()["battery_power"] == pytest.approx(1000, rel=0.15)


@pytest.mark.parametrize("mode", [1, 2])
async def test_release_restores_the_mode(mode: int) -> None:
    """Setpoints and flags are zero again, and the GX decides as before."""
    async with VictronSimulator(ess_mode=mode) as gx, connected(gx) as battery:
        await battery.set_power_setpoint(-500)
        await battery.release()

        device = gx.state()["device"]
        assert device["ess_mode"] == mode
        assert (device["disable_charge"], device["disable_feed_in"]) == (0, 0)
        assert battery.snapshot is None
        assert device["flash_writes"] == 2


async def test_release_without_a_setpoint_writes_nothing() -> None:
    """There is no snapshot, and nothing to restore."""
    async with VictronSimulator() as gx, connected(gx) as battery:
        await battery.release()
        await battery.keep_alive()

        assert gx.server.traffic.writes == []


async def test_reading_and_connecting_write_nothing() -> None:
    """Only a setpoint or a setting causes a write."""
    async with VictronSimulator() as gx, VictronInverter(gx.host, gx.port) as battery:
        await battery.read()
        assert gx.server.traffic.writes == []


async def test_external_control_from_before_stays() -> None:
    """Another controller owns the mode: it is neither written nor restored."""
    async with VictronSimulator(ess_mode=3) as gx, connected(gx) as battery:
        await battery.set_power_setpoint(500)
        await battery.release()

        assert gx.state()["device"]["ess_mode"] == 3
        assert gx.state()["device"]["flash_writes"] == 0


async def test_another_controller_ending_external_control_is_not_fought() -> None:
    """The setpoint registers then belong to the GX's loop: nothing is written."""
    async with VictronSimulator() as gx, connected(gx) as battery:
        await battery.set_power_setpoint(500)
        gx.gx.write("settings", "/Settings/CGwacs/Hub4Mode", 2)
        before = len(gx.server.traffic.writes)

        with pytest.raises(NotConfirmedError, match="another controller has changed"):
            await battery.keep_alive()
        assert len(gx.server.traffic.writes) == before

        await battery.release()
        assert gx.state()["device"]["ess_mode"] == 2


async def test_release_after_a_new_setpoint_restores_the_new_mode() -> None:
    """The mode that was chosen meanwhile is in the new snapshot."""
    async with VictronSimulator() as gx, connected(gx) as battery:
        await battery.set_power_setpoint(500)
        gx.gx.write("settings", "/Settings/CGwacs/Hub4Mode", 2)

        await battery.set_power_setpoint(700)
        await battery.release()

        assert gx.state()["device"]["ess_mode"] == 2


async def test_a_mode_that_was_not_accepted_is_no_other_controllers() -> None:
    """Nothing is written while the GX's own loop owns the setpoints."""
    async with VictronSimulator() as gx, connected(gx) as battery:
        await gx.misbehave("ignore_writes")
        with pytest.raises(
            NotConfirmedError, match="mode is still self_consumption"
        ) as error:
            await battery.set_power_setpoint(500)
        with pytest.raises(NotConfirmedError):
            await battery.keep_alive()

        assert not isinstance(error.value, TakenOverError)
        assert [write.address for write in gx.server.traffic.writes] == [2902]


async def test_external_control_that_was_written_counts_until_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Settings take their time: the first setpoint does not wait for the mode."""
    monkeypatch.setattr(victron_controller, "_FRESH", 60)
    async with VictronSimulator() as gx, connected(gx) as battery:
        await gx.misbehave("apply_delay", seconds=600, service="settings")
        assert await battery.set_power_setpoint(500) == Grant(500)
        await battery.read(["working_mode"])
        with pytest.raises(NotConfirmedError, match="mode is still self_consumption"):
            await battery.keep_alive()


async def test_a_first_setpoint_reads_the_mode_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a poll: the mode is read, and written with the control block."""
    monkeypatch.setattr(victron_controller, "_FRESH", 60)
    async with VictronSimulator() as gx, connected(gx) as battery:
        await battery.read()
        before = gx.server.traffic.requests
        await battery.set_power_setpoint(500)

        assert gx.server.traffic.requests == before + 3
        assert [write.address for write in gx.server.traffic.writes] == [2902, 37]


async def test_control_that_is_lost_before_the_first_write_leaves_nothing_held() -> (
    None
):
    """External control was there already, and the inverter is gone."""
    async with VictronSimulator(ess_mode=3) as gx, connected(gx) as battery:
        await gx.misbehave("absent", service="vebus")
        with pytest.raises(UnitAbsentError) as error:
            await battery.set_power_setpoint(500)

        assert not error.value.written
        assert battery.snapshot is None
        assert battery.held is None
        assert await battery.keep_alive() is None


async def test_setpoints_of_another_controller_are_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The third in a minute is no accident; theirs are neither fought nor cleared."""
    monkeypatch.setattr(victron_controller, "_SETTLED", 0)
    async with VictronSimulator() as gx, connected(gx) as battery:
        await battery.set_power_setpoint(500)
        for _ in range(2):
            await gx.misbehave("other_controller", power=-700)
            await battery.keep_alive()
        await gx.misbehave("other_controller", power=-700)
        with pytest.raises(TakenOverError, match="another controller"):
            await battery.keep_alive()
        before = len(gx.server.traffic.writes)
        with pytest.raises(TakenOverError):
            await battery.keep_alive()
        await battery.release()

        assert gx.server.traffic.writes[before:] == [(100, 2902, [1])]


async def test_another_controller_is_noticed_in_spite_of_own_renewals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two who write in turn: each read of theirs counts, for a minute."""
    monkeypatch.setattr(victron_controller, "_SETTLED", 0)
    async with VictronSimulator() as gx, connected(gx) as battery:
        await battery.set_power_setpoint(500)
        for _ in range(2):
            await gx.misbehave("other_controller", power=-700)
            await battery.keep_alive()
            await battery.keep_alive()
        await gx.misbehave("other_controller", power=-700)
        with pytest.raises(TakenOverError, match="another controller"):
            await battery.keep_alive()


async def test_foreign_setpoints_that_are_far_apart_are_accidents(
    monkeypatch: pytest.MonkeyPatch, leap: Leap
) -> None:
    """The third comes more than a minute after the first."""
    monkeypatch.setattr(victron_controller, "_SETTLED", 0)
    async with VictronSimulator() as gx, connected(gx) as battery:
        await battery.set_power_setpoint(500)
        for _ in range(4):
            await gx.misbehave("other_controller", power=-700)
            assert await battery.keep_alive() == Grant(500)
            leap(31)


async def test_reads_right_after_a_write_do_not_count() -> None:
    """The registers show the result of a write only after a while."""
    async with VictronSimulator() as gx, connected(gx) as battery:
        await battery.set_power_setpoint(500)
        for _ in range(4):
            await gx.misbehave("other_controller", power=-700)
            assert await battery.keep_alive() == Grant(500)


async def test_a_setpoint_that_was_lost_is_no_other_controllers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Zeros are the result of a restart, at any frequency."""
    monkeypatch.setattr(victron_controller, "_SETTLED", 0)
    async with VictronSimulator() as gx, connected(gx) as battery:
        await battery.set_power_setpoint(500)
        for _ in range(4):
            gx.gx.restart()
            assert await battery.keep_alive() == Grant(500)


async def test_a_battery_in_external_control_is_held() -> None:
    """A controller that resumes after a restart relies on it."""
    async with VictronSimulator() as gx, connected(gx) as battery:
        assert not await battery.is_held()
        await battery.set_power_setpoint(500)
        assert await battery.is_held()
        await gx.misbehave("ess_mode", mode=1)
        assert not await battery.is_held()


async def test_a_release_that_is_not_seen_is_kept_for_another_try() -> None:
    """Writes without effect: the error names the values, and the snapshot is kept."""
    async with VictronSimulator() as gx, connected(gx) as battery:
        await battery.set_power_setpoint(500)
        await gx.misbehave("ignore_writes")
        with pytest.raises(NotConfirmedError, match="still read"):
            await battery.release()
        assert battery.snapshot == {"working_mode": "self_consumption"}

        await gx.misbehave("ignore_writes", on=False)
        await battery.release()
        assert gx.state()["mode"] == "automatic"


async def test_a_mode_that_does_not_come_back_is_not_called_released() -> None:
    """The settings service is stuck: zeroed setpoints alone are not a release."""
    async with VictronSimulator() as gx, connected(gx) as battery:
        await battery.set_power_setpoint(500)
        await gx.misbehave("apply_delay", seconds=60, service="settings")
        with pytest.raises(NotConfirmedError, match="ESS mode is still"):
            await battery.release()
        assert battery.snapshot is not None


async def test_release_restores_the_mode_though_the_inverter_is_gone() -> None:
    """The mode must not wait for an inverter that is switched off."""
    async with VictronSimulator() as gx, connected(gx) as battery:
        await battery.set_power_setpoint(500)
        await gx.misbehave("absent", service="vebus")
        with pytest.raises(UnitAbsentError):
            await battery.release()
        assert gx.state()["device"]["ess_mode"] == 1

        await gx.misbehave("absent", service="vebus", on=False)
        await battery.release()
        await battery.release()
        assert battery.snapshot is None
        assert gx.state()["device"]["flash_writes"] == 2


async def test_writing_switched_off_on_the_gx_is_reported() -> None:
    """The GX answers like for a missing register: the text names both causes."""
    async with VictronSimulator(write_enabled=False) as gx, connected(gx) as battery:
        with pytest.raises(IllegalAddressError, match="writing is switched off"):
            await battery.set_power_setpoint(500)
        assert battery.issues == {DeviceIssue.WRITES_OFF}
        assert battery.snapshot is None
        assert battery.held is None


@pytest.mark.parametrize(
    ("power", "granted"), [(99999, 5000), (-99999, -5000), (3000.4, 3000)]
)
async def test_setpoints_are_kept_within_the_inverters_rating(
    power: float, granted: int
) -> None:
    """Beyond the rating the rating is granted, in whole watts."""
    async with VictronSimulator() as gx, connected(gx) as battery:
        await gx.misbehave("bms", charge=200, discharge=200)
        assert (await battery.set_power_setpoint(power)).power == granted


async def test_the_users_limits_are_kept() -> None:
    """Both bound the range; without a known rating they alone do."""
    options = {"max_charge_power": 1200, "max_discharge_power": 800}
    async with VictronSimulator() as gx, connected(gx, **options) as battery:
        limits = battery.setpoint_limits
        granted = [(await battery.set_power_setpoint(p)).power for p in (4000, -4000)]
    more = {"max_charge_power": 7000, "max_discharge_power": 9000}
    async with (
        VictronSimulator(firmware="old") as gx,
        connected(gx, **more) as battery,
    ):
        unknown = battery.setpoint_limits

    assert limits == SetpointLimits(-800, 1200)
    assert granted == [1200, -800]
    assert unknown == SetpointLimits(-9000, 7000)


async def test_limits_of_the_bms_bound_the_setpoint() -> None:
    """In external control the GX does not keep the discharge limit.

    It is one of the DC side: 7 % of a discharge may be lost on the way to the AC side.
    """
    async with VictronSimulator() as gx, connected(gx) as battery:
        await gx.misbehave("bms", charge=20, discharge=10)
        volts = await battery.get("battery_voltage")
        assert isinstance(volts, float)

        assert (await battery.set_power_setpoint(4000)).power == round(20 * volts)
        assert (await battery.set_power_setpoint(-4000)).power == round(
            -10 * volts * 0.93
        )

        await gx.misbehave("bms", charge=0, discharge=0)
        assert await battery.keep_alive() == Grant(0, LimitReason.BATTERY)
        assert gx.state()["device"]["passthru"]


async def test_an_empty_battery_is_not_discharged() -> None:
    """At the minimum SOC discharging ends, and needs 3 % more to begin again."""
    async with VictronSimulator(min_soc=20) as gx, connected(gx) as battery:
        granted: list[Grant | None] = [await battery.set_power_setpoint(-1000)]
        for soc in (20, 22, 23):
            gx.plant.soc = soc
            granted.append(await battery.keep_alive())

        empty = Grant(0, LimitReason.EMPTY)
        assert granted == [Grant(-1000), empty, empty, Grant(-1000)]
        gx.plant.soc = 15
        assert (await battery.set_power_setpoint(1000)).power == 1000


@pytest.mark.parametrize(
    ("words", "charge", "discharge"),
    [
        ({227: {59: 1, 57: 0, 58: 1}}, 0, -1000),
        ({227: {59: 1, 57: 1, 58: 0}}, 1000, 0),
        ({225: {1297: 0, 1298: 1}}, 0, -1000),
        ({225: {1297: 1, 1298: 0}}, 1000, 0),
    ],
)
async def test_the_word_of_the_bms_counts(
    words: dict[int, dict[int, int]], charge: int, discharge: int
) -> None:
    """A BMS that forbids a direction makes it hold."""
    async with ModbusImage(VECTORS[0]) as image, connected(image) as battery:
        for unit, registers in words.items():
            image.units.units[unit].update(registers)

        assert (await battery.set_power_setpoint(1000)).power == charge
        assert (await battery.set_power_setpoint(-1000)).power == discharge


@pytest.mark.parametrize(
    ("fault", "arguments", "reason"),
    [
        ("bms", {"charge": 100, "discharge": 10}, LimitReason.BATTERY),
        ("bms", {"charge": 100, "discharge": 0}, LimitReason.BATTERY),
        ("grid_lost", {}, LimitReason.NO_GRID),
        ("absent", {"service": "battery"}, None),
    ],
)
async def test_the_reason_for_a_smaller_grant_is_reported(
    fault: str, arguments: dict[str, Any], reason: LimitReason | None
) -> None:
    """And reset with it."""
    async with VictronSimulator() as gx, connected(gx) as battery:
        first = await battery.set_power_setpoint(-1000)
        assert first.reason is None
        await gx.misbehave(fault, **arguments)
        renewed = await battery.keep_alive()
        assert renewed is not None
        assert renewed.reason is reason
        assert battery.held is not None
        assert battery.held.grant == renewed
        await battery.release()
        assert battery.held is None


async def test_the_minimum_soc_is_a_reason_for_discharging_only() -> None:
    """A battery below it may be charged."""
    async with VictronSimulator(min_soc=60) as gx, connected(gx) as battery:
        empty = Grant(0, LimitReason.EMPTY)
        assert await battery.set_power_setpoint(-1000) == empty
        assert await battery.set_power_setpoint(1000) == Grant(1000)


async def test_without_grid_the_inverter_cannot_follow() -> None:
    """Off grid the loads decide, and the battery must be free to carry them."""
    async with VictronSimulator() as gx, connected(gx) as battery:
        await gx.misbehave("grid_lost")

        assert (await battery.set_power_setpoint(1000)).power == 0
        assert gx.server.traffic.writes[-1] == (227, 37, [0, 0, 0])


async def test_conditions_that_are_too_old_hold_the_battery(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A setpoint computed from yesterday's load could do anything."""
    async with VictronSimulator() as gx, connected(gx) as battery:
        await battery.set_power_setpoint(1000)
        monkeypatch.setattr(victron_controller, "_TOO_OLD", 0)

        assert await battery.keep_alive() == Grant(0, LimitReason.UNKNOWN_STATE)
        assert gx.server.traffic.writes[-1] == (227, 37, [0, 1, 1])


async def test_renewal_reads_only_values_that_polling_did_not_bring(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fresh readings of a poll serve the renewal too."""
    monkeypatch.setattr(victron_controller, "_FRESH", 60)
    async with VictronSimulator() as gx, connected(gx) as battery:
        await battery.set_power_setpoint(1000)
        before = gx.server.traffic.requests
        await battery.keep_alive()

        assert gx.server.traffic.requests == before + 1


async def test_phases_have_setpoints_of_their_own() -> None:
    """One phase charges, another discharges; the AC-out loads stay where they are."""
    clock = ManualClock()
    async with (
        VictronSimulator(Plant(phases=3, clock=clock), critical_share=0) as gx,
        connected(gx) as battery,
    ):
        await battery.set_power_setpoint_phase(900, 1)
        granted = await battery.set_power_setpoint_phase(-300, 3)
        clock.advance(1)

        assert granted.power == 600
        assert gx.state()["device"]["setpoints"] == [900, 0, -300]
        with pytest.raises(NotSupportedError, match="phase 4"):
            await battery.set_power_setpoint_phase(100, 4)


async def test_currents_become_power() -> None:
    """A battery current counts at battery voltage, a phase's at the grid's."""
    async with VictronSimulator() as gx, connected(gx) as battery:
        volts = await battery.get("battery_voltage")
        mains = await battery.get_phase_voltage(1)
        assert isinstance(volts, float) and isinstance(mains, float)

        assert (await battery.set_current_setpoint(10)).power == round(10 * volts)
        assert (await battery.set_current_setpoint_phase(-2, 1)).power == round(
            -2 * mains
        )


async def test_without_ess_assistant_there_is_no_setpoint() -> None:
    """The Multi would ignore it: it is not supported, and nothing is written."""
    async with VictronSimulator(ess=False) as gx, connected(gx) as battery:
        assert battery.setpoint_limits is None
        assert "grid_setpoint" not in battery.settings
        with pytest.raises(NotSupportedError, match="ESS assistant"):
            await battery.take_snapshot()
        assert gx.server.traffic.writes == []


# Settings


async def test_settings_in_flash_are_not_written_when_equal() -> None:
    """A setting with the present value costs no flash write."""
    async with VictronSimulator(min_soc=20) as gx, connected(gx) as battery:
        await battery.set_value("min_soc", 20)
        await battery.set_value("working_mode", "self_consumption")

        assert gx.state()["device"]["flash_writes"] == 0


async def test_settings_that_do_not_take_are_reported() -> None:
    """The device keeps its value: the error names the setting."""
    async with VictronSimulator(min_soc=20) as gx, connected(gx) as battery:
        await gx.misbehave("ignore_writes")
        with pytest.raises(
            NotConfirmedError, match="min_soc is still 20.0 after writing 30"
        ):
            await battery.set_value("min_soc", 30)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("min_soc", 101),
        ("min_soc", "full"),
        ("working_mode", "sleep"),
        ("feed_in_dc_pv", 1),
    ],
)
async def test_settings_out_of_range_are_refused(key: str, value: Any) -> None:
    """Nothing is written, and the error names the setting."""
    async with VictronSimulator() as gx, connected(gx) as battery:
        with pytest.raises(InvalidValueError, match=key):
            await battery.set_value(key, value)
        assert gx.server.traffic.writes == []


async def test_no_setting_writes_a_forbidden_register() -> None:
    """Every setting is changed once each way; only permitted registers are written."""
    async with ModbusImage(VECTORS[0]) as image, connected(image) as battery:
        await battery.read()
        for key, setting in battery.settings.items():
            values: tuple[Any, ...] = (True, False)
            if isinstance(setting, SelectSetting):
                values = setting.options
            elif isinstance(setting, NumberSetting):
                values = (setting.minimum + setting.step, setting.minimum)
            for value in values:
                await battery.set_value(key, value)
        written = {
            address + offset
            for _, address, words in image.writes
            for offset in range(len(words))
        }

    assert len(written) > len(battery.settings) / 2
    assert not written & NEVER_WRITE.keys()


@pytest.mark.parametrize("address", NEVER_WRITE)
async def test_writes_to_forbidden_registers_are_not_sent(address: int) -> None:
    """By any caller, and also in the middle of other words."""
    async with VictronSimulator() as gx, connected(gx) as battery:
        for device in battery.devices:
            for first in (address, address - 1):
                with pytest.raises(NotSupportedError, match="must never be"):
                    await device.write_words(first, [0, 0])
        assert gx.server.traffic.writes == []


async def test_unknown_settings_are_not_supported() -> None:
    """An existing register is not therefore writable."""
    async with VictronSimulator() as gx, connected(gx) as battery:
        for key in ("vebus_soc", "vebus_reset", "nonsense"):
            with pytest.raises(NotSupportedError, match=key):
                await battery.set_value(key, 1)


async def test_grid_setpoint_is_volatile_and_leaves_flash_alone() -> None:
    """The register meant for frequent writing is used, in whole watts."""
    async with VictronSimulator() as gx, connected(gx) as battery:
        await battery.set_value("grid_setpoint", -2500)

        assert gx.server.traffic.writes == [(100, 2716, [65535, 63036])]
        assert await battery.get("grid_setpoint") == -2500
        assert gx.state()["device"]["flash_writes"] == 0


async def test_grid_setpoint_does_not_fight_dynamic_ess() -> None:
    """Dynamic ESS writes the same value each cycle."""
    async with VictronSimulator(dynamic_ess=True) as gx, connected(gx) as battery:
        with pytest.raises(NotSupportedError, match="Dynamic ESS is active"):
            await battery.set_value("grid_setpoint", 100)
        assert gx.server.traffic.writes == []


async def test_no_feed_in_limit_is_distinguished_from_no_feed_in() -> None:
    """-1 and 0 are equal in the coarse register; the wide one distinguishes them."""
    async with VictronSimulator() as gx, connected(gx) as battery:
        await battery.set_value("max_feed_in_power", 2000)
        limited = await battery.get("max_feed_in_power")
        await battery.set_value("max_feed_in_power", None)
        unlimited = await battery.get("max_feed_in_power")

    assert (limited, unlimited) == (2000, None)


@pytest.mark.parametrize(
    ("mode", "state"),
    [("keep_charged", 9), ("without_battery_life", 10), ("with_battery_life", 1)],
)
async def test_battery_life_mode_writes_only_permitted_states(
    mode: str, state: int
) -> None:
    """Only three of the states of 2900 may be chosen."""
    vector = VECTORS[0]
    async with ModbusImage(vector) as image, connected(image) as battery:
        current = await battery.get("ess_battery_life_mode")
        await battery.set_value("ess_battery_life_mode", mode)

        expected = [] if mode == current else [(100, 2900, [state])]
        assert image.writes == expected
        assert await battery.get("ess_battery_life_mode") == mode


async def test_a_battery_life_mode_that_does_not_take_is_reported() -> None:
    """The GX keeps its state: the error names it."""
    async with VictronSimulator() as gx, connected(gx) as battery:
        await gx.misbehave("ignore_writes")
        with pytest.raises(NotConfirmedError, match="after choosing keep_charged"):
            await battery.set_value("ess_battery_life_mode", "keep_charged")


# Arithmetic


@pytest.mark.parametrize(
    ("power", "phases", "shares"),
    [
        (2500, 1, [2500]),
        (2500, 3, [834, 833, 833]),
        (-2500, 3, [-834, -833, -833]),
        (0, 2, [0, 0]),
        (-1, 3, [-1, 0, 0]),
    ],
)
def test_power_is_split_into_whole_watts(
    power: int, phases: int, shares: list[int]
) -> None:
    """Nothing is lost and the sign is kept."""
    assert split(power, phases) == shares


@pytest.mark.parametrize(
    ("shares", "ratings", "kept"),
    [
        ([2000, 0, 0], [1000, 1000, 1000], [1000, 1000, 0]),
        ([-2000, 0, 0], [1000, 400, 1000], [-1000, -400, -600]),
        ([9000, 9000], [1000, 1000], [1000, 1000]),
        ([9000], [0], [9000]),
    ],
)
def test_phases_take_the_rest_of_another_phase(
    shares: list[int], ratings: list[float], kept: list[int]
) -> None:
    """Each stays within its rating; an unknown rating bounds nothing."""
    assert within_ratings(shares, ratings) == kept
