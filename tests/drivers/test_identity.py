"""The comparison of serial numbers: another device at the address is refused."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partialmethod
from typing import Any

import pytest

from custom_components.homebattery.drivers import DRIVERS, SessyInverter, SmaInverter
from custom_components.homebattery.drivers.battery.base import Battery
from custom_components.homebattery.drivers.battery.identity import VALID
from custom_components.homebattery.drivers.errors import (
    AnotherDeviceError,
    BatteryError,
    CannotConnectError,
    DeviceRefusedError,
    RequestTimeoutError,
    UnidentifiedError,
    WrongLoggerError,
)
from tests.drivers.conftest import Leap
from tests.home import (
    KINDS,
    ON_A_SOCKET,
    another,
    each_on_a_socket,
    house_of,
    one_of_each_protocol,
)
from tests.nameless import TIMEOUT, Nameless
from tests.simulators import ManualClock, SessySimulator, Simulator, SmaSimulator
from tests.simulators.switch import Switch

pytestmark = pytest.mark.usefixtures("socket_enabled")

LASTING = [kind for kind in ON_A_SOCKET if kind != "sessy"]
"""The kinds that keep a connection."""


@dataclass
class Address:
    """An address, the device that a battery is connected to there, and another one."""

    switch: Switch
    device: Simulator
    other: Simulator
    battery: Battery

    async def pass_to(self, device: Simulator) -> None:
        """Let the device be out of reach, and another one take its place."""
        await self.switch.give_to(None)
        with pytest.raises(CannotConnectError):
            await self.battery.get("battery_soc")
        await self.switch.give_to(device)


@pytest.fixture
async def address(
    simulator: Simulator, clock: ManualClock, leap: Leap
) -> AsyncIterator[Address]:
    """Yield each kind of device in turn, connected, and another one of its kind."""
    async with (
        another(simulator, clock) as other,
        Switch(simulator) as switch,
        DRIVERS[simulator.type].from_setup(switch.setup_of(simulator)) as battery,
    ):
        yield Address(switch, simulator, other, battery)


def served(device: Simulator) -> int:
    """Return the number of requests that a device has had."""
    if isinstance(device, SessySimulator):
        return len(device.server.requests)
    server: Any = device.server
    return int(server.traffic.requests)


def back_off(leap: Leap) -> None:
    """Let the time pass in which no connection is tried after a failure."""
    leap(31)


CALLS: dict[str, Callable[[Battery, str], Awaitable[Any]]] = {
    "read": lambda battery, _: battery.read(),
    "get": lambda battery, _: battery.get("battery_soc"),
    "take_snapshot": lambda battery, _: battery.take_snapshot(),
    "set_power_setpoint": lambda battery, _: battery.set_power_setpoint(500),
    "keep_alive": lambda battery, _: battery.keep_alive(),
    "release": lambda battery, _: battery.release(),
    "set_value": lambda battery, kind: battery.set_value(*KINDS[kind].number),
}


@each_on_a_socket
async def test_every_call_to_another_device_is_an_error(
    address: Address, leap: Leap
) -> None:
    """Only its serial number is read; the snapshot of the right one is kept."""
    battery, other = address.battery, address.other
    await battery.set_power_setpoint(1000)
    snapshot = battery.snapshot
    before = other.settings_words()
    await address.pass_to(other)
    back_off(leap)

    for name, call in CALLS.items():
        already = served(other)
        with pytest.raises(AnotherDeviceError):
            await call(battery, address.device.type)
        assert served(other) - already <= 1, name

    assert other.settings_words() == before
    assert battery.snapshot == snapshot
    assert battery.identity_check.present is not None


@each_on_a_socket
async def test_device_that_is_back_is_released(address: Address, leap: Leap) -> None:
    """It needs no new set-up."""
    battery, device = address.battery, address.device
    await battery.set_power_setpoint(1000)
    await address.pass_to(address.other)
    back_off(leap)
    with pytest.raises(AnotherDeviceError):
        await battery.release()

    await address.switch.give_to(device)
    # A connection that turns out to be cut may cost a try.
    for _ in range(2):
        try:
            await battery.release()
        except CannotConnectError:
            back_off(leap)

    assert battery.snapshot is None
    assert device.mode == "automatic"
    assert battery.identity_check.present is None


@pytest.mark.parametrize("simulator", LASTING, indirect=True)
async def test_new_connection_in_the_midst_of_a_setpoint_is_compared(
    address: Address,
) -> None:
    """The setpoint has begun at the right device, and goes no further at the other."""
    battery, device, other = address.battery, address.device, address.other
    before = other.settings_words()
    await address.switch.give_to(other, cut=False)
    await device.misbehave("cut_write", nth=1, for_good=False)

    with pytest.raises(BatteryError) as caught:
        await battery.set_power_setpoint(1000)
    with pytest.raises(AnotherDeviceError):
        await battery.release()

    assert caught.value.written
    assert battery.snapshot is not None
    assert other.settings_words() == before


@pytest.mark.parametrize("simulator", LASTING, indirect=True)
async def test_connection_that_was_cut_in_silence_is_compared(
    address: Address,
) -> None:
    """There was no failure in between: the next request itself connects."""
    await address.switch.give_to(address.other)

    with pytest.raises((AnotherDeviceError, CannotConnectError)):
        await address.battery.read(["battery_soc"])
    with pytest.raises(AnotherDeviceError):
        await address.battery.read(["battery_soc"])

    assert served(address.other) <= 2


# Without an answer


@pytest.fixture(params=["refused", "empty"])
def nameless(request: pytest.FixtureRequest, address: Address) -> Nameless:
    """Return the ways in which a device answers without its serial number."""
    return Nameless(address.device, request.param)


@each_on_a_socket
async def test_nothing_is_read_or_renewed_while_the_serial_number_is_refused_or_empty(
    address: Address, leap: Leap, nameless: Nameless
) -> None:
    """After it was out of reach, it may be another device that reports none."""
    battery, device = address.battery, address.device
    await battery.set_power_setpoint(1000)
    before, snapshot = device.settings_words(), battery.snapshot
    await nameless.begin()
    await address.pass_to(device)
    back_off(leap)

    for name, call in CALLS.items():
        already, writes = served(device), battery.writes
        with pytest.raises(UnidentifiedError):
            await call(battery, device.type)
        # An HTTP error is asked again once.
        assert served(device) - already <= 1 + (device.type == "sessy"), name
        assert battery.writes == writes, name

    assert device.settings_words() == before
    assert battery.snapshot == snapshot
    assert battery.identity_check.present is None


@each_on_a_socket
async def test_device_that_reports_its_serial_number_again_is_back_at_once(
    address: Address, leap: Leap, nameless: Nameless
) -> None:
    """As one does that has started: nothing has to be waited for."""
    battery, device = address.battery, address.device
    await battery.set_power_setpoint(1000)
    await nameless.begin()
    await address.pass_to(device)
    back_off(leap)
    with pytest.raises(UnidentifiedError):
        await battery.read()

    await nameless.end()

    assert await battery.get("battery_soc") == pytest.approx(50, abs=0.5)
    await battery.keep_alive()
    assert battery.held is not None
    await battery.release()
    assert device.mode == "automatic"


@each_on_a_socket
async def test_serial_number_that_is_refused_while_in_reach_changes_nothing(
    address: Address, leap: Leap, nameless: Nameless
) -> None:
    """A write that needs a comparison is refused, and nothing else."""
    battery, device = address.battery, address.device
    await battery.set_power_setpoint(1000)
    await nameless.begin()
    leap(VALID + 1)
    if device.type == "sessy":
        with pytest.raises(UnidentifiedError):
            await battery.release()

    assert await battery.get("battery_soc") == pytest.approx(50, abs=0.5)
    await battery.keep_alive()
    assert device.mode == "controlled"


@each_on_a_socket
async def test_first_write_waits_while_the_serial_number_is_not_answered(
    address: Address, leap: Leap, nameless: Nameless
) -> None:
    battery, device = address.battery, address.device
    before = device.settings_words()
    await nameless.begin()
    await address.pass_to(device)
    back_off(leap)

    with pytest.raises(BatteryError) as caught:
        await battery.set_power_setpoint(1000)
    with pytest.raises(BatteryError):
        await battery.set_value(*KINDS[device.type].number)

    assert not caught.value.written
    assert battery.snapshot is None
    assert device.settings_words() == before
    await nameless.end()
    await battery.set_power_setpoint(1000)
    assert device.mode == "controlled"


@one_of_each_protocol
async def test_reads_and_renewals_go_on_while_the_question_gets_no_answer(
    simulator: Simulator, leap: Leap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silence for one question is not another device; a release waits all the same."""
    driver = DRIVERS[simulator.type]
    monkeypatch.setattr(
        driver, "__init__", partialmethod(driver.__init__, timeout=TIMEOUT)
    )
    nameless = Nameless(simulator, "silent")
    async with (
        Switch(simulator) as switch,
        driver.from_setup(switch.setup_of(simulator)) as battery,
    ):
        await battery.set_power_setpoint(1000)
        await nameless.begin()
        await Address(switch, simulator, simulator, battery).pass_to(simulator)
        back_off(leap)

        assert await battery.get("battery_soc") == pytest.approx(50, abs=0.5)
        await battery.keep_alive()
        assert battery.held is not None
        with pytest.raises(RequestTimeoutError):
            await battery.release()

        await nameless.end()
        await battery.release()
        assert simulator.mode == "automatic"


@pytest.mark.parametrize("simulator", LASTING, indirect=True)
async def test_refusal_of_the_serial_number_that_passes_is_no_answer(
    address: Address, leap: Leap
) -> None:
    """Busy, failing, absent behind a gateway: reads and renewals go on."""
    battery, device = address.battery, address.device
    await battery.set_power_setpoint(1000)
    for code in (4, 5, 6, 10, 11):
        nameless = Nameless(device, "refused", code)
        await nameless.begin()
        await address.pass_to(device)
        back_off(leap)

        assert await battery.get("battery_soc") == pytest.approx(50, abs=0.5), code
        await battery.keep_alive()
        assert battery.held is not None
        with pytest.raises(DeviceRefusedError):
            await battery.release()

        await nameless.end()
    await battery.release()
    assert device.mode == "automatic"


# Behind a data logger


@pytest.mark.parametrize("simulator", ["deye_solarman"], indirect=True)
async def test_another_logger_is_noticed_by_any_request(
    simulator: Simulator, clock: ManualClock
) -> None:
    """Also where a new connection says nothing, since the logger hangs up each time."""
    async with (
        another(simulator, clock) as other,
        Switch(simulator) as switch,
    ):
        switch.hangs_up = True
        setup = switch.setup_of(simulator)
        async with DRIVERS[simulator.type].from_setup(setup) as battery:
            for _ in range(3):
                await battery.get("battery_soc")
            await switch.give_to(other)
            with pytest.raises(AnotherDeviceError) as caught:
                await battery.get("battery_soc")

            assert caught.value.present == f"data logger {other.setup['logger_serial']}"
            assert battery.identity_check.present == caught.value.present
            await switch.give_to(simulator)
            assert await battery.get("battery_soc") == pytest.approx(50, abs=0.5)
            assert battery.identity_check.present is None


@pytest.mark.parametrize("simulator", ["deye_solarman"], indirect=True)
async def test_another_inverter_behind_the_same_logger_is_another_device(
    simulator: Simulator, clock: ManualClock, leap: Leap
) -> None:
    async with (
        another(simulator, clock, same_logger=True) as other,
        Switch(simulator) as switch,
        DRIVERS[simulator.type].from_setup(switch.setup_of(simulator)) as battery,
    ):
        await Address(switch, simulator, other, battery).pass_to(other)
        back_off(leap)
        with pytest.raises(AnotherDeviceError, match="answers: 2305119999 instead of"):
            await battery.get("battery_soc")


@pytest.mark.parametrize("simulator", ["deye_solarman"], indirect=True)
async def test_another_logger_is_another_device_when_connecting(
    simulator: Simulator, clock: ManualClock
) -> None:
    """Where the inverter is known; else the logger's number is to be corrected."""
    async with another(simulator, clock) as other:
        setup = {**other.setup, "logger_serial": simulator.setup["logger_serial"]}
        battery = DRIVERS[simulator.type].from_setup(setup)
        with pytest.raises(WrongLoggerError):
            await battery.connect()

        battery.identity_check.expected = KINDS[simulator.type].serial
        with pytest.raises(AnotherDeviceError):
            await battery.connect()


# Where no connection lasts


async def test_first_write_to_a_sessy_is_compared_after_a_minute(
    sessy: SessySimulator, clock: ManualClock, leap: Leap
) -> None:
    """Its address has passed to another one without a moment out of reach."""
    async with (
        another(sessy, clock) as other,
        Switch(sessy) as switch,
        SessyInverter.from_setup(switch.setup_of(sessy)) as battery,
    ):
        await switch.give_to(other)
        leap(VALID + 1)
        with pytest.raises((AnotherDeviceError, CannotConnectError)):
            await battery.set_power_setpoint(1000)
        assert isinstance(other, SessySimulator)
        assert other.server.posts == []


@pytest.mark.parametrize("simulator", ["deye_solarman", "sessy"], indirect=True)
async def test_device_that_hangs_up_after_each_answer_is_not_asked_each_time(
    simulator: Simulator, clock: ManualClock, leap: Leap
) -> None:
    """Yet after it was out of reach, and before a first write after a minute."""
    async with (
        another(simulator, clock, same_logger=True) as other,
        Switch(simulator) as switch,
    ):
        switch.hangs_up = True
        setup = switch.setup_of(simulator)
        async with DRIVERS[simulator.type].from_setup(setup) as battery:
            await battery.get("battery_soc")
            await battery.get("battery_soc")
            before = served(simulator)
            await battery.get("battery_soc")
            once = served(simulator) - before
            for _ in range(5):
                await battery.get("battery_soc")
            assert served(simulator) - before == 6 * once

            address = Address(switch, simulator, other, battery)
            await address.pass_to(other)
            back_off(leap)
            with pytest.raises(AnotherDeviceError):
                await battery.get("battery_soc")
            assert served(other) == 1


async def test_device_without_a_serial_number_is_not_compared(
    clock: ManualClock, leap: Leap
) -> None:
    """Its address stands for it, and says nothing about another device there."""
    async with (
        SmaSimulator(house_of(SmaSimulator, clock), serial=0xFFFF_FFFF) as first,
        SmaSimulator(house_of(SmaSimulator, clock)) as second,
        Switch(first) as switch,
        SmaInverter.from_setup(switch.setup_of(first)) as battery,
    ):
        assert battery.identity.serial_number == battery.address
        await Address(switch, first, second, battery).pass_to(second)
        back_off(leap)
        assert await battery.get("battery_soc") == pytest.approx(50, abs=0.5)


# When connecting


@each_on_a_socket
async def test_device_with_another_serial_number_than_expected_is_not_asked_further(
    simulator: Simulator,
) -> None:
    battery = DRIVERS[simulator.type].from_setup(simulator.setup)
    battery.identity_check.expected = "another"

    with pytest.raises(AnotherDeviceError) as caught:
        await battery.connect()

    assert caught.value.present == KINDS[simulator.type].serial
    assert served(simulator) <= 1 + (simulator.type == "sun2000")
