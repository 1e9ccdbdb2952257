"""Python environments below .cache, each with another library and nothing else."""

import asyncio
from collections.abc import Sequence
import os
from pathlib import Path
import shutil
import sys
from typing import Final

from .devices import ROOT

FOLDER: Final = ROOT / ".cache" / "benchmarks" / "environments"
UV: Final = Path(sys.executable).with_name("uv")
"""Comes with Home Assistant."""
CERTIFICATES: Final = {"UV_SYSTEM_CERTS": "true"}
"""Lets uv take the certificates that the machine trusts."""
THIS_PYTHON: Final = str(Path(sys.executable).resolve())


async def python_with(name: str, python: str, packages: Sequence[str]) -> Path | None:
    """Return the Python of an environment with packages; None if it cannot be made.

    It is made once. `python` is a path or a version.
    """
    folder = FOLDER / name
    interpreter = folder / "bin" / "python"
    stamp, wanted = folder / "packages.txt", "\n".join((python, *packages))
    if stamp.is_file() and stamp.read_text() == wanted:
        return interpreter
    shutil.rmtree(folder, ignore_errors=True)
    made = await _uv("venv", "--python", python, str(folder)) and await _uv(
        "pip", "install", "--python", str(interpreter), *packages
    )
    if not made:
        return None
    stamp.write_text(wanted)
    return interpreter


async def _uv(*arguments: str) -> bool:
    """Run uv; return whether it succeeded."""
    process = await asyncio.create_subprocess_exec(
        *(str(UV), *arguments, "--no-config", "--quiet"),
        env={**CERTIFICATES, **os.environ},
    )
    return await process.wait() == 0
