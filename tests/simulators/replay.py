"""A device made of a diagnostics file: it answers with the values last read.

    async with replay(json.loads(text)) as device:
    ...                     # talk to device.host, device.port (device.setup has it all)

It stands still, and is otherwise as an image of a vector is: words that are not in the
file are refused, and written words can be read back. Serial numbers, names and
addresses are placeholders, password and serial number of a data logger those of the
simulators. An RTU gateway becomes Modbus TCP.
"""

import json
from pathlib import Path
from typing import Any, Final

from .http_server import Json
from .image import HttpImage, ModbusImage, Vector, VectorUnits, serve
from .solarman import SERIAL, SolarmanLogger

_NOT_REPLAYED: Final = frozenset(
    ("battery_type", "host", "port", "username", "password", "logger_serial", "framing")
)

type Replayed = ModbusImage | HttpImage | ReplayedLogger


class ReplayedLogger(SolarmanLogger):
    """A vector of registers behind a data logger."""

    units: VectorUnits

    def __init__(
        self, vector: Vector, *, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        """Prepare to serve the vector."""
        super().__init__(VectorUnits(vector), host, port, serial=SERIAL)
        self.vector = vector

    @property
    def setup(self) -> Json:
        """Settings that a user would enter to reach this device."""
        return {
            "host": self.host,
            "port": self.port,
            **self.vector["setup"],
            "logger_serial": self.serial,
        }


def replay(file: Json, *, host: str = "127.0.0.1", port: int = 0) -> Replayed:
    """Return the device of a diagnostics file, not yet started.

    Accepts Home Assistant's download, or only the integration's own part of it.
    """
    vector = vector_of(file)
    if vector["battery_type"] == "deye_solarman":
        return ReplayedLogger(vector, host=host, port=port)
    return serve(vector, host=host, port=port)


def replay_file(path: Path, *, host: str = "127.0.0.1", port: int = 0) -> Replayed:
    """Return the device of a diagnostics file on disk, not yet started."""
    return replay(json.loads(path.read_text("utf-8")), host=host, port=port)


def vector_of(file: Json) -> Vector:
    """Return a diagnostics file as a vector, the format that tests are made from.

    Raises ValueError for another file, or one of a device that was not read.
    """
    data: dict[str, Any] = file if "entry" in file else file.get("data", {})
    if "entry" not in data:
        raise ValueError("This is not a diagnostics file of a home battery")
    entry, raw = data["entry"], data.get("raw", {})
    vector: Vector = {
        "battery_type": entry["data"]["battery_type"],
        "name": "replay",
        "setup": {
            name: value
            for name, value in {**entry["data"], **entry.get("found", {})}.items()
            if name not in _NOT_REPLAYED
        },
        # Words between those in the file were absent, or not asked for.
        "unused_word": None,
    }
    if "answers" in raw:
        answers = raw["answers"].items()
        vector["responses"] = {f"GET {path}": answer for path, answer in answers}
    elif "units" in raw:
        vector["units"] = {
            unit: {
                str(int(first) + offset): word
                for first, words in runs.items()
                for offset, word in enumerate(words)
            }
            for unit, runs in raw["units"].items()
        }
        for unit, refusals in raw.get("refused", {}).items():
            # A unit that is there, without any of the registers that were asked for.
            if any("IllegalAddress" in each for each in refusals.values()):
                vector["units"].setdefault(unit, {})
    else:
        raise ValueError("Nothing was read from the device of this file")
    return vector
