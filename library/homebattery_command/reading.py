"""Print the battery types, the batteries at an address, and their measurements."""

import argparse
import asyncio
import time

from homebattery import DRIVERS, Battery, BatteryError
from homebattery.detection import detect, detect_at
from homebattery.measurements import MEASUREMENTS

from .parser import command_line, explanation_of, fields_of, metavar_of, option_of
from .printing import complain, describe, say, table


def print_types() -> int:
    """Print each type, and what it takes to connect one."""
    for battery_type, driver in DRIVERS.items():
        say(f"{battery_type:<16}{driver.manufacturer}")
        for item in fields_of(driver):
            if item.name == "host":
                say("    HOST")
            else:
                option = f"{option_of(item)} {metavar_of(item)}".rstrip()
                say(f"    {option:<24}{explanation_of(item)}")
    return 0


async def print_detected(options: argparse.Namespace) -> int:
    """Print each battery at an address, and the command that reads it."""
    if options.port is None:
        devices = await detect(options.host)
    else:
        devices = await detect_at(options.host, options.port, DRIVERS.values())
    if not devices:
        return complain(f"{options.host}: no battery of a known type answers there")
    for device in devices:
        serial = device.serial_number or "unknown without a password"
        likely = "" if device.certain else ", perhaps"
        say(
            f"{device.battery_type}{likely}: {device.model}, serial number {serial}",
            f"    {command_line('read', device.battery_type, device.setup)}",
        )
    return 0


async def read(battery: Battery, options: argparse.Namespace) -> int:
    """Print a table of readings, once or again and again."""
    say(describe(battery))
    say(*await _table(battery, options))
    while options.watch is not None:
        await asyncio.sleep(options.watch)
        try:
            lines = await _table(battery, options)
        except BatteryError as err:
            complain(err)
        else:
            say("", time.strftime("%H:%M:%S"), *lines)
    return 0


async def _table(battery: Battery, options: argparse.Namespace) -> list[str]:
    """Read and return a line for each key: value and unit, or why there is none."""
    keys = [
        key for key in battery.measurements if options.all or MEASUREMENTS[key].enabled
    ]
    return list(table(keys, await battery.read(keys)))
