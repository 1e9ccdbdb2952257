"""Restores a device: the command `release`, and what others share with it."""

import argparse
import asyncio
from collections.abc import Iterable, Mapping
from copy import deepcopy
import json
from typing import Any, Final

from homebattery import Battery, BatteryError
from homebattery.battery.controller import Snapshot
from homebattery.battery.settings import SelectSetting
from homebattery.errors import InvalidValueError, WrongDeviceError

from .printing import complain, say, warn
from .state import HeldDevice, StateError, StateFile, files

TRIES: Final = 3
PAUSE: Final = 3.0
"""Seconds between two of them."""


def warn_of_held_devices() -> None:
    """Say which devices are still held by a process that was killed."""
    for file in files():
        try:
            held = None if file.is_locked() else file.load()
        except StateError as err:
            complain(err)
            continue
        if held is not None:
            warn(
                f"Still held at a setpoint: {held}. "
                f"Release it with: {held.release_command}"
            )


async def restore(battery: Battery, held: HeldDevice) -> None:
    """Restore the device that is held, and see it confirmed.

    Raises StateError when what is stored makes no sense to the driver,
    WrongDeviceError when it is another device, and what the driver raises.
    """
    serial = battery.identity.serial_number
    if serial != held.serial_number:
        raise WrongDeviceError(
            f"{battery.address}: serial number {serial} instead of {held.serial_number}"
        )
    await _restore_snapshot(battery, held.snapshot)


async def _restore_snapshot(battery: Battery, snapshot: Snapshot) -> None:
    """Restore a snapshot from elsewhere. Raises StateError when it makes no sense."""
    battery.snapshot, unknown = battery.recover(deepcopy(snapshot))
    if unknown:
        battery.snapshot = None
        raise StateError(
            f"{battery.address}: the snapshot is damaged "
            f"(not known: {', '.join(sorted(unknown))}): {json.dumps(snapshot)}"
        )
    await battery.release()


async def restore_orphaned(battery: Battery, file: StateFile) -> bool:
    """Restore a device that an earlier process held; return whether there was one."""
    held = file.load()
    if held is None:
        return False
    await restore(battery, held)
    file.remove()
    return True


async def release_retrying(battery: Battery, held: HeldDevice) -> None:
    """Release, and try again where that may help."""
    for _ in range(TRIES - 1):
        try:
            return await battery.release()
        except BatteryError as err:
            complain(f"{err}; trying again")
        await asyncio.sleep(PAUSE)
    try:
        await battery.release()
    except BatteryError as err:
        raise BatteryError(
            f"the battery could not be released ({err}) and may stay at its last "
            "setpoint. Its guard tries on for some minutes; to try now: "
            f"{held.release_command}"
        ) from err


async def release(battery: Battery, options: argparse.Namespace) -> int:
    """Restore what is stored of the device, or the snapshot on the command line."""
    file = StateFile.of(battery)
    with file.locked():
        if options.snapshot is None and await restore_orphaned(battery, file):
            await say_released(battery)
            return 0
        present = await battery.take_snapshot()
        if options.snapshot is None:
            say(*_choices_in_words(battery, present))
            complain("nothing was released: --snapshot is needed")
            return 2
        _check(battery, options.snapshot, present)
        await _restore_snapshot(battery, options.snapshot)
        file.remove()
    await say_released(battery)
    return 0


async def say_released(battery: Battery) -> None:
    """Say that the release is confirmed, and what the device is set to now."""
    try:
        present = json.dumps(await battery.take_snapshot())
    except BatteryError:
        present = "not known just now"
    say(f"Released, and seen on the device, which is now set to: {present}")


def _choices_in_words(battery: Battery, present: Snapshot) -> Iterable[str]:
    """Yield what can be done without a snapshot."""
    yield (
        "No `set-power` on this computer has left this device at a setpoint. If another "
        "one has, give what it printed at its start as --snapshot."
    )
    yield f"The device is now set to {json.dumps(present)}."
    for key, setting in _choices(battery, present).items():
        yield f"{key} can be: {', '.join(setting.options)}"


def _choices(battery: Battery, snapshot: Snapshot) -> Mapping[str, SelectSetting]:
    """Return those parts of a snapshot whose options are known."""
    settings = {key: battery.settings.get(key) for key in snapshot}
    return {
        key: setting
        for key, setting in settings.items()
        if isinstance(setting, SelectSetting)
    }


def _check(battery: Battery, snapshot: Snapshot, present: Snapshot) -> None:
    """Raise when a snapshot is not of the form that this device's has."""

    def form(of: Snapshot) -> dict[str, type[Any]]:
        return {key: type(value) for key, value in of.items()}

    if form(snapshot) != form(present):
        raise InvalidValueError(
            f"--snapshot has another form than what is on the device now: "
            f"{json.dumps(present)}"
        )
    for key, setting in _choices(battery, snapshot).items():
        setting.check(key, snapshot[key])
