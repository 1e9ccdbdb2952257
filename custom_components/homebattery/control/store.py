"""The lease on a battery, on disk.

The snapshot, from which the device has to be restored, must survive a crash of Home
Assistant, a power cut, and damage to a file.
"""

import copy
import logging
from typing import Any, Final, NotRequired, TypedDict, cast

from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.util import dt as dt_util

from ..drivers.battery.base import Battery
from ..drivers.battery.controller import Recovered, Snapshot
from ..drivers.errors import NotKeptError
from ..drivers.flash import FlashWear
from ..json_file import UNREADABLE, JsonFile, file_name
from .lease import Lease
from .lease_file import SNAPSHOT, Content, decode, former_file_name, read_snapshot

_LOGGER = logging.getLogger(__name__)

COPY: Final = ".copy"
"""The end of the name of the second file, a copy of the snapshot."""

# The keys of the file are those of its first version: `found` is the snapshot; `left`
# says that the battery was removed without being restored. Later ones: `duration` (s)
# bounds `expires`; `unknown` has the keys of what was damaged.
_StoredLease = TypedDict(  # noqa: UP013
    "_StoredLease",
    {
        "found": Snapshot,
        "power": int | None,
        "current": float | None,
        "phases": dict[str, int],
        "expires": str | None,
        "duration": float | None,
    },
)
_Stored = TypedDict(  # noqa: UP013
    "_Stored",
    {
        "lease": _StoredLease | None,
        "left": bool,
        "unknown": NotRequired[list[str]],
        "flash_day": str,
        "flash_writes": int,
    },
)


class LeaseStore:
    """Keep the lease on one battery on disk, and its count of writes to flash.

    By the battery's serial number: a battery that was removed before it could be
    restored is restored when it is added again. While it is held, a second file has a
    copy of the snapshot, should the first one be damaged.
    """

    def __init__(self, hass: HomeAssistant, unique_id: str) -> None:
        """Describe the files; nothing is read."""
        self._file = JsonFile(hass, file_name(unique_id))
        self._copy = JsonFile(hass, f"{self._file.key}{COPY}")
        self._former = JsonFile(hass, former_file_name(unique_id))
        self._last: _Stored | None = None
        self._copied: Snapshot | None = None
        self.content = Content()
        """The content of the file of an earlier run, as far as it makes sense."""

    @property
    def unknown(self) -> frozenset[str]:
        """The keys of what is not known, since a file was damaged."""
        return frozenset(self.content.unknown)

    async def async_load(self, wear: FlashWear | None = None) -> None:
        """Read the files of an earlier run, and let `wear` go on from their count.

        Damage is no error: what makes sense is used, and `unknown` names the rest. That
        is noted on disk at once: no later start shall take a held battery for its own.
        """
        data, is_damaged = await self._file.async_read()
        is_former = (
            data is None and not is_damaged and await self._former.async_exists()
        )
        if is_former:
            data, is_damaged = await self._former.async_read()
        copied, _ = await self._copy.async_read()
        self._copied = _snapshot_in(copied)
        if data is None and not is_damaged and self._copied is None:
            return
        content = self.content = decode(data)
        if content.snapshot == {} and self._copied is not None:
            content.snapshot = self._copied
        if wear is not None and content.flash is not None:
            wear.restore(*content.flash)
        is_sound = isinstance(data, dict) and (
            data.get("unknown", []) == sorted(content.unknown)
        )
        if is_sound and not is_former:
            self._last = cast("_Stored", data)
            await self._async_complete_copy()
            return
        self._log_unknown()
        await self._async_save_content()
        if is_former and self._last is not None:
            await self._former.async_remove()

    def recover(self, battery: Battery) -> Recovered:
        """Return the part of the stored snapshot that `battery` can restore.

        From the copy where the file has less. What is missing is added to `unknown`.
        """
        recovered = battery.recover(self.content.snapshot or {})
        if recovered.unknown and self._copied is not None:
            copied = battery.recover(self._copied)
            if not copied.unknown or not recovered.snapshot:
                recovered = copied
        is_noted = any(key.startswith(SNAPSHOT) for key in self.content.unknown)
        if recovered.unknown and not is_noted:
            parts = {f"{SNAPSHOT}.{part}" for part in recovered.unknown}
            self.content.unknown |= parts if recovered.snapshot else {SNAPSHOT}
            self._log_unknown()
        return recovered

    def _log_unknown(self) -> None:
        if self.content.unknown:
            _LOGGER.error(
                "%s was damaged; not known: %s",
                self._file.path,
                ", ".join(sorted(self.content.unknown)),
            )

    async def async_save(
        self, snapshot: Snapshot | None, lease: Lease | None, wear: FlashWear
    ) -> None:
        """Write the file; a file that would not change is not written.

        Raises NotKeptError where that fails at once; see also `async_confirm`.
        """
        stored = None
        if snapshot is not None:
            stored = (
                _unset(snapshot) if lease is None else _stored_lease(snapshot, lease)
            )
        await self._async_write(
            {
                "lease": stored,
                "left": False,
                "flash_day": wear.today().isoformat(),
                "flash_writes": wear.writes_today,
            }
        )

    async def _async_save_content(self) -> None:
        """Write what was read without its setpoint: the battery is to be released."""
        content = self.content
        day, writes = content.flash or (dt_util.now().date(), 0)
        lease = None if content.snapshot is None else _unset(content.snapshot)
        try:
            await self._async_write(
                {
                    "lease": lease,
                    "left": content.orphaned,
                    "flash_day": day.isoformat(),
                    "flash_writes": writes,
                }
            )
            await self.async_confirm()
        except NotKeptError as err:
            _LOGGER.error("%s could not be written: %s", self._file.path, err)

    async def _async_write(self, new: _Stored) -> None:
        if self.content.unknown:
            new["unknown"] = sorted(self.content.unknown)
        if new == self._last:
            return
        new = copy.deepcopy(new)
        lease = new["lease"]
        self._last = None
        try:
            # The copy comes and goes after the file: of a battery that the file says is
            # not held, a copy is a remnant, whenever the power is cut.
            await self._file.async_save(copy.deepcopy(cast("dict[str, Any]", new)))
            await self._async_copy(None if lease is None else lease["found"])
        except (OSError, HomeAssistantError) as err:
            raise NotKeptError(str(err)) from err
        self._last = new

    async def _async_copy(self, snapshot: Snapshot | None) -> None:
        """Write the second file; remove it without a snapshot.

        Raises OSError or HomeAssistantError where that fails.
        """
        snapshot = snapshot or None
        if snapshot == self._copied:
            return
        if snapshot is None:
            await self._copy.async_remove()
        else:
            await self._copy.async_save({SNAPSHOT: copy.deepcopy(snapshot)})
        self._copied = copy.deepcopy(snapshot)

    async def _async_complete_copy(self) -> None:
        """Bring the second file up to the first, between which an earlier run ended.

        A copy that differs stays: it may have what was damaged in the file.
        """
        snapshot = self.content.snapshot
        if snapshot is not None and self._copied is not None:
            return
        try:
            await self._async_copy(snapshot)
        except (OSError, HomeAssistantError) as err:
            _LOGGER.error("%s cannot be kept up to date: %s", self._copy.path, err)

    async def async_confirm(self) -> None:
        """Read the lease back from disk.

        Raises NotKeptError when it is not as it was saved last: Home Assistant only
        logs that a disk is full.
        """
        last = self._last
        try:
            kept = await self._file.async_load()
        except UNREADABLE as err:
            kept, why = None, str(err)
        else:
            why = "the file does not show it"
        if last is None or kept is None or kept.get("lease") != last["lease"]:
            self._last = None
            raise NotKeptError(why)

    async def async_mark_orphaned(self) -> None:
        """Keep the snapshot for when the removed battery is added again."""
        if self.content.snapshot is not None:
            self.content.orphaned = True
            await self._async_save_content()

    async def async_remove(self) -> None:
        """Delete the files."""
        await self._file.async_remove()
        await self._copy.async_remove()
        if await self._former.async_exists():
            await self._former.async_remove()


def _snapshot_in(copied: Any) -> Snapshot | None:
    """Return the snapshot in what the second file says; None where it has none."""
    snapshot = copied.get(SNAPSHOT) if isinstance(copied, dict) else None
    return read_snapshot(snapshot) or None if isinstance(snapshot, dict) else None


def _unset(snapshot: Snapshot) -> _StoredLease:
    """Return the lease on a battery that is to be released."""
    return {
        "found": snapshot,
        "power": None,
        "current": None,
        "phases": {},
        "expires": None,
        "duration": None,
    }


def _stored_lease(snapshot: Snapshot, lease: Lease) -> _StoredLease:
    setpoint, duration = lease.setpoint, lease.duration
    return {
        "found": snapshot,
        "power": setpoint.power,
        "current": setpoint.current,
        "phases": {str(phase): w for phase, w in setpoint.phases.items()},
        "expires": lease.expires.isoformat() if lease.expires else None,
        "duration": duration.total_seconds() if duration else None,
    }
