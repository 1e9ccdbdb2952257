"""The lease on a battery, on disk.

The snapshot, from which the device has to be restored, must survive a crash of Home
Assistant.
"""

import copy
from datetime import date, datetime
from typing import Final, NotRequired, TypedDict

from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.storage import Store
from homeassistant.util import dt as dt_util, slugify

from ..const import DOMAIN
from ..drivers.battery.controller import Snapshot
from ..drivers.flash import FlashWear
from .lease import Lease, Setpoint

STORAGE_VERSION: Final = 1


# The keys of the file are those of its first version: `found` is the snapshot; `left`
# says that the battery was removed without being restored.
_StoredLease = TypedDict(  # noqa: UP013
    "_StoredLease",
    {
        "found": Snapshot,
        "power": int | None,
        "current": float | None,
        "phases": dict[str, int],
        "expires": str | None,
    },
)
_Stored = TypedDict(  # noqa: UP013
    "_Stored",
    {
        "lease": _StoredLease | None,
        "left": NotRequired[bool],
        "flash_day": str,
        "flash_writes": int,
    },
)


class NotKeptError(Exception):
    """The lease could not be written to disk."""


class LeaseStore:
    """Keep the lease on one battery on disk, and its count of writes to flash.

    By the battery's serial number: a battery that was removed before it could be
    restored is restored when it is added again.
    """

    def __init__(self, hass: HomeAssistant, unique_id: str) -> None:
        """Describe the file; nothing is read."""
        # Written atomically, the file has reached the disk when a save is done: the
        # snapshot survives a power cut.
        self._store = Store[_Stored](
            hass,
            STORAGE_VERSION,
            f"{DOMAIN}.{slugify(unique_id)}",
            atomic_writes=True,
        )
        self._last: _Stored | None = None
        self.snapshot: Snapshot | None = None
        """The snapshot to restore; None when nothing was held."""
        self.setpoint: Setpoint | None = None
        """The setpoint that was held; None while it was being released."""
        self.expires: datetime | None = None
        self.orphaned = False
        """Whether the battery was removed, and waits to be added again."""

    async def async_load(self, wear: FlashWear | None = None) -> None:
        """Read the file of an earlier run, and let `wear` go on from its count."""
        stored = self._last = await self._store.async_load()
        if stored is None:
            return
        if wear is not None:
            wear.restore(
                date.fromisoformat(stored["flash_day"]), stored["flash_writes"]
            )
        self.orphaned = stored.get("left", False)
        if (lease := stored["lease"]) is None:
            return
        self.snapshot = copy.deepcopy(lease["found"])
        if lease["power"] is not None:
            self.setpoint = Setpoint(
                power=lease["power"],
                current=lease["current"],
                phases={int(phase): w for phase, w in lease["phases"].items()},
            )
        if lease["expires"] is not None:
            self.expires = dt_util.parse_datetime(lease["expires"], raise_on_error=True)

    async def async_save(
        self, snapshot: Snapshot | None, lease: Lease | None, wear: FlashWear
    ) -> None:
        """Write the file; a file that would not change is not written.

        Raises NotKeptError where that fails at once; see also `async_confirm`.
        """
        new: _Stored = {
            "lease": None if snapshot is None else _stored_lease(snapshot, lease),
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
        """Read the lease back from disk.

        Raises NotKeptError when it is not as it was saved last: Home Assistant only
        logs that a disk is full.
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

    async def async_mark_orphaned(self) -> None:
        """Keep the snapshot for when the removed battery is added again."""
        if self._last is not None and self.snapshot is not None:
            lease = _stored_lease(self.snapshot, None)
            await self._store.async_save({**self._last, "lease": lease, "left": True})

    async def async_remove(self) -> None:
        """Delete the file."""
        await self._store.async_remove()


def _stored_lease(snapshot: Snapshot, lease: Lease | None) -> _StoredLease:
    stored: _StoredLease = {
        "found": snapshot,
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
