"""The check: try every battery through Home Assistant, and compare with its device."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
import math
from pathlib import Path
import re
import time
from typing import Any, Final

import aiohttp

from . import DOMAIN, ROOT, DemoError, dashboard, home_assistant, story
from .api import Api
from .devices import read_state
from .house import Battery, House
from .story_checks import (
    add_spare,
    try_automations,
    try_dashboard,
    try_held,
    try_history,
    try_page,
    try_removal,
)
from .waiting import describe, wait_for

# How long the whole way through Home Assistant may take: a poll or two, and the device's ramp.
_SOC_SECONDS: Final = 60
_FOLLOW_SECONDS: Final = 60
_RELEASE_SECONDS: Final = 60

# A battery takes a bit less than its inverter is asked for: that much is lost, or noise.
_TOLERANCE_SHARE: Final = 0.15
_TOLERANCE_W: Final = 60

# The powers that may be asked for, as shares of the most that the battery allows, and a
# limit to them. The one taken must differ from the present power.
_ASKED_SHARES: Final = (0.4, 0.2)
_ASKED_AT_MOST_W: Final = 1500
_NEARLY_FULL: Final = 85
"""The SOC, %, from which a battery is discharged instead of charged."""

# The state of a device that changes without a controller, or only counts, and the parts
# of a forced command that have no effect once it has ended.
_MOVING: Final = frozenset(
    {
        *("setpoints", "state", "system_state", "flash_writes", "clock", "trail"),
        *("setpoint", "output", "remaining", "activity"),
        *("forcible_minutes", "forcible_charge", "forcible_discharge"),
        *("47083", "47247", "47249"),
    }
)

_NEEDED: Final = (*dashboard.NEEDED, "power_setpoint", "control_mode")

_RECORD_START: Final = re.compile(
    r"^\d{4}-\d\d-\d\d [\d:.]+ (?P<level>[A-Z]+) \(.*?\) \[(?P<logger>[^\]]*)\]"
)


@dataclass(kw_only=True)
class Seen:
    """The results of one battery, as they are printed."""

    title: str
    soc: str = "-"
    asked: str = "-"
    power: str = "-"
    followed: str = "-"
    released: str = "-"
    trouble: list[str] = field(default_factory=list)

    @property
    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        return (
            self.title,
            self.soc,
            self.asked,
            self.power,
            self.followed,
            self.released,
            "failed" if self.trouble else "good",
        )

    async def note_trouble(self, trial: Awaitable[None]) -> None:
        """Try something, and note what goes wrong."""
        try:
            await trial
        except (DemoError, aiohttp.ClientError, TimeoutError) as err:
            self.trouble.append(describe(err))


_HEADINGS: Final = (
    "battery",
    "SOC (device)",
    "asked",
    "power (device)",
    "followed in",
    "released in",
    "result",
)


async def check(house: House) -> bool:
    """Start the house, try every battery, stop, and return True if all was well."""
    start = time.monotonic()
    async with house:
        print(f"The devices are {_whereabouts(house)}.")
        await house.add_batteries()
        installed = await story.install(house)
        await story.install_automations(house)
        # Before the trials, which hold and release these, too.
        trouble = await try_held(house)
        seen = [await _try(house, battery) for battery in house.batteries]
        added, trouble_of_adding = await add_spare(house)
        seen += [await _try(house, battery) for battery in added]
        trouble += [
            *trouble_of_adding,
            *await try_removal(house, added),
            *await try_automations(house),
            *await try_dashboard(house, installed.sources),
            *await try_history(house, installed.history),
            *await try_page(house),
        ]
    trouble += [f"{row.title}: {text}" for row in seen for text in row.trouble]
    if not house.batteries:
        trouble.append("there is no battery")
    if house.exit_status != 0:
        trouble.append(f"Home Assistant ended with status {house.exit_status}")
    trouble += log_trouble(home_assistant.log_file(house.config))
    print()
    _print_table([_HEADINGS, *(row.cells for row in seen)])
    print()
    for text in trouble:
        print(f"Trouble: {text}")
    seconds = time.monotonic() - start
    print(f"{'Failed' if trouble else 'All good'}, after {seconds:.0f} s.")
    return not trouble


def _whereabouts(house: House) -> str:
    """Return where the devices listen."""
    if house.spare and house.spare.can_be_detected:
        hosts = [device.place.host for device in (*house.devices, house.spare)]
        return f"at {hosts[0]} to {hosts[-1]}, at the ports of real ones"
    return "at random ports: those of real ones are in use, or need root"


async def _try(house: House, battery: Battery) -> Seen:
    """Try one battery, and note what goes wrong."""
    print(f"Trying {battery.title} …")
    seen = Seen(title=battery.title)
    await seen.note_trouble(_Trial(house, battery, seen).run())
    return seen


class _Trial:
    """One battery: read, charge, release."""

    def __init__(self, house: House, battery: Battery, seen: Seen) -> None:
        self._house = house
        self._battery = battery
        self._seen = seen
        self._entities: dict[str, str] = {}

    @property
    def _api(self) -> Api:
        return self._house.api

    async def run(self) -> None:
        self._entities = await self._house.find_entities(self._battery, _NEEDED)
        before = await self._see_soc()
        if self._battery.device.type in self._house.behind_emma:
            await self._seen.note_trouble(self._see_house())
        # A battery that did not follow must be released, too.
        await self._seen.note_trouble(self._hold())
        await self._seen.note_trouble(self._release(before))

    async def _see_soc(self) -> dict[str, Any]:
        """Compare the SOC in Home Assistant with the device's; return its state."""
        soc = await self._number(
            "battery_soc", lambda value: 0 <= value <= 100, "a SOC", _SOC_SECONDS
        )
        state = await self._device()
        self._seen.soc = f"{soc:.0f} % ({state['soc']:.0f} %)"
        if abs(soc - state["soc"]) > 1.5:
            self._trouble(f"Home Assistant shows SOC {soc}, the device {state['soc']}")
        if state["mode"] != "automatic":
            self._trouble(f"the device is not in automatic at the start: {state}")
        return state

    async def _see_house(self) -> None:
        """Compare the house's power at the grid, by its EMMA, with the simulator's."""
        entities = await self._house.find_entities(self._battery, ("grid_power",))
        self._entities |= entities
        actual = (await self._device())["grid_power"]
        await self._number(
            "grid_power",
            lambda value: abs(value - actual) <= _TOLERANCE_W,
            f"{actual:.0f} W at the grid",
            _FOLLOW_SECONDS,
        )

    async def _hold(self) -> None:
        """Ask for a power; wait for it in Home Assistant and on the device."""
        number = self._entities["power_setpoint"]
        limits = (await self._api.state(number))["attributes"]
        device = await self._device()
        # A battery that is nearly full takes less than it is asked for.
        most = limits["min" if device["soc"] > _NEARLY_FULL else "max"]
        asked = _choose_power(most, device["battery_power"])
        self._seen.asked = f"{asked:.0f} W"
        start = time.monotonic()
        await self._api.call_service("number.set_value", number, value=asked)

        def follows(power: float) -> bool:
            off = abs(power - asked)
            return off <= max(_TOLERANCE_W, _TOLERANCE_SHARE * abs(asked))

        def obeys(state: dict[str, Any]) -> bool:
            mode: str = state["mode"]
            return mode == "controlled" and follows(state["battery_power"])

        state = await wait_for(
            f"the power of {self._battery.title} itself to be {asked:.0f} W",
            self._device,
            obeys,
            seconds=_FOLLOW_SECONDS,
        )
        self._seen.power = f"- ({state['battery_power']:.0f} W)"
        power = await self._number(
            "battery_power", follows, f"about {asked:.0f} W", _FOLLOW_SECONDS
        )
        self._seen.power = f"{power:.0f} W ({state['battery_power']:.0f} W)"
        self._seen.followed = f"{time.monotonic() - start:.1f} s"

    async def _release(self, before: dict[str, Any]) -> None:
        """Choose automatic, and wait until the device is as it was before."""
        start = time.monotonic()
        select = self._entities["control_mode"]
        await self._api.call_service("select.select_option", select, option="automatic")

        async def differences() -> list[str]:
            return _differences(before, await self._device())

        await wait_for(
            f"{self._battery.title} itself to be as it was before",
            differences,
            lambda seen: not seen,
            seconds=_RELEASE_SECONDS,
        )

        async def observe() -> str:
            return str((await self._api.state(select))["state"])

        await wait_for(
            f"{select} to show automatic",
            observe,
            lambda seen: seen == "automatic",
            seconds=_RELEASE_SECONDS,
        )
        self._seen.released = f"{time.monotonic() - start:.1f} s"

    async def _device(self) -> dict[str, Any]:
        return await read_state(self._house.session, self._battery.device)

    async def _number(
        self, key: str, good: Callable[[float], bool], expected: str, seconds: float
    ) -> float:
        """Wait until Home Assistant shows a number that is good."""
        entity_id = self._entities[key]

        async def observe() -> str:
            return str((await self._api.state(entity_id))["state"])

        def enough(text: str) -> bool:
            try:
                return good(float(text))
            except ValueError:
                # "unknown" or "unavailable", so far.
                return False

        what = f"{entity_id} of {self._battery.title} to show {expected}"
        text = await wait_for(what, observe, enough, seconds=seconds)
        return float(text)

    def _trouble(self, text: str) -> None:
        self._seen.trouble.append(text)


def _choose_power(most: float, now: float) -> float:
    """Return the power to ask for, round, of the sign of `most`, and other than `now`."""
    least = min(abs(most), _ASKED_AT_MOST_W / _ASKED_SHARES[0])
    choices = [round(math.copysign(share * least, most), -2) for share in _ASKED_SHARES]
    return max(choices, key=lambda power: abs(power - now))


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return the differences in the control and the settings of the device."""
    old, new = _controls(before), _controls(now)
    return [
        f"{name}: {old.get(name)} → {new.get(name)}"
        for name in old | new
        if old.get(name) != new.get(name)
    ]


def _controls(state: dict[str, Any]) -> dict[str, object]:
    """Return the mode and the device's own values, by name."""
    values: dict[str, object] = {"mode": state["mode"]}
    for name, value in state["device"].items():
        values |= value if isinstance(value, dict) else {name: value}
    return {name: value for name, value in values.items() if name not in _MOVING}


def log_trouble(log: Path) -> list[str]:
    """Return the warnings and errors of this integration in Home Assistant's log."""
    records: list[str] = []
    for line in log.read_text(errors="replace").splitlines():
        if _RECORD_START.match(line) or not records:
            records.append(line)
        else:
            records[-1] += f"\n{line}"
    return [record for record in records if _is_trouble(record)]


def _is_trouble(record: str) -> bool:
    start = _RECORD_START.match(record)
    if not start or start["level"] not in {"WARNING", "ERROR", "CRITICAL"}:
        return False
    # Home Assistant says of every custom integration that it is one.
    if start["logger"] == "homeassistant.loader" and "not been tested" in record:
        return False
    # The checkout's own folder may be named like the integration.
    return DOMAIN in record.replace(str(ROOT), "").replace(
        f"custom_components/{DOMAIN}", DOMAIN
    )


def _print_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for number, row in enumerate(rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
        if number == 0:
            print("  ".join("-" * width for width in widths))
