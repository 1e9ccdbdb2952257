"""Stores the snapshot of each held device on disk, and the way to reach it.

A file for each device, below $XDG_STATE_HOME: it is there from before the first write
until the release is confirmed. So a file without a live process is of a device that
may still be held. A password is never in it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
import fcntl
from hashlib import sha256
import json
import os
from pathlib import Path
import re
from typing import IO, Any, Final, Self

from homebattery import DRIVERS, Battery, BatteryError
from homebattery.battery.controller import Snapshot

from .parser import PASSWORD, command_line, fields_of, type_of

VERSION: Final = 1
"""Of what is in a file."""


class StateError(BatteryError):
    """The state on disk cannot be read, written or locked."""


class InUseError(StateError):
    """Another process holds or restores the device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldDevice:
    """A device that is held, and all that it takes to restore it."""

    battery_type: str
    serial_number: str
    setup: Mapping[str, Any]
    """The fields of its driver, by which it is reached again; no password."""
    snapshot: Snapshot

    @property
    def release_command(self) -> str:
        """The command that restores it, for a shell."""
        return command_line("release", self.battery_type, self.setup)

    def __str__(self) -> str:
        """Return which device it is."""
        where = f" at {self.setup['host']}" if "host" in self.setup else ""
        return f"{self.battery_type}{where}, serial number {self.serial_number}"


def folder() -> Path:
    """Return where the files are; it may not exist. Raises StateError."""
    base = Path(os.environ.get("XDG_STATE_HOME") or ".")
    # A relative path is to be ignored, says the specification of that variable.
    if not base.is_absolute():
        try:
            base = Path("~/.local/state").expanduser()
        except RuntimeError as err:
            raise StateError(f"{err} Set HOME or XDG_STATE_HOME") from err
    return base / "homebattery"


class StateFile:
    """The file of one device, and its lock."""

    def __init__(self, path: Path) -> None:
        """Describe the file; nothing is read."""
        self.path = path

    @classmethod
    def of(cls, battery: Battery) -> Self:
        """Return the file of a connected battery.

        By the manufacturer, not by the type: a device may be reachable in two ways.
        """
        serial = battery.identity.serial_number
        whole = f"{battery.manufacturer}\0{serial}"
        words = [battery.manufacturer[:16], serial[:32]]
        plain = [re.sub(r"[^a-z0-9]+", "-", word.lower()).strip("-") for word in words]
        digest = sha256(whole.encode()).hexdigest()[:8]
        return cls(folder() / f"{'-'.join([*plain, digest])}.json")

    @property
    def log(self) -> Path:
        """Where the guard says what it did."""
        return self.path.with_suffix(".log")

    def load(self) -> HeldDevice | None:
        """Read the file; return None when there is none. Raises StateError."""
        try:
            return _parsed(json.loads(self.path.read_text("utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as err:
            raise StateError(
                f"{self.path} is damaged ({err}), so what its device must be restored "
                "to is not known: release it with --snapshot, or see to it and delete "
                "the file"
            ) from err

    def save(self, held: HeldDevice) -> None:
        """Write the file, and return when it has reached the disk. Raises StateError."""
        new = self.path.with_suffix(".new")
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with new.open("w", encoding="utf-8") as file:
                json.dump({"version": VERSION, **asdict(held)}, file, indent=2)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.path)
            self._sync()
        except OSError as err:
            raise StateError(f"{self.path} cannot be written: {err}") from err

    def remove(self) -> None:
        """Remove the file: the device is restored. Raises StateError."""
        try:
            self.path.unlink(missing_ok=True)
            self._sync()
        except OSError as err:
            raise StateError(f"{self.path} cannot be removed: {err}") from err

    def _sync(self) -> None:
        """Have the folder, and its own name, reach the disk."""
        for each in (self.path.parent, self.path.parent.parent):
            descriptor = os.open(each, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from the device. Raises StateError, InUseError."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = self._open_lock()
        except OSError as err:
            raise StateError(f"{self.path} cannot be locked: {err}") from err
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as err:
                raise InUseError(
                    f"{self.path.stem}: another homebattery command holds this device, "
                    "or is releasing it just now"
                ) from err
            yield

    def _open_lock(self) -> IO[bytes]:
        """Open the file of the lock; on a disk that has become read-only, to read.

        It stays: a lock on a file that was removed keeps nobody out.
        """
        path = self.path.with_suffix(".lock")
        try:
            return path.open("wb")
        except OSError:
            return path.open("rb")

    def is_locked(self) -> bool:
        """Return whether a process holds or restores the device."""
        try:
            with self.locked():
                return False
        except InUseError:
            return True


def files() -> Iterator[StateFile]:
    """Yield the file of each device that is held, or was when its process was killed."""
    yield from map(StateFile, sorted(folder().glob("*.json")))


def _parsed(content: Any) -> HeldDevice:
    """Return what a file says. Raises ValueError."""
    match content:
        case {
            "version": int(version),
            "battery_type": str(battery_type),
            "serial_number": str(serial_number),
            "setup": dict(setup),
            "snapshot": dict(snapshot),
        } if version == VERSION and battery_type in DRIVERS and snapshot:
            types = {
                item.name: type_of(item)
                for item in fields_of(DRIVERS[battery_type])
                if item.name != PASSWORD
            }
            is_reachable = types.keys() & {"host"} <= setup.keys()
            if is_reachable and all(
                type(setup[name]) is types.get(name) for name in setup
            ):
                return HeldDevice(
                    battery_type=battery_type,
                    serial_number=serial_number,
                    setup=setup,
                    snapshot=snapshot,
                )
    raise ValueError("not of the form that it should have")
