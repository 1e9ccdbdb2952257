"""The figures of one driver."""

from collections.abc import Collection
from contextlib import AbstractContextManager
from functools import partial
from unittest.mock import patch

from custom_components.homebattery.drivers import DRIVERS
from custom_components.homebattery.drivers.modbus.device import ModbusDevice
from custom_components.homebattery.drivers.modbus.planning import Block
from custom_components.homebattery.drivers.modbus.register import Register

from .cost import costs_of
from .home import costs_of_entry
from .libraries import MODBUS, OTHERS, Ask, Call, Setup, watched

type Figures = dict[str, float]  # by the column's name


async def measure(
    battery_type: str, setup: Setup, other: Setup, rounds: int
) -> Figures:
    """Return the figures of a driver; costs are medians of so many polls.

    The library alone reads another one of the device, since some serve a single client.
    """
    library = OTHERS.get(battery_type, MODBUS)
    set_up, update, live_keys = await costs_of_entry(battery_type, setup, rounds)
    battery = DRIVERS[battery_type].from_setup(setup)
    read_live = partial(battery.read, live_keys)
    with watched(library) as setup_calls:
        async with battery:
            await battery.read()
    async with battery, library.plain(other) as ask:
        await costs_of(3, battery.read)  # until it is known what is not there
        with watched(library) as calls:
            await battery.read()
        with watched(library) as live_calls:
            await read_live()
        with watched(library) as naive_calls, _without_planning():
            await read_live()
        works = (read_live, battery.read, partial(_ask_all, ask, live_calls))
        live, everything, plain = await costs_of(rounds, *works)
        with _without_planning():
            (naive,) = await costs_of(-(-rounds // 3), read_live)
    plain_cpu = plain.cpu / len(live_calls)
    costs = {"live": live, "naive": naive, "all": everything}
    costs |= {"update": update, "set-up": set_up}
    return {
        "live keys": len(live_keys),
        "all keys": len(battery.measurements),
        "live requests": len(live_calls),
        "naive requests": len(naive_calls),
        "all requests": len(calls),
        "set-up requests": len(setup_calls),
        "library frames": max(call.frames for call in live_calls),
        "socket frames": max(call.frames_to_socket for call in live_calls),
        "set-up s": set_up.wall / 1000,
        "plain ms": plain_cpu,
        **{f"{name} ms": cost.cpu for name, cost in costs.items()},
        **{f"{name} ×": cost.cpu / plain_cpu for name, cost in costs.items()},
    }


def _without_planning() -> AbstractContextManager[object]:
    """Let Modbus drivers make a request for each register."""

    def plan(
        _: ModbusDevice, registers: Collection[Register], *, widely: bool = False
    ) -> list[Block]:
        return [Block((register,)) for register in registers]

    return patch.object(ModbusDevice, "_plan", plan)


async def _ask_all(ask: Ask, calls: Collection[Call]) -> None:
    """Make the requests of a poll once more, without a driver."""
    for call in calls:
        await ask(*call.args, **call.kwargs)
