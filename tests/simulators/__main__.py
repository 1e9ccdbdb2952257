"""Run one simulated device: python -m tests.simulators TYPE [options].

Or the one of a diagnostics file: python -m tests.simulators replay FILE.
"""

import argparse
import asyncio
from collections.abc import Callable, Sequence
import json
from pathlib import Path
import signal
import sys
import time
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    TypeAliasType,
    get_args,
    get_origin,
    get_type_hints,
)

from . import SIMULATORS, Plant, Simulator
from .http_server import UNKNOWN_PATH, Answer, Json, JsonServer, Request
from .past import Past, Record
from .replay import Replayed, replay_file

REPLAY: Final = "replay"

PLANT_DEFAULTS: Final = {"ramp": 2000.0}
"""Arguments of `Plant` that differ from those in tests: power takes its time to
change."""

# Field of POST /plant → attribute of the house, and its type.
CHANGEABLE: Final[dict[str, tuple[str, Callable[[Any], Any]]]] = {
    "soc": ("soc", float),
    "load": ("fixed_load", lambda value: None if value is None else float(value)),
    "pv": ("fixed_pv", lambda value: None if value is None else float(value)),
    "hour": ("time_of_day", float),
    "speed": ("speed", float),
    "ramp": ("ramp", float),
    "grid_lost": ("grid_lost", bool),
    "max_charge": ("max_charge", float),
    "max_discharge": ("max_discharge", float),
}


class Control(JsonServer):
    """An HTTP server to inspect a simulator, and to change it while it runs."""

    def __init__(
        self, simulator: Simulator, port: int, past: Sequence[Record] = ()
    ) -> None:
        """Prepare to listen."""
        super().__init__(port=port)
        self.simulator = simulator
        self.past = past

    async def answer(self, request: Request) -> Answer:
        """Answer one request."""
        try:
            match request:
                case ("GET", "/state", _):
                    return Answer(self.simulator.state())
                case ("GET", "/past", _):
                    return Answer({"records": self.past})
                case ("POST", "/misbehave", dict(body)):
                    await self.simulator.misbehave(**body)
                case ("POST", "/plant", dict(body)):
                    self._change_plant(body)
                case _:
                    return UNKNOWN_PATH
        except (TypeError, ValueError, KeyError) as error:
            return Answer(f"{error}", 400)
        return Answer(self.simulator.state())

    def _change_plant(self, body: Json) -> None:
        plant = self.simulator.plant
        plant.run()
        for name, value in body.items():
            if name not in CHANGEABLE:
                raise ValueError(
                    f"The house has no {name!r}, only {', '.join(CHANGEABLE)}"
                )
            attribute, convert = CHANGEABLE[name]
            setattr(plant, attribute, convert(value))
        plant.run()


def options(function: Callable[..., Any]) -> dict[str, dict[str, Any]]:
    """Return the argparse options of a constructor's annotated keyword arguments."""
    known = {}
    for name, hint in get_type_hints(function, include_extras=True).items():
        if get_origin(hint) is Annotated:
            kind, text = get_args(hint)
            default = (function.__kwdefaults__ or {})[name]
            known[name] = {
                "help": f"{text} (%(default)s)",
                "default": default,
                **_kind(kind),
            }
    return known


def device_options(kind: type[Simulator]) -> dict[str, dict[str, Any]]:
    """Return the options of a device: those of its class and of its base classes."""
    known: dict[str, dict[str, Any]] = {}
    for each in reversed(kind.__mro__):
        if "__init__" in vars(each):
            known |= options(vars(each)["__init__"])
    return known


def _kind(kind: Any) -> dict[str, Any]:
    """Return the argparse arguments for a value of this type."""
    if isinstance(kind, TypeAliasType):
        kind = kind.__value__
    if get_origin(kind) is Literal:
        return {"choices": get_args(kind)}
    if kind is bool:
        return {"action": argparse.BooleanOptionalAction}
    return {"type": kind, "metavar": kind.__name__.upper()}


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    main = argparse.ArgumentParser(
        prog="python -m tests.simulators",
        description="Run one simulated device until SIGINT or SIGTERM. When it "
        "listens, one line of JSON has its address: type, host, port, setup (what a user "
        "would enter), state_url.",
        epilog="TYPE --help tells the options of a device and how it can misbehave.",
    )
    types = main.add_subparsers(metavar="TYPE", dest="type", required=True)
    for name, simulator in SIMULATORS.items():
        _add_type(types.add_parser, name, simulator)
    summary = "The device of a diagnostics file, as it was when that was downloaded."
    replay = types.add_parser(REPLAY, help=summary, description=summary)
    replay.add_argument(
        "file", type=Path, metavar="FILE", help="as Home Assistant made it"
    )
    _add_address(replay)
    return main


def _add_address(one: argparse.ArgumentParser) -> None:
    one.add_argument(
        "--host", default="127.0.0.1", help="where to listen (%(default)s)"
    )
    one.add_argument(
        "--port", type=int, default=0, metavar="INT", help="0: any free one"
    )


def _add_type(
    add_parser: Callable[..., argparse.ArgumentParser],
    name: str,
    simulator: type[Simulator],
) -> None:
    summary = (simulator.__doc__ or "").partition("\n")[0]
    faults = "\n".join(
        f"  {call}\n      {text}" for call, text in simulator.faults().items()
    )
    changeable = ", ".join(CHANGEABLE)
    one = add_parser(
        name,
        help=summary,
        description=summary,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"""control port:
  GET  /state       how things really are
  GET  /past        how they were every five minutes since the first day of --weather
  POST /plant       change the house: {changeable}; null lets load and pv follow the day
                    curl -d '{{"soc": 20, "load": 1500}}' http://127.0.0.1:PORT/plant
  POST /misbehave   curl -d '{{"name": "delay", "seconds": 3}}' http://127.0.0.1:PORT/misbehave

ways to misbehave:
{faults}
""",
    )
    _add_address(one)
    one.add_argument(
        "--control-port", type=int, default=0, metavar="INT", help="0: any free one"
    )
    house = one.add_argument_group("the house")
    defaults = {
        **PLANT_DEFAULTS,
        "time_of_day": _hour_now(),
        **simulator.plant_defaults,
    }
    for option, how in options(Plant.__init__).items():
        how["default"] = defaults.get(option, how["default"])
        house.add_argument(_flag(option), **how)
    house.add_argument(
        "--weather",
        type=_shares,
        metavar="SHARE,…",
        help="shares of a clear sky on the last days and today: it lives through them "
        "before it starts, from a midnight with the SOC given; then today's stays",
    )
    device = one.add_argument_group("the device")
    for option, how in device_options(simulator).items():
        device.add_argument(_flag(option), **how)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _hour_now() -> float:
    now = time.localtime()
    return round(now.tm_hour + now.tm_min / 60, 2)


def _shares(text: str) -> tuple[float, ...]:
    shares = tuple(float(share) for share in text.split(","))
    if not all(0 <= share <= 1 for share in shares):
        raise argparse.ArgumentTypeError("a share is between 0 and 1")
    return shares


def build(arguments: argparse.Namespace) -> tuple[Simulator, Sequence[Record]]:
    """Return the device that the command line asks for, and the records of its past."""
    given = vars(arguments)
    kind: Any = SIMULATORS[arguments.type]
    house = {name: given[name] for name in options(Plant.__init__)}
    device = {name: given[name] for name in device_options(kind)}
    past = Past(arguments.weather, arguments.time_of_day) if arguments.weather else None
    begin = past.begin() if past else {"epoch": time.time() - time.monotonic()}
    simulator: Simulator = kind(
        kind.house(**house | begin),
        host=arguments.host,
        port=arguments.port,
        **device,
    )
    return simulator, past.live_through(simulator) if past else ()


def _where(kind: str, device: Simulator | Replayed) -> Json:
    """Return the address and setup of a listening device."""
    return {
        "type": kind,
        "host": device.host,
        "port": device.port,
        "setup": device.setup,
    }


async def run(arguments: argparse.Namespace) -> None:
    """Run the device until a signal ends it."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    if arguments.type == REPLAY:
        device: Replayed = replay_file(
            arguments.file, host=arguments.host, port=arguments.port
        )
        async with device:
            print(json.dumps(_where(device.vector["battery_type"], device)), flush=True)
            await ended.wait()
        return
    simulator, past = build(arguments)
    async with simulator, Control(simulator, arguments.control_port, past) as control:
        where = {
            **_where(simulator.type, simulator),
            "state_url": f"http://{control.host}:{control.port}/state",
        }
        print(json.dumps(where), flush=True)
        await ended.wait()


def main() -> int:
    """Run the command line."""
    arguments = parser().parse_args()
    try:
        asyncio.run(run(arguments))
    except (OSError, ValueError) as error:
        print(f"Cannot run: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
