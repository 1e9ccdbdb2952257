"""Results of parts, kept until the part is measured anew."""

from datetime import UTC, datetime
import json
import os
from pathlib import Path
import platform
import subprocess
import time
from typing import Final, NamedTuple

from .devices import ROOT
from .tables import Part, Result

FOLDER: Final = ROOT / ".cache" / "benchmarks" / "results"
PAGE: Final = ROOT / "docs" / "performance.md"
CHANGED: Final = "+"
"""Mark behind a commit that files differed from."""


class Kept(NamedTuple):
    """The result of a part, and when, where, and of which commit it was measured."""

    date: str
    machine: str
    commit: str
    seconds: float
    result: Result


async def measured(part: Part, *, short: bool) -> Kept:
    """Run a part."""
    began = time.monotonic()
    result = await part.run(short)
    return Kept(
        datetime.now(UTC).date().isoformat(),
        f"{os.cpu_count()} cores, Python {platform.python_version()}",
        commit(),
        time.monotonic() - began,
        result,
    )


def commit(root: Path = ROOT) -> str:
    """Return the commit that is checked out, with a + if files differ from it.

    The page itself does not count: each part that is measured makes it anew.
    """
    name = _git(root, "describe", "--always", "--abbrev=7")
    changes = _git(
        *(root, "status", "--porcelain", "--untracked-files=no"),
        *("--", ".", f":(exclude){PAGE.relative_to(ROOT)}"),
    )
    return f"{name}{CHANGED}" if changes else name


def _git(root: Path, *command: str) -> str:
    return subprocess.check_output(("git", *command), cwd=root, text=True).strip()


def keep(folder: Path, name: str, kept: Kept) -> None:
    """Write the result of a part to disk."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(kept._asdict(), indent=2, ensure_ascii=False)
    (folder / f"{name}.json").write_text(text + "\n", "utf-8")


def kept_in(folder: Path, name: str) -> Kept | None:
    """Return the result of a part; None if it was never measured."""
    path = folder / f"{name}.json"
    return Kept(**json.loads(path.read_text("utf-8"))) if path.is_file() else None
