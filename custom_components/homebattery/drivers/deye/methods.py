"""The two ways to hold a Deye inverter at a battery power: its settings, remote mode.

Each knows what it found before, holds, renews if need be, and puts back. What that
depends on, and when not to hold at all, is the driver's business.
"""

from abc import ABC, abstractmethod
import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
import logging
from typing import ClassVar, Final, NamedTuple, override

from ..battery.controller import LimitReason
from ..errors import (
    DeviceRefusedError,
    NotConfirmedError,
    NotSupportedError,
    RequestTimeoutError,
)
from ..flash import FlashWear
from ..modbus.unit import ModbusUnit
from .plans import (
    BY_SOC,
    BY_VOLTAGE,
    CHEMISTRY,
    CONTROL_MODE,
    CURRENTS,
    LITHIUM,
    REMOTE,
    REMOTE_MODE,
    REMOTE_POWER,
    SETTINGS,
    SNAPSHOT,
    Conditions,
    Decision,
    Image,
    Plan,
    automatic,
    charging_sleeps,
    decide,
    hold,
    hold_by_soc,
    knows_remote_mode,
    remote,
    remote_power,
    restrict,
    stop_grid_charge,
)
from .writer import PlanWriter

_LOGGER = logging.getLogger(__name__)

REMOTE_CHECK_AFTER: Final = 30.0
"""Seconds in which the battery must have moved the way that remote mode says."""
CLEAR_MOVE: Final = 300
"""W that a remote setpoint must differ from before for its direction to be seen."""


class Wanted(NamedTuple):
    """A setpoint: power, W, + = charging, and the whole amperes it comes from, if any."""

    power: float
    amps: int | None = None


class Method(ABC):
    """A way to hold a battery."""

    key: ClassVar[str]
    """What it found is kept under this name."""
    changes: ClassVar[Sequence[int]]
    """The registers that it changes."""

    def __init__(self) -> None:
        """Begin with nothing held."""
        self.works = True
        """False where the inverter cannot be held this way."""
        self.target: Image = {}
        """The registers as they were last left; empty while nothing is held."""
        self.begun = False
        """Whether the last `hold` came as far as to write."""
        self.reason: LimitReason | None = None
        """Why less was granted last than was wanted."""

    async def look(self) -> None:
        """Look whether the device is as it was left."""

    @property
    def is_ours(self) -> bool:
        """False when the last look has shown that somebody else has changed it."""
        return True

    @abstractmethod
    async def is_held(self, found: Image) -> bool:
        """Return False when the device is as it was found."""

    @abstractmethod
    async def take_snapshot(self) -> Image:
        """Return what will be put back; raises NotSupportedError if it cannot work."""

    @abstractmethod
    async def hold(self, found: Image, wanted: Wanted, now: Conditions | None) -> int:
        """Hold the battery; return the power granted, W.

        Under conditions that are not known it is held at 0 W. Raises
        NotSupportedError before anything is written.
        """

    async def renew(self, wanted: Wanted, now: Conditions | None) -> int | None:
        """Do what keeps a setpoint alive; None when nothing has to be done."""
        return None

    async def restrict(self, found: Image) -> None:
        """Narrow what can be narrowed, after a write has failed."""

    @abstractmethod
    async def put_back(self, found: Image) -> None:
        """Write what was found, and see it there; raises NotConfirmedError."""


class BySettings(Method):
    """Holds by the time-of-use programme, currents, grid charge and working mode."""

    key = "settings"
    changes = SNAPSHOT

    def __init__(
        self,
        name: str,
        unit: ModbusUnit,
        settle: float,
        wear: FlashWear,
        read_soc: Callable[[], Awaitable[float | None]],
    ) -> None:
        """Describe the inverter; nothing is read.

        `read_soc` returns the SOC, %, or None where it is not known.
        """
        super().__init__()
        self._name = name
        self._writer = PlanWriter(name, unit, SETTINGS, settle, wear)
        self._read_soc = read_soc
        self._zero_amps_refused = False
        self._seen: Image = {}

    @override
    async def look(self) -> None:
        target = self.target
        seen = await self._writer.read()
        # What was read while something else was written says nothing.
        if self.target is target:
            self._seen = seen

    @property
    @override
    def is_ours(self) -> bool:
        return not self._seen or self.target.items() <= self._seen.items()

    @override
    async def is_held(self, found: Image) -> bool:
        return not found.items() <= (await self._writer.read()).items()

    @override
    async def take_snapshot(self) -> Image:
        """Return the owner's settings."""
        settings = await self._writer.read()
        self._refuse_unless_possible(settings, 0)
        return {address: settings[address] for address in SNAPSHOT}

    def _refuse_unless_possible(self, settings: Image, power: float) -> None:
        """Raise NotSupportedError when the inverter would not do what settings say."""
        if settings[CHEMISTRY] != LITHIUM:
            raise NotSupportedError(
                f"{self._name}: only lithium batteries can be controlled, and the "
                f"inverter is set to another kind (register {CHEMISTRY})"
            )
        by = settings[CONTROL_MODE]
        if by not in (BY_SOC, BY_VOLTAGE) or (by == BY_VOLTAGE and power):
            raise NotSupportedError(
                f"{self._name}: the inverter must control its battery by capacity (%) "
                f"to be charged or discharged at will (register {CONTROL_MODE} is {by})"
            )

    @override
    async def hold(self, found: Image, wanted: Wanted, now: Conditions | None) -> int:
        """Write what differs from the picture of the setpoint."""
        self.begun = False
        known = await self._writer.read()
        self._refuse_unless_possible(known, wanted.power)
        decision = Decision(reason=LimitReason.UNKNOWN_STATE)
        if now is not None:
            decision = decide(wanted.power, found, known, now, amps=wanted.amps)
        if decision.plan is None:
            await self._hold_still(found, known, None if now is None else now.soc)
        else:
            await self._apply(decision.plan, known)
        self.reason = decision.reason
        return decision.granted

    async def _hold_still(self, found: Image, known: Image, soc: float | None) -> None:
        """Hold at 0 W, the other way where a current of 0 A is not taken."""
        if not self._zero_amps_refused:
            try:
                await self._apply(hold(found), known)
            except (DeviceRefusedError, NotConfirmedError) as err:
                known = await self._writer.read()
                # The other way goes by the slots' SOC, so it must count.
                if known[CONTROL_MODE] != BY_SOC or not any(map(known.get, CURRENTS)):
                    raise
                _LOGGER.info("%s: takes no 0 A: %s", self._name, err)
                self._zero_amps_refused = True
            else:
                return
        sleeps = charging_sleeps(found, known, soc)
        await self._apply(hold_by_soc(found, sleeps=sleeps), known)

    async def _apply(self, plan: Plan, known: Image) -> None:
        self._writer.check_wear(plan, known)
        self.begun, self.target, self._seen = True, {}, {}
        await self._writer.apply(plan, known)
        self.target = plan.target

    @override
    async def restrict(self, found: Image) -> None:
        """Set both currents to 0 A and grid charge off, as far as that is taken."""
        known = await self._writer.read()
        for address, words in restrict(found).writes(known):
            with suppress(DeviceRefusedError):
                await self._writer.write(address, words)

    @override
    async def put_back(self, found: Image) -> None:
        """Write the owner's settings, word by word as they were."""
        self.target, self._seen = {}, {}
        known = await self._writer.read()
        sleeps = await self._charging_sleeps(found, known)
        if sleeps:
            first = stop_grid_charge(found)
            await self._writer.apply(first, known)
            known.update(first.target)
        await self._writer.apply(automatic(found, sleeps=sleeps), known)

    async def _charging_sleeps(self, found: Image, known: Image) -> bool:
        """Say it as `charging_sleeps` does; the SOC is read only where it matters."""
        return charging_sleeps(found, known, None) and charging_sleeps(
            found, known, await self._read_soc()
        )


class ByRemoteMode(Method):
    """Holds by remote mode: volatile, with a watchdog, and a sign to be checked."""

    key = "remote"
    changes = REMOTE

    def __init__(
        self,
        name: str,
        unit: ModbusUnit,
        settle: float,
        rated_power: float,
    ) -> None:
        """Describe the inverter (`rated_power` in W); nothing is read."""
        super().__init__()
        self._name = name
        self._writer = PlanWriter(name, unit, REMOTE, settle)
        self._rated_power = rated_power
        self._granted = 0
        self._before = 0.0
        """Battery power before the setpoint, W."""
        self._unchecked_since: float | None = None
        """When (loop time) the setpoint was given, until its direction is checked."""

    async def is_there(self) -> bool:
        """Return True when the firmware has remote mode; without it nobody answers."""
        try:
            return knows_remote_mode(await self._writer.read())
        except (DeviceRefusedError, RequestTimeoutError) as err:
            _LOGGER.info("%s: no remote mode: %s", self._name, err)
            return False

    @override
    async def is_held(self, found: Image) -> bool:
        return not found.items() <= (await self._writer.read()).items()

    @override
    async def take_snapshot(self) -> Image:
        """Return remote mode as it is: off, or somebody else's."""
        mode = (await self._writer.read())[REMOTE_MODE]
        if mode:
            raise NotSupportedError(
                f"{self._name}: somebody else uses remote mode ({mode})"
            )
        return {REMOTE_MODE: mode}

    @override
    async def hold(self, found: Image, wanted: Wanted, now: Conditions | None) -> int:
        """Write what differs from the setpoint, remote mode itself last."""
        self.begun = False
        granted = await self._steer(wanted, now)
        if now is not None:
            self._before = now.battery_power
            self._unchecked_since = asyncio.get_running_loop().time()
        return granted

    async def _steer(self, wanted: Wanted, now: Conditions | None) -> int:
        left, self.reason = 0.0, LimitReason.UNKNOWN_STATE
        if now is not None:
            left, self.reason = now.permitted(wanted.power)
        self._granted = int(left)
        word = remote_power(self._granted, self._rated_power)
        plan = remote(word)
        known = await self._writer.read()
        self.begun, self.target = True, {}
        await self._writer.apply(plan, known)
        if plan.target.items() <= known.items():
            # Nothing differed, but the watchdog must be fed.
            await self._writer.write(REMOTE_POWER, [word])
        self.target = plan.target
        return self._granted

    @override
    async def renew(self, wanted: Wanted, now: Conditions | None) -> int | None:
        """Feed the watchdog, and see that the battery goes the right way."""
        await self._refuse_wrong_way(now)
        return await self._steer(wanted, now)

    async def _refuse_wrong_way(self, now: Conditions | None) -> None:
        """Raise NotConfirmedError when the battery did not go the way it should."""
        since = self._unchecked_since
        if since is None or now is None:
            return
        if asyncio.get_running_loop().time() - since < REMOTE_CHECK_AFTER:
            return
        self._unchecked_since = None
        meant = self._granted - self._before
        moved = now.battery_power - self._before
        if abs(meant) >= CLEAR_MOVE and meant * moved <= 0:
            # It is to be put back all the same, and then never used again.
            self.works = False
            raise NotConfirmedError(
                f"{self._name}: in remote mode the battery moved by {moved:g} W instead "
                f"of {meant:g} W; remote mode is not used again"
            )

    @override
    async def put_back(self, found: Image) -> None:
        """Leave remote mode."""
        self.target = {}
        order = tuple(range(address, address + 1) for address in found)
        await self._writer.apply(Plan(found, order), await self._writer.read())
