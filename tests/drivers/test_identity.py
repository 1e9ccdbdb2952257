"""The comparison of serial numbers: another device at the address is refused."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from custom_components.homebattery.drivers import DRIVERS, SessyInverter, SmaInverter
from custom_components.homebattery.drivers.battery.base import Battery
from custom_components.homebattery.drivers.battery.identity import VALID
from custom_components.homebattery.drivers.errors import (
    AnotherDeviceError,
    BatteryError,
    CannotConnectError,
)
from tests.drivers.conftest import Leap
from tests.home import KINDS, another, house_of
from tests.simulators import ManualClock, SessySimulator, Simulator, SmaSimulator
from tests.simulators.modbus import Refused
from tests.simulators.switch import Switch

pytestmark = pytest.mark.usefixtures("socket_enabled")

BUSY = 6
LASTING = [kind for kind in DRIVERS if kind != "sessy"]
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

SERIAL_AT = {
    "victron": 800,
    "sun2000": 30015,
    "deye_modbus": 3,
    "deye_solarman": 3,
    "sma": 30057,
}
"""The register of the serial number, which is read for the comparison alone."""


@pytest.fixture(params=["refused", "empty"])
async def silent(
    request: pytest.FixtureRequest,
    address: Address,
    leap: Leap,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[pytest.MonkeyPatch]:
    """Yield the patch by which a device that was out of reach hides its number."""
    device: Any = address.device
    with monkeypatch.context() as patch:
        if isinstance(device, SessySimulator):
            number = {"sessy_serial": "unknown"}
            patch.setattr(device.server, "battery_serial", lambda: number)
            if request.param == "refused":
                await device.misbehave("error", count=100, path="system/info")
        else:
            units = device.server.units
            read = units.read

            def read_other(unit: int, start: int, count: int) -> Sequence[int]:
                if start != SERIAL_AT[device.type] or count > 10:
                    answer: Sequence[int] = read(unit, start, count)
                    return answer
                if request.param == "refused":
                    raise Refused(BUSY)
                return [0] * count

            patch.setattr(units, "read", read_other)
        yield patch


async def answer_again(device: Simulator) -> None:
    """End the fault of `silent` that is no patch."""
    if isinstance(device, SessySimulator):
        await device.misbehave("error", count=0)


async def test_reads_and_renewals_go_on_while_the_serial_number_is_not_answered(
    address: Address, leap: Leap, silent: pytest.MonkeyPatch
) -> None:
    """Such a device is not another one."""
    battery, device = address.battery, address.device
    await battery.set_power_setpoint(1000)
    await address.pass_to(device)
    back_off(leap)

    assert await battery.get("battery_soc") == pytest.approx(50, abs=0.5)
    await battery.keep_alive()

    assert device.mode == "controlled"
    assert battery.identity_check.present is None


async def test_first_write_waits_while_the_serial_number_is_not_answered(
    address: Address, leap: Leap, silent: pytest.MonkeyPatch
) -> None:
    battery, device = address.battery, address.device
    before = device.settings_words()
    await address.pass_to(device)
    back_off(leap)

    with pytest.raises(BatteryError) as caught:
        await battery.set_power_setpoint(1000)
    with pytest.raises(BatteryError):
        await battery.set_value(*KINDS[device.type].number)

    assert not caught.value.written
    assert battery.snapshot is None
    assert device.settings_words() == before
    silent.undo()
    await answer_again(device)
    await battery.set_power_setpoint(1000)
    assert device.mode == "controlled"


async def test_release_is_tried_again_until_the_serial_number_is_answered(
    address: Address, leap: Leap, silent: pytest.MonkeyPatch
) -> None:
    battery, device = address.battery, address.device
    await battery.set_power_setpoint(1000)
    await address.pass_to(device)
    back_off(leap)

    with pytest.raises(BatteryError):
        await battery.release()

    assert battery.snapshot is not None
    silent.undo()
    await answer_again(device)
    await battery.release()
    assert device.mode == "automatic"


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
        another(simulator, clock) as other,
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


async def test_device_with_another_serial_number_than_expected_is_not_asked_further(
    simulator: Simulator,
) -> None:
    battery = DRIVERS[simulator.type].from_setup(simulator.setup)
    battery.identity_check.expected = "another"

    with pytest.raises(AnotherDeviceError) as caught:
        await battery.connect()

    assert caught.value.present == KINDS[simulator.type].serial
    assert served(simulator) <= 1 + (simulator.type == "sun2000")
