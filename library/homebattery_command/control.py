"""Holds a battery at a power: the command `set-power`."""

import argparse
import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import replace
import json
import signal
import time
from typing import Final

from homebattery import Battery, BatteryError, Grant
from homebattery.battery.controller import Snapshot
from homebattery.errors import (
    CannotConnectError,
    DeviceBusyError,
    InvalidValueError,
    NotSupportedError,
    RequestTimeoutError,
)

from .guard import Guard
from .parser import PASSWORD, fields_of
from .printing import complain, describe, in_words, power_in_words, say
from .restoring import release_retrying, restore_orphaned, say_released
from .state import HeldDevice, StateFile

SHOW_INTERVAL: Final = 5.0
"""Seconds between two lines on a held battery."""

_MAY_PASS: Final = (CannotConnectError, RequestTimeoutError, DeviceBusyError)
"""Errors worth another try: the device itself ends the setpoint if they last."""


async def set_power(battery: Battery, options: argparse.Namespace) -> int:
    """Hold a setpoint until the time is up or a signal says stop, then release."""
    _check_limits(battery, options.watts)
    file = StateFile.of(battery)
    with file.locked(), _stopped_by_signals() as stop:
        if await restore_orphaned(battery, file):
            say(
                "An earlier set-power was killed; the device is restored from it first."
            )
        control = Control(battery, file, await _describe_held(battery, options))
        say(
            describe(battery),
            f"On the device before: {json.dumps(control.held.snapshot)}",
            "Should this computer fail, release it with: "
            f"{control.held.release_command}",
        )
        password = getattr(options, PASSWORD, None)
        await control.begin({} if password is None else {PASSWORD: password})
        try:
            await control.hold(options, stop)
        finally:
            # Nothing is printed before: the reader of the output may be gone.
            was_held = battery.snapshot is not None
            await control.end()
            if was_held:
                await say_released(battery)
    return 0


def _check_limits(battery: Battery, watts: int) -> None:
    """Raise when the power is beyond what device and user allow at most."""
    limits = battery.setpoint_limits
    if limits is None:
        raise NotSupportedError(f"{battery.address}: takes no setpoint")
    if not limits.minimum <= watts <= limits.maximum:
        raise InvalidValueError(
            f"{watts} W is too much: the battery may charge with {limits.maximum} W "
            f"and discharge with {-limits.minimum} W"
        )


async def _describe_held(battery: Battery, options: argparse.Namespace) -> HeldDevice:
    """Return what restores the battery as it is now, in this process or another."""
    setup = {
        item.name: battery.detected_config.get(item.name, getattr(options, item.name))
        for item in fields_of(type(battery))
        if item.name != PASSWORD
    }
    return HeldDevice(
        battery_type=battery.battery_type,
        serial_number=battery.identity.serial_number,
        setup={name: value for name, value in setup.items() if value is not None},
        snapshot=await battery.take_snapshot(),
    )


class Control:
    """One battery that is held, with its state on disk and its guard."""

    def __init__(self, battery: Battery, file: StateFile, held: HeldDevice) -> None:
        """Describe it; nothing is written, neither to disk nor to the device."""
        self._battery = battery
        self._file = file
        self.held = held
        self._guard: Guard | None = None

    async def begin(self, secrets: dict[str, str]) -> None:
        """Keep on disk what restores the device, and have a guard watch over it."""
        self._file.save(self.held)
        try:
            self._guard = await asyncio.to_thread(Guard, self._file, secrets)
        except BatteryError:
            self._file.remove()
            raise

    async def hold(self, options: argparse.Namespace, stop: asyncio.Event) -> None:
        """Set the power and renew it, printing what the battery makes of it."""
        now = asyncio.get_running_loop().time
        end = float("inf") if options.seconds is None else now() + options.seconds
        interval = min(
            self._battery.keep_alive_interval or SHOW_INTERVAL, SHOW_INTERVAL
        )
        renewed = now()
        if stop.is_set():
            return
        grant = await self._set(options.watts)
        while not stop.is_set():
            await _show(self._battery, grant)
            await _wait(stop, min(renewed + interval, end) - now())
            if now() >= end:
                return
            if not stop.is_set():
                renewed = now()
                grant = await self._renew(grant)

    async def _set(self, watts: int) -> Grant:
        """Set the power; return what is granted."""
        # What a release restores is what is on disk, and not read a second time.
        self._battery.snapshot = deepcopy(self.held.snapshot)
        self._battery.keep_snapshot = self._keep
        try:
            return await self._battery.set_power_setpoint(watts)
        except BatteryError as err:
            if err.restored or not err.written:
                self._battery.snapshot = None
            raise
        finally:
            if self._battery.snapshot is not None:
                await self._keep(self._battery.snapshot)

    async def _renew(self, grant: Grant) -> Grant:
        """Renew the setpoint; return what is granted now."""
        try:
            renewed = await self._battery.keep_alive()
        except _MAY_PASS as err:
            complain(err)
            return grant
        finally:
            if self._battery.snapshot is not None:
                await self._keep(self._battery.snapshot)
        return grant if renewed is None else renewed

    async def _keep(self, snapshot: Snapshot) -> None:
        """Keep on disk what a release restores, where its user has changed that.

        Raises StateError.
        """
        if snapshot != self.held.snapshot:
            held = replace(self.held, snapshot=deepcopy(snapshot))
            self._file.save(held)
            self.held = held

    async def end(self) -> None:
        """Release; when that is confirmed, neither file nor guard are needed."""
        await release_retrying(self._battery, self.held)
        self._file.remove()
        if self._guard is not None:
            await asyncio.to_thread(self._guard.dismiss)


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    """Wait so long, s, or until a signal says stop."""
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), max(0.0, seconds))


async def _show(battery: Battery, grant: Grant) -> None:
    """Print what is granted and what the battery does."""
    try:
        readings = await battery.read(["battery_power", "battery_soc"])
    except _MAY_PASS as err:
        complain(err)
        return
    soc = in_words(readings.get("battery_soc"))
    say(
        f"{time.strftime('%H:%M:%S')}  granted: {power_in_words(grant.power)}   "
        f"measured: {power_in_words(readings.get('battery_power'))}   SOC: {soc} %"
    )


@contextmanager
def _stopped_by_signals() -> Iterator[asyncio.Event]:
    """Let Ctrl-C, TERM and a closed terminal say stop instead of ending the program."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for each in signals:
        loop.add_signal_handler(each, stop.set)
    try:
        yield stop
    finally:
        for each in signals:
            loop.remove_signal_handler(each)
