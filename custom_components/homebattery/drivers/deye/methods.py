"""The two ways to hold a Deye inverter at a battery power: its settings, remote mode.

Each knows its registers, holds by them, renews if need be, and restores them. Which one
is used, and when the battery must not be held at all, is decided by the controller.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
import logging
import math
from typing import ClassVar, Final, override

from ..battery.controller import Grant, LimitReason, loop_time
from ..errors import (
    DeviceRefusedError,
    IllegalAddressError,
    NotConfirmedError,
    NotSupportedError,
    ProtocolError,
    RequestTimeoutError,
)
from ..flash import FlashWear
from ..modbus.device import ModbusDevice
from .decision import Conditions, Decision, decide
from .plans import (
    BMS,
    BY_SOC,
    BY_VOLTAGE,
    CHEMISTRY,
    CONTROL_MODE,
    CURRENTS,
    DECIDING,
    FULL_SOC,
    LITHIUM,
    LOW_SOC,
    REMOTE,
    REMOTE_MODE,
    REMOTE_POWER,
    SETTINGS,
    SETTINGS_AND_BMS,
    SNAPSHOT,
    Image,
    Plan,
    automatic,
    hold,
    hold_by_soc,
    is_grid_charge_latent,
    knows_remote_mode,
    remote,
    remote_power,
    restrict,
    stop_grid_charge,
)
from .setpoint import DeyeSetpoint, Start, Wanted

_LOGGER = logging.getLogger(__name__)

SNAPSHOT_FRESH: Final = 2.0
"""Seconds for which the registers of a snapshot serve to begin a setpoint: enough to
read its conditions, and too short for a user at the display."""
_CONFIRM_TRIES: Final = 2
"""Reads after which a change counts as not made; one answer may be damaged."""
_TRIES_WITH_BMS: Final = 2
"""Failures in a row after which settings and BMS are not read in one request again."""
REMOTE_CHECK_AFTER: Final = 30.0
"""Seconds after which the battery must have followed the sign of remote mode."""
CLEAR_MOVE: Final = 300
"""W that a remote setpoint must differ from before for its direction to be seen."""


class Method(ABC):
    """A way to hold a battery."""

    key: ClassVar[str]
    """The name under which its snapshot is kept."""
    changes: ClassVar[Sequence[int]]
    """The registers that it changes."""
    restores: ClassVar[Sequence[int]]
    """The registers of its snapshot."""
    registers: ClassVar[range]
    """The registers that it reads, in one request."""

    def __init__(self, name: str, device: ModbusDevice, settle: float) -> None:
        """Hold by the registers of `device`; nothing is read.

        `name` is the inverter's in errors; `settle` as `ModbusBattery` has it, s.
        """
        self.works = True
        """Whether the inverter can be held this way."""
        self._name = name
        self._device = device
        self._settle = settle
        self._taken: tuple[float, Image] = (-math.inf, {})
        """The time when its registers were read for a setpoint, loop time, s; and these."""

    @property
    def is_worn(self) -> bool:
        """Whether nothing new may be written today: a setpoint stays as it is."""
        return False

    async def read(self) -> dict[int, int]:
        """Return all its registers as they are now."""
        return await self._device.read_words(self.registers)

    async def read_steady(self) -> dict[int, int]:
        """Return all its registers, checked as far as they are restored into flash."""
        return await self.read()

    async def read_first(self) -> dict[int, int]:
        """Return all its registers before a setpoint, as `read_steady` does."""
        return await self.read_steady()

    async def prepare(self) -> None:
        """Read its registers before a setpoint that replaces another one."""
        words = await self.read_first()
        self._taken = loop_time(), words

    @property
    def _was_just_read(self) -> bool:
        return loop_time() - self._taken[0] < SNAPSHOT_FRESH

    async def read_to_begin(self) -> Image:
        """Return its registers as they were just read, else as `read_steady` does."""
        if self._was_just_read:
            return self._taken[1]
        return await self.read_steady()

    async def has_changed(self, snapshot: Image) -> bool:
        """Return True when the device is not as the snapshot has it."""
        return not snapshot.items() <= (await self.read()).items()

    async def refresh(self, held: DeyeSetpoint) -> None:
        """Read whether the device still shows the setpoint; note it in the record."""

    @abstractmethod
    async def take_snapshot(self) -> Image:
        """Return the words to restore; raises NotSupportedError if it cannot work."""

    @abstractmethod
    async def hold(
        self,
        held: DeyeSetpoint,
        snapshot: Image,
        wanted: Wanted,
        now: Conditions | None,
    ) -> Grant:
        """Hold the battery; return the grant.

        Under conditions that are not known it is held at 0 W. Raises
        NotSupportedError before anything is written.
        """

    async def renew(
        self, held: DeyeSetpoint, wanted: Wanted, now: Conditions | None
    ) -> Grant | None:
        """Keep a setpoint alive; return None when nothing has to be done."""
        return None

    async def restrict(self, snapshot: Image) -> None:
        """Narrow the settings that can be narrowed, after a write has failed."""

    @abstractmethod
    async def restore(self, snapshot: Image) -> None:
        """Write the snapshot, and confirm it; raises NotConfirmedError."""

    async def _write(self, plan: Plan, known: Image) -> None:
        """Write the words that differ from `known`, in the plan's order, and confirm.

        Raises NotConfirmedError when a register shows something else.
        """
        writes = list(plan.writes(known))
        self._taken = -math.inf, {}
        for address, words in writes:
            await self._device.write_words(address, words)
        if writes:
            await self._device.confirm_words(
                plan.target,
                self.registers,
                settle=self._settle,
                tries=_CONFIRM_TRIES,
            )


class BySettings(Method):
    """Holds by the time-of-use programme, currents, grid charge and working mode."""

    key = "settings"
    changes = restores = SNAPSHOT
    registers = SETTINGS

    def __init__(
        self,
        name: str,
        device: ModbusDevice,
        settle: float,
        wear: FlashWear,
        read_soc: Callable[[], Awaitable[float | None]],
        bms: ModbusDevice,
    ) -> None:
        """Hold by the settings of `device`, all of them flash; nothing is read.

        `read_soc` returns the SOC, %, or None where it is not known; `bms` has the
        registers behind the settings, on which a setpoint depends as well.
        """
        super().__init__(name, device, settle)
        self._bms = bms
        self._tries_with_bms = _TRIES_WITH_BMS
        """Number of failures of a request for settings and BMS that are borne yet."""
        self._wear = wear
        self._read_soc = read_soc
        self._zero_amps_refused = False

    @property
    @override
    def is_worn(self) -> bool:
        return self._wear.is_used_up

    @override
    async def read_steady(self) -> dict[int, int]:
        """Return all settings; those of a plan as two reads in a row have them.

        They go back into flash. Raises ProtocolError when no two reads agree.
        """
        return await self._device.steady(self.read, (*SNAPSHOT, *DECIDING))

    @override
    async def read_first(self) -> dict[int, int]:
        """Return all settings, read with the BMS where that has answered before."""
        return await self._device.steady(self._read_with_bms, (*SNAPSHOT, *DECIDING))

    async def _read_with_bms(self) -> dict[int, int]:
        if not self._tries_with_bms or not self._bms.words.keys() >= set(BMS):
            return await self.read()
        try:
            words = await self._device.read_words(SETTINGS_AND_BMS, self._bms)
        except IllegalAddressError:
            self._tries_with_bms = 0
            return await self.read()
        except DeviceRefusedError, ProtocolError, RequestTimeoutError:
            self._tries_with_bms -= 1
            return await self.read()
        self._tries_with_bms = _TRIES_WITH_BMS
        return {address: words[address] for address in self.registers}

    @override
    async def refresh(self, held: DeyeSetpoint) -> None:
        target = held.target
        seen = await self.read_steady()
        # What was read while something else was written says nothing; nor do the zeros
        # of an inverter that starts.
        if held.target is target and any(seen.values()):
            held.foreign.note(is_own=target.items() <= seen.items())

    @override
    async def take_snapshot(self) -> Image:
        """Return the user's settings."""
        settings = await self.read_first()
        self._refuse_unless_possible(settings, 0)
        self._taken = loop_time(), settings
        return {address: settings[address] for address in SNAPSHOT}

    def _refuse_unless_possible(self, settings: Image, power: float) -> None:
        """Raise NotSupportedError when the inverter would not follow its settings."""
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
    async def hold(
        self,
        held: DeyeSetpoint,
        snapshot: Image,
        wanted: Wanted,
        now: Conditions | None,
    ) -> Grant:
        """Write the settings that differ from those of the setpoint."""
        known = await self.read_to_begin()
        self._refuse_unless_possible(known, wanted.power)
        decision = Decision(reason=LimitReason.UNKNOWN_STATE)
        if now is not None:
            if known[LOW_SOC] <= FULL_SOC:
                now = replace(now, min_soc=known[LOW_SOC])
            decision = decide(wanted.power, snapshot, known, now, amps=wanted.amps)
        if decision.plan is None:
            soc = None if now is None else now.soc
            await self._hold_still(held, snapshot, known, soc)
        else:
            await self._apply(held, decision.plan, known)
        return Grant(
            decision.granted,
            decision.reason,
            decision.follows_load,
            decision.replaces_import,
        )

    async def _hold_still(
        self, held: DeyeSetpoint, snapshot: Image, known: Image, soc: float | None
    ) -> None:
        """Hold at 0 W; by the slots' SOC where a current of 0 A is refused."""
        if not self._zero_amps_refused:
            try:
                await self._apply(held, hold(snapshot), known)
            except (DeviceRefusedError, NotConfirmedError) as err:
                known = await self.read()
                # The slots' SOC must count for that.
                if known[CONTROL_MODE] != BY_SOC or not any(map(known.get, CURRENTS)):
                    raise
                _LOGGER.info("%s: takes no 0 A: %s", self._name, err)
                self._zero_amps_refused = True
            else:
                return
        grid_charge_latent = is_grid_charge_latent(snapshot, known, soc)
        await self._apply(
            held, hold_by_soc(snapshot, grid_charge_latent=grid_charge_latent), known
        )

    async def _apply(self, held: DeyeSetpoint, plan: Plan, known: Image) -> None:
        """Write the settings of a plan; raises FlashBudgetError before it is begun."""
        if any(plan.writes(known)):
            self._wear.check(self._name)
        held.begin_write()
        await self._write(plan, known)
        held.target = plan.target

    @override
    async def restrict(self, snapshot: Image) -> None:
        """Set both currents to 0 A and grid charge off, as far as that is taken."""
        known = await self.read()
        for address, words in restrict(snapshot).writes(known):
            with suppress(DeviceRefusedError):
                await self._device.write_words(address, words)

    @override
    async def restore(self, snapshot: Image) -> None:
        """Write the user's settings, word by word as they were.

        Where some are unknown, as after damage to what was stored, the battery is held
        at 0 W by the others: a part of them might charge or discharge it.
        """
        if missing := [each for each in SNAPSHOT if each not in snapshot]:
            known = await self.read_steady()
            mixed = {**{each: known[each] for each in missing}, **snapshot}
            await self._write(hold(mixed), known)
            return
        known = await self.read()
        grid_charge_latent = await self._is_grid_charge_latent(snapshot, known)
        if grid_charge_latent:
            first = stop_grid_charge(snapshot)
            await self._write(first, known)
            known.update(first.target)
        await self._write(
            automatic(snapshot, grid_charge_latent=grid_charge_latent), known
        )

    async def _is_grid_charge_latent(self, snapshot: Image, known: Image) -> bool:
        """Return `is_grid_charge_latent`; the SOC is read only where it decides."""
        return is_grid_charge_latent(snapshot, known, None) and is_grid_charge_latent(
            snapshot, known, await self._read_soc()
        )


class ByRemoteMode(Method):
    """Holds by remote mode: volatile, with a watchdog, and a sign to be checked."""

    key = "remote"
    changes = REMOTE
    restores = (REMOTE_MODE,)
    registers = REMOTE

    def __init__(
        self,
        name: str,
        device: ModbusDevice,
        settle: float,
        rated_power: float,
        read_now: Callable[[], Awaitable[Conditions | None]],
    ) -> None:
        """Hold by remote mode of `device` (`rated_power` in W); nothing is read.

        `read_now` reads the conditions, None without a battery.
        """
        super().__init__(name, device, settle)
        self._rated_power = rated_power
        self._read_now = read_now

    @override
    async def take_snapshot(self) -> Image:
        """Return remote mode: off; raises NotSupportedError while it is on."""
        words = await self.read()
        mode = words[REMOTE_MODE]
        if mode:
            raise NotSupportedError(
                f"{self._name}: another controller uses remote mode ({mode})"
            )
        self._taken = loop_time(), words
        return {REMOTE_MODE: mode}

    @override
    async def hold(
        self,
        held: DeyeSetpoint,
        snapshot: Image,
        wanted: Wanted,
        now: Conditions | None,
    ) -> Grant:
        """Write the registers that differ from the setpoint, remote mode last."""
        grant = self._permitted(wanted, now)
        await self._steer(held, grant, await self.read_to_begin())
        if now is not None and now.battery_power is not None:
            held.unchecked = Start(now.battery_power, loop_time())
        return grant

    @staticmethod
    def _permitted(wanted: Wanted, now: Conditions | None) -> Grant:
        """Return the grant under these conditions."""
        if now is None:
            return Grant(0, LimitReason.UNKNOWN_STATE)
        power, reason = now.permitted(wanted.power)
        return Grant(int(power), reason)

    async def _steer(self, held: DeyeSetpoint, grant: Grant, known: Image) -> None:
        """Write a power, and feed the watchdog."""
        word = remote_power(grant.power, self._rated_power)
        plan = remote(word)
        held.begin_write()
        await self._write(plan, known)
        if plan.target.items() <= known.items():
            # Nothing differed, but the watchdog must be fed.
            await self._device.write_words(REMOTE_POWER, [word])
        held.target = plan.target

    @override
    async def renew(
        self, held: DeyeSetpoint, wanted: Wanted, now: Conditions | None
    ) -> Grant | None:
        """Feed the watchdog, and check the direction of the battery."""
        await self._refuse_wrong_way(held, now)
        grant = self._permitted(wanted, now)
        try:
            known: Image = await self.read()
        except RequestTimeoutError:
            if not held.target:
                raise
            # The watchdog is fed all the same.
            known = held.target
        await self._steer(held, grant, known)
        return grant

    async def _refuse_wrong_way(
        self, held: DeyeSetpoint, now: Conditions | None
    ) -> None:
        """Raise NotConfirmedError when the battery goes the wrong way in two reads.

        Each time, until the inverter is restored. Where the second one gets no answer,
        that of the next renewal counts as such.
        """
        start = held.unchecked
        if start is None or loop_time() - start.at < REMOTE_CHECK_AFTER:
            return
        meant = held.grant.power - start.power
        change = _change_since(start, now)
        if _is_wrong(meant, change) and not start.seems_wrong:
            held.unchecked = start._replace(seems_wrong=True)
            again = None
            with suppress(RequestTimeoutError):
                again = await self._read_now()
            change = _change_since(start, again)
        if _is_wrong(meant, change):
            # It is to be restored all the same, and then never used again.
            self.works = False
            raise NotConfirmedError(
                f"{self._name}: in remote mode the battery moved by {change:g} W instead "
                f"of {meant:g} W; remote mode is not used again"
            )
        if change is not None:
            held.unchecked = None

    @override
    async def restore(self, snapshot: Image) -> None:
        """Leave remote mode."""
        order = tuple(range(address, address + 1) for address in snapshot)
        await self._write(Plan(snapshot, order), await self.read())


def _change_since(start: Start, now: Conditions | None) -> float | None:
    """Return the change of the battery power, W; None where that is not known."""
    if now is None or now.battery_power is None:
        return None
    return now.battery_power - start.power


def _is_wrong(meant: float, change: float | None) -> bool:
    """Return whether the battery power has clearly not changed as it was meant to, W."""
    return change is not None and abs(meant) >= CLEAR_MOVE and meant * change <= 0


async def has_remote_mode(name: str, device: ModbusDevice) -> bool:
    """Return True when the firmware has remote mode; without it nothing answers."""
    try:
        return knows_remote_mode(await device.read_words(REMOTE))
    except (DeviceRefusedError, RequestTimeoutError) as err:
        _LOGGER.info("%s: no remote mode: %s", name, err)
        return False
