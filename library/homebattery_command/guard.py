"""A process beside `set-power` that releases the battery should that be killed.

It waits at a pipe whose other end only the command has. When the command is gone and
its file is still there, the device is restored from the file. A password comes
through the pipe: it is neither on a disk nor among the arguments.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
import json
import logging
import os
from pathlib import Path
import select
import signal
import subprocess
import sys
from typing import Final, TextIO

from homebattery import DRIVERS, BatteryError

from .parser import PASSWORD_VARIABLE
from .restoring import restore
from .state import HeldDevice, InUseError, StateError, StateFile

TRIES: Final = 120
PAUSE: Final = 5.0
"""The most seconds between two of them. The first are shorter: a process that is killed
may close its end of the pipe before it frees the lock."""
START_LIMIT: Final = 30.0
"""Seconds until a guard that does not say that it is there is given up."""
READY: Final = "ready\n"

_LOGGER = logging.getLogger(__name__)


# In the command ---------------------------------------------------------------


class Guard:
    """The guard of one held device, as the command sees it."""

    def __init__(self, file: StateFile, secrets: Mapping[str, str]) -> None:
        """Start it, and wait until it watches. Raises StateError when it does not."""
        package = Path(__file__).parent
        paths = [str(package.parent), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        environment.pop(PASSWORD_VARIABLE, None)
        # -P: modules in the folder where the command was started are not Python's.
        command = [sys.executable, "-P", "-m", f"{package.name}.guard", str(file.path)]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
                text=True,
            )
            self._introduce(secrets)
        except OSError as err:
            raise StateError(f"nothing was written: no guard ({err})") from err

    def _introduce(self, secrets: Mapping[str, str]) -> None:
        """Send the secrets, and wait for the answer. Raises OSError."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            with self._process.stdout as answers:
                self._process.stdin.write(f"{json.dumps(dict(secrets))}\n")
                self._process.stdin.flush()
                if not select.select([answers], [], [], START_LIMIT)[0]:
                    raise TimeoutError("it keeps silent")
                if answers.readline() != READY:
                    raise BrokenPipeError("it has ended")
        except OSError:
            self._process.kill()
            self.dismiss()
            raise

    def dismiss(self) -> int:
        """End it, since the device is restored; return its exit status."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        return self._process.wait()


# In the process of its own ------------------------------------------------------


def main(path: str) -> None:
    """Wait until the command has gone, then restore the device if it is still held."""
    # It ends by itself: when the device is restored, or has not answered for long.
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    file = StateFile(Path(path))
    secrets = wait_for_end(sys.stdin, sys.stdout)
    if file.path.exists():
        _log_to(file.log)
        asyncio.run(restore_file(file, secrets))


def _log_to(path: Path) -> None:
    """Log to a file; not at all where it cannot be written: restoring comes first."""
    with suppress(OSError):
        logging.basicConfig(
            filename=path,
            filemode="w",
            format="%(asctime)s %(levelname)s %(message)s",
            level=logging.INFO,
        )


def wait_for_end(command: TextIO, answers: TextIO) -> dict[str, str]:
    """Say that the guard is there, and wait; return what the command has sent."""
    secrets: dict[str, str] = json.loads(command.readline() or "{}")
    try:
        answers.write(READY)
        answers.flush()
    except BrokenPipeError:
        _LOGGER.debug("The command has gone already")
    command.read()
    return secrets


async def restore_file(file: StateFile, secrets: Mapping[str, str]) -> None:
    """Restore the device of a file, trying again while that fails.

    The lock is free between two tries, so that a person may be faster.
    """
    for attempt in range(TRIES):
        if attempt:
            await asyncio.sleep(min(PAUSE, 0.1 * 2**attempt))
        try:
            with file.locked():
                held = file.load()
                if held is not None:
                    await _restore(held, secrets)
                    file.remove()
                    _LOGGER.info("%s: released, since its command was killed", held)
                return
        except StateError as err:
            if not isinstance(err, InUseError):
                _LOGGER.error("%s", err)
                return
        except BatteryError as err:
            _LOGGER.warning("%s", err)
    _LOGGER.error("%s: given up", file.path)


async def _restore(held: HeldDevice, secrets: Mapping[str, str]) -> None:
    """Connect, restore, close. Raises what the driver raises."""
    driver = DRIVERS[held.battery_type]
    async with driver.from_setup({**held.setup, **secrets}) as battery:
        await restore(battery, held)


if __name__ == "__main__":
    main(sys.argv[1])
