"""The control of a battery by setpoints: request, grant, held setpoint, and restoring.

Each vendor implements a `SetpointController`, and the public coroutines of `Battery`
delegate to it. Powers are in W, positive = CHARGING.
"""

from abc import ABC, abstractmethod
import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
import math
from typing import Any, Final, NamedTuple

from ..errors import NotConfirmedError
from ..measurements import Value

KNOWN_FOR: Final = 300.0
"""Seconds for which the last value of a condition counts while it gets no answer."""

type Snapshot = dict[str, Any]
"""The state that a release restores, as JSON; each controller has its own keys."""
type Keep = Callable[[Snapshot], Awaitable[None]]
"""Saves a snapshot; raises NotKeptError when it cannot."""


class Recovered(NamedTuple):
    """The part of a stored snapshot that makes sense, and the names of the others."""

    snapshot: Snapshot
    unknown: frozenset[str] = frozenset()


async def keep_nowhere(snapshot: Snapshot) -> None:
    """Save nothing: the caller keeps no snapshot."""


class LimitReason(StrEnum):
    """The reason why a battery does less than was asked of it, or something else."""

    FULL = "full"
    EMPTY = "empty"
    """At its minimum SOC."""
    BATTERY = "battery"
    """The BMS permits no more now: hot, cold, nearly full, nearly empty."""
    INVERTER = "inverter"
    """The inverter permits no more."""
    SETTING = "setting"
    """A limit that is set on the device."""
    TOO_LITTLE = "too_little"
    """Less than the smallest step of the device: it is held at 0 W instead."""
    BATTERY_LIFE = "battery_life"
    """At the SOC that BatteryLife keeps, above the minimum SOC."""
    KEEP_CHARGED = "keep_charged"
    """The device is set to keep its battery charged."""
    SUSTAIN = "sustain"
    """The device only sustains its battery, whose voltage was too low."""
    LOW_BATTERY = "low_battery"
    """An alarm of low voltage or SOC is on."""
    FEED_IN = "feed_in"
    """A limit of feeding in that is set on the device."""
    EXPORT = "export"
    """The user allows no export."""
    GENERATOR = "generator"
    """The AC input is a generator, which must not be fed."""
    SWITCH = "switch"
    """The inverter is switched off, or to one direction."""
    NO_GRID = "no_grid"
    PROTECTION = "protection"
    """The battery must be charged, or is about to shut down."""
    UNKNOWN_STATE = "unknown_state"
    """The conditions of a setpoint cannot be read, so the battery is held at 0 W."""
    ENDED = "ended"
    """The device has ended it, or a person at the device."""
    OTHER_CONTROLLER = "other_controller"
    """Another controller has written something else to the device."""
    NO_EFFECT = "no_effect"
    """The device took the setpoint and does not follow it."""
    REFUSED = "refused"
    """The device refuses the setpoint."""
    UNREACHABLE = "unreachable"
    ANOTHER_DEVICE = "another_device"
    """Another device answers at the battery's address."""
    PV_CURTAILED = "pv_curtailed"
    """The inverter cannot give both the setpoint and all of its PV."""
    LOAD = "load"
    """The house takes no more, and nothing of the discharge is fed in."""
    FLASH = "flash"
    """Its flash has been written often enough, just now or today."""
    NOT_SAVED = "not_saved"
    """The snapshot could not be saved, so nothing was written."""


class DeviceIssue(StrEnum):
    """An issue that the user can fix, so that a battery can be held as it should."""

    WRITES_OFF = "writes_off"
    """The device may be read only."""
    NO_ESS = "no_ess"
    """A Victron without the ESS assistant."""
    KEEPS_SETPOINT = "keeps_setpoint"
    """An SMA that keeps the last setpoint when it is not renewed."""
    FALLBACK_UNKNOWN = "fallback_unknown"
    """An SMA that does not say whether it does so."""
    CONNECTION_STOLEN = "connection_stolen"
    """Another client of a device that serves one at a time."""
    OLD_FIRMWARE = "old_firmware"
    """Without the commands that a setpoint needs."""
    MODEL_READ_ONLY = "model_read_only"
    """A model of SMA that takes no setpoint as the others do."""
    NOT_BY_CAPACITY = "not_by_capacity"
    """A Deye that is set to control its battery otherwise, or to another battery."""
    PARALLEL = "parallel"
    """A Deye that works in parallel with others: a setpoint counts for each."""
    GATEWAY_OVERRULES = "gateway_overrules"
    """An EMMA manages the battery of an inverter by settings of its own."""
    PV_CURTAILED = "pv_curtailed"
    """A Huawei whose setpoint costs PV, and whose user has not chosen between them."""


class SuspendedError(NotConfirmedError):
    """The setpoint is suspended: the device decides by itself until `reason` ends."""

    def __init__(self, message: str, reason: LimitReason) -> None:
        """Keep the reason beside the text."""
        super().__init__(message)
        self.reason = reason


class Bound(NamedTuple):
    """The highest power permitted in a direction, W (≥ 0), and the reason."""

    power: float
    reason: LimitReason


def bounded(power: float, bounds: Iterable[Bound]) -> tuple[float, LimitReason | None]:
    """Return a power, W, cut to `bounds` (of its direction), and the reason if cut."""
    tightest = min(bounds, key=lambda bound: bound.power, default=None)
    if tightest is None or abs(power) <= tightest.power:
        return power, None
    return tightest.power if power > 0 else 0 - tightest.power, tightest.reason


class Grant(NamedTuple):
    """The power that a battery is held at, and why that is less than was asked for."""

    power: int
    """W, + = charging"""
    reason: LimitReason | None = None
    """None when nothing was cut."""
    follows_load: bool = False
    """Whether it is the most of a discharge that gives what the house takes."""
    replaces_import: bool = False
    """Whether it does until nothing is imported at the grid meter."""


@dataclass(frozen=True, slots=True)
class SetpointRequest:
    """The power asked of a battery, W, + = charging, and what it comes from."""

    power: float
    current: float | None = None
    """The DC current that was asked for, A; None unless one was."""
    phases: tuple[float, ...] = ()
    """The power of each phase, W; empty when they share the power equally."""


@dataclass(slots=True, kw_only=True)
class HeldSetpoint:
    """The one record of the setpoint held. Times are the event loop's, s.

    A controller that must record more of what it wrote derives its own.
    """

    request: SetpointRequest
    grant: Grant
    changed_at: float
    """Time of the last change of the power granted."""
    written_at: float = -math.inf
    """Time of the last write to the device."""
    curtails_pv: bool = False
    """Whether the device is seen to curtail its PV for the setpoint."""

    def change(self, grant: Grant, now: float) -> None:
        """Take over the grant that holds from now on."""
        if grant.power != self.grant.power:
            self.changed_at = now
        self.grant = grant


class ForeignSetpoint:
    """Takeover by another controller, as seen by reads of the device's setpoint.

    One read may have been under way while the setpoint was written, so it takes
    `reads` of a foreign setpoint within `within` seconds. Where the driver's own
    setpoint in between rules out another controller, they must be `in_a_row`.
    """

    def __init__(
        self, reads: int, within: float = math.inf, *, in_a_row: bool = True
    ) -> None:
        """Begin with no foreign setpoint seen."""
        self._within = within
        self._in_a_row = in_a_row
        self._seen_at: deque[float] = deque(maxlen=reads)

    def note(self, *, is_own: bool) -> None:
        """Count one read, of the driver's own setpoint or of a foreign one."""
        if not is_own:
            self._seen_at.append(loop_time())
        elif self._in_a_row:
            self._seen_at.clear()

    def forget(self) -> None:
        """Forget the reads so far: the setpoint seen is about to be replaced."""
        self._seen_at.clear()

    @property
    def is_certain(self) -> bool:
        """Whether another controller surely controls the device."""
        reads = self._seen_at
        return len(reads) == reads.maxlen and loop_time() - reads[0] <= self._within


def sound_parts(
    stored: Snapshot, parts: Mapping[str, Callable[[Any], bool]]
) -> Recovered:
    """Return those parts of a stored snapshot that are there, and of which each holds.

    `parts` has the check of each part by its key.
    """
    sound = {
        key: stored[key]
        for key, is_sound in parts.items()
        if key in stored and is_sound(stored[key])
    }
    return Recovered(sound, frozenset(parts.keys() - sound.keys()))


def loop_time() -> float:
    """Return the time of the event loop, s."""
    return asyncio.get_running_loop().time()


class SetpointController[H: HeldSetpoint](ABC):
    """Holds one device at a setpoint, and restores it.

    Methods raise what the device raises; NotConfirmedError when it does not show what
    was written; TakenOverError when another controller has written something else.
    """

    def __init__(self) -> None:
        """Begin with a device that is not held."""
        self.held: H | None = None
        self.keep: Keep = keep_nowhere
        """Saves a snapshot that is corrected while the device is held."""
        self._refreshing = False

    @abstractmethod
    async def take_snapshot(self) -> Snapshot:
        """Read the state that a release has to restore. Nothing is written.

        Raises NotSupportedError when the device cannot be held, or not be restored.
        """

    @abstractmethod
    async def apply(self, request: SetpointRequest, snapshot: Snapshot) -> Grant:
        """Hold the device at the power granted for `request`; return the grant.

        A value that a release restores, and that the user has changed since, is put
        into `snapshot` with `correct`.
        """

    async def correct(self, snapshot: Snapshot, values: Mapping[str, Any]) -> None:
        """Put values that the user has changed into a snapshot, and have it saved.

        Before the write that depends on it. Raises what `keep` raises; nothing has
        changed then.
        """
        corrected = {**snapshot, **values}
        if corrected != snapshot:
            await self.keep(corrected)
            snapshot.update(values)

    async def renew(self, snapshot: Snapshot) -> Grant | None:
        """Renew the setpoint, adapted to what the device permits now.

        Returns the grant, or None when nothing had to be done.
        """
        return None

    @abstractmethod
    async def restore(self, snapshot: Snapshot) -> None:
        """Restore the state of the snapshot, and see it confirmed.

        A snapshot that was recovered in part leaves the device at rest, as far as that
        is possible without what is unknown.
        """

    @abstractmethod
    def recover(self, stored: Snapshot) -> Recovered:
        """Return the part of a stored snapshot that can be restored.

        Nothing is sent. `stored` may be any JSON object, and empty.
        """

    async def shows_setpoint(self, snapshot: Snapshot) -> bool:
        """Return False when the device surely no longer shows the setpoint.

        For a setpoint from before a restart. Nothing is written.
        """
        return True

    async def refresh(self, snapshot: Snapshot) -> None:
        """Read the conditions of a held setpoint that were read too long ago.

        A failed read is not an error. A call while another is under way returns at
        once.
        """
        if self._refreshing:
            return
        self._refreshing = True
        try:
            await self._refresh(snapshot)
        finally:
            self._refreshing = False

    async def _refresh(self, snapshot: Snapshot) -> None:
        """Read the conditions for `refresh`; a device without any reads nothing."""

    def observe(self, values: Mapping[str, Value]) -> None:
        """Check values just read, also by a poll, for a takeover."""

    def wears_flash(self, power: float) -> bool:
        """Return True when a setpoint of `power`, W, is known to write to flash."""
        return False
