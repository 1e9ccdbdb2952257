"""A setpoint that is held: what is asked, until when, how well it is followed.

And what is kept of it on disk, so that a Home Assistant that dies does not take with
it what the device has to be given back.
"""

from collections.abc import Mapping
import copy
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Final, NotRequired, TypedDict

from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.storage import Store
from homeassistant.util import dt as dt_util, slugify

from ..const import DOMAIN, ControlStatus
from ..drivers.battery.base import Battery, Found
from ..drivers.battery.controller import LimitReason
from ..drivers.flash import FlashWear
from .status import control_status, follows

CURRENT_STEP: Final = 20
"""W that the voltage must make of a held current before the device is told."""

STORAGE_VERSION: Final = 1


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was polled last, as far as it is known: W, V, %, %."""

    is_lost: bool
    """Whether the power could not be read twice in a row or more."""
    power: float | None
    voltage: float | None
    soc: float | None
    min_soc: float | None


@dataclass(frozen=True, kw_only=True)
class Setpoint:
    """What is asked for: a battery power, a battery current, or a power for each phase.

    `power` (W) is that of all together, + = charging. A current is DC, A.
    """

    power: int
    current: float | None = None
    phases: Mapping[int, int] = field(default_factory=dict)

    async def tell(self, battery: Battery) -> int:
        """Tell the device; return the power granted, W. Raises what the driver does."""
        if self.current is not None:
            return await battery.set_current_setpoint(self.current)
        granted = None
        for phase, power in self.phases.items():
            granted = await battery.set_power_setpoint_phase(power, phase)
        if granted is None:
            granted = await battery.set_power_setpoint(self.power)
        return granted


@dataclass(kw_only=True)
class Lease:
    """A setpoint that is held. `since` and `followed` are loop times, s."""

    setpoint: Setpoint
    expires: datetime | None
    """When it ends by itself."""
    since: float
    followed: float
    granted: int | None = None
    """What the device was told in the end, W; None while it has not been told."""
    told: bool = False
    """False when the device may not know the setpoint yet."""
    limited_by: LimitReason | None = None
    """Why less was granted."""
    fault: LimitReason | None = None
    """Why it could not be told, or renewed, the last time."""
    failures: int = 0
    """How often in a row."""

    def status(
        self, now: float, measured: Measured
    ) -> tuple[ControlStatus, LimitReason | None]:
        """Return how well the setpoint is followed, and why not better."""
        return control_status(
            requested=self.setpoint.power,
            granted=self.granted,
            measured=measured.power,
            age=now - self.since,
            astray=now - self.followed,
            soc=measured.soc,
            min_soc=measured.min_soc,
            limited_by=self.limited_by,
            fault=self.fault,
            lost=measured.is_lost or self._is_in_doubt,
        )

    @property
    def _is_in_doubt(self) -> bool:
        """Whether the device may not hold the setpoint any more.

        A renewal without an answer may have been lost on the way, once.
        """
        unanswered = self.fault is LimitReason.UNREACHABLE
        return self.failures > 1 if unanswered else self.fault is not None

    def renewed(self) -> None:
        """Note that the device has taken the setpoint."""
        self.fault, self.failures = None, 0

    def look(self, now: float, measured: Measured, current_step: float) -> None:
        """Note whether it is followed, and let a held current follow the voltage.

        `current_step` is the share that the power must move for that.
        """
        if measured.power is not None and self.granted is not None:
            if follows(self.granted, measured.power):
                self.followed = now
        current = self.setpoint.current
        if current is None or not measured.voltage:
            return
        power, before = round(current * measured.voltage), self.setpoint.power
        if abs(power - before) >= max(CURRENT_STEP, current_step * abs(before)):
            self.setpoint, self.told = Setpoint(power=power, current=current), False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a setpoint. Powers in W, + = charging."""

    requested: int
    granted: int | None
    """None while it waits because flash was written too often just now."""
    limited_by: LimitReason | None
    expires: datetime | None


# What is kept on disk ---------------------------------------------------------


class _StoredLease(TypedDict):
    """A lease, as JSON holds it."""

    found: Found
    power: int | None
    current: float | None
    phases: dict[str, int]
    expires: str | None


class _Stored(TypedDict):
    """All that is kept of the control of one battery."""

    lease: _StoredLease | None
    left: NotRequired[bool]
    """Whether the battery was removed without being given back."""
    flash_day: str
    flash_writes: int


class NotKeptError(Exception):
    """The lease could not be written to disk."""


class LeaseStore:
    """Where the lease on one battery is kept, and its count of writes to flash.

    By the battery's serial number: who removes a battery that could not be given
    back, and adds it again, has it given back then.
    """

    def __init__(self, hass: HomeAssistant, unique_id: str) -> None:
        """Describe the file; nothing is read."""
        # Written atomically, the file has reached the disk when a save is done: after
        # a power cut it is still known what has to be given back.
        self._store = Store[_Stored](
            hass,
            STORAGE_VERSION,
            f"{DOMAIN}.{slugify(unique_id)}",
            atomic_writes=True,
        )
        self._last: _Stored | None = None
        self.found: Found | None = None
        """What has to be given back; None when nothing was held."""
        self.setpoint: Setpoint | None = None
        """What was held; None while it was being released."""
        self.expires: datetime | None = None
        self.left = False
        """Whether it was left to whoever adds the battery again."""

    async def async_load(self, wear: FlashWear | None = None) -> None:
        """Read what an earlier life has left, and let `wear` go on from its count."""
        stored = self._last = await self._store.async_load()
        if stored is None:
            return
        if wear is not None:
            wear.restore(
                date.fromisoformat(stored["flash_day"]), stored["flash_writes"]
            )
        self.left = stored.get("left", False)
        if (lease := stored["lease"]) is None:
            return
        self.found = copy.deepcopy(lease["found"])
        if lease["power"] is not None:
            self.setpoint = Setpoint(
                power=lease["power"],
                current=lease["current"],
                phases={int(phase): w for phase, w in lease["phases"].items()},
            )
        if lease["expires"] is not None:
            self.expires = dt_util.parse_datetime(lease["expires"], raise_on_error=True)

    async def async_save(
        self, found: Found | None, lease: Lease | None, wear: FlashWear
    ) -> None:
        """Keep things as they are now; nothing is written that has not changed.

        Raises NotKeptError where that fails at once; see also `async_confirm`.
        """
        new: _Stored = {
            "lease": None if found is None else _stored_lease(found, lease),
            "left": False,
            "flash_day": wear.today().isoformat(),
            "flash_writes": wear.writes_today,
        }
        if new == self._last:
            return
        try:
            await self._store.async_save(copy.deepcopy(new))
        except (OSError, HomeAssistantError) as err:
            raise NotKeptError(str(err)) from err
        self._last = copy.deepcopy(new)

    async def async_confirm(self) -> None:
        """See that the lease is on disk as it was saved last.

        Raises NotKeptError if not: Home Assistant only logs that a disk is full.
        """
        last = self._last
        try:
            kept = await self._store.async_load()
        except (OSError, HomeAssistantError) as err:
            kept, why = None, str(err)
        else:
            why = "the file does not show it"
        if last is None or kept is None or kept["lease"] != last["lease"]:
            self._last = None
            raise NotKeptError(why)

    async def async_leave(self) -> None:
        """Leave what has to be given back to whoever adds the battery again."""
        if self._last is not None and self.found is not None:
            lease = _stored_lease(self.found, None)
            await self._store.async_save({**self._last, "lease": lease, "left": True})

    async def async_remove(self) -> None:
        """Forget it all."""
        await self._store.async_remove()


def _stored_lease(found: Found, lease: Lease | None) -> _StoredLease:
    stored: _StoredLease = {
        "found": found,
        "power": None,
        "current": None,
        "phases": {},
        "expires": None,
    }
    if lease is not None:
        setpoint = lease.setpoint
        stored["power"] = setpoint.power
        stored["current"] = setpoint.current
        stored["phases"] = {str(phase): w for phase, w in setpoint.phases.items()}
        stored["expires"] = lease.expires.isoformat() if lease.expires else None
    return stored
