"""The processes the demo starts, and stops again whatever happens."""

import asyncio
from collections.abc import Coroutine, Mapping
from contextlib import suppress
import os
from pathlib import Path
import secrets
import shutil
import signal
import socket
from typing import Any, Final, Self

PORTS: Final = range(20000, 30000)
"""Ports to listen on later: a system gives none of these to who asks for any port."""


def free_port() -> int:
    """Return a port on 127.0.0.1 that is free now, and that only who names it takes.

    A simulated device that listens on any port could else get it before Home Assistant,
    which then listens elsewhere.
    """
    while not is_free(port := secrets.choice(PORTS)):
        pass
    return port


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Return True when this port is free, and may be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


class Child:
    """A child process; its output goes to files."""

    def __init__(
        self, name: str, process: asyncio.subprocess.Process, out: Path
    ) -> None:
        """Hold a started process; use start() to make one."""
        self.name = name
        self.out = out
        self._process = process

    @classmethod
    async def start(
        cls,
        name: str,
        command: list[str],
        *,
        folder: Path,
        out: Path,
        err: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Self:
        """Start the command, with its output in the file `out` and its errors in `err`."""
        # In a session of its own, Ctrl-C in the terminal does not reach it:
        # children are stopped in turn. Should this one be killed, the kernel stops them.
        if setpriv := shutil.which("setpriv"):
            command = [setpriv, "--pdeathsig", "TERM", *command]
        with (
            out.open("wb") as stdout,
            (err or Path(os.devnull)).open("wb") as stderr,
        ):
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr if err else asyncio.subprocess.STDOUT,
                cwd=folder,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        return cls(name, process, out)

    @property
    def exit_status(self) -> int | None:
        """The exit status, or None while it runs."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait until it ends by itself."""
        return await self._process.wait()

    async def stop(self, *, seconds: float) -> int:
        """Ask it to end, and end it by force when it does not; return its exit status."""
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(seconds):
                return await self._process.wait()
        except TimeoutError:
            print(f"{self.name} did not stop within {seconds:.0f} s and was killed.")
            return await self.kill()

    async def kill(self) -> int:
        """End it by force, with all it may have started itself."""
        self._signal(signal.SIGKILL)
        return await self._process.wait()

    def last_words(self, lines: int = 20) -> str:
        """Return the end of its output."""
        text = self.out.read_text(errors="replace").splitlines()
        return "\n".join(f"  | {line}" for line in text[-lines:])

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)


async def until_signal(work: Coroutine[Any, Any, bool]) -> int:
    """Work until a first signal; later ones do not interrupt the stopping.

    Returns the exit status: 0 if the work returned True.
    """
    task = asyncio.create_task(work)
    signals: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        if not signals:
            print("\nStopping …", flush=True)
            task.cancel()
        signals.append(number)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop, number)
    try:
        good = await task
    except asyncio.CancelledError:
        return 128 + signals[0] if signals else 1
    return 0 if good else 1
