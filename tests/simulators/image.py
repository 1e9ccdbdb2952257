"""A device that stands still: it answers exactly with the values of a test vector.

    async with serve(vector) as image:
        ...                     # talk to image.host, image.port (image.setup has it all)
        assert image.writes == [(227, 37, [0, 1, 1])]      # Modbus
        assert image.posts == [("POST", "/api/…", {...})]  # REST

Writes are kept, so that they can be read back; they have no other effect.
"""

from collections.abc import Iterator
import copy
import json
from pathlib import Path
from typing import Any, Final

from .http_server import UNKNOWN_PATH, Answer, Json, JsonServer, Request
from .modbus import (
    ILLEGAL_ADDRESS,
    NO_RESPONSE,
    PATH_UNAVAILABLE,
    Refused,
    Units,
    Write,
)
from .modbus_server import ModbusServer

VECTORS: Final = Path(__file__).parents[1] / "drivers/vectors"

type Vector = dict[str, Any]

OTHER_UNIT: Final = {"victron": PATH_UNAVAILABLE}
"""Answer of an absent unit id; most devices stand behind a gateway that answers 11."""

UNUSED_WORD: Final = {"sma": 0xFFFF}
"""Word between two known registers, where reading it is no error."""

PASSWORD: Final = "SECRET12"


def load(battery_type: str) -> list[Vector]:
    """Return the vectors of tests/drivers/vectors/`battery_type`.json."""
    vectors: list[Vector] = json.loads(
        (VECTORS / f"{battery_type}.json").read_text("utf-8")
    )
    return vectors


def serve(
    vector: Vector, *, host: str = "127.0.0.1", port: int = 0
) -> ModbusImage | HttpImage:
    """Return a vector's server, not yet started; an asynchronous context manager."""
    image = ModbusImage if "units" in vector else HttpImage
    return image(vector, host=host, port=port)


class VectorUnits(Units):
    """The registers of a vector."""

    def __init__(self, vector: Vector) -> None:
        """Take over the words of the vector."""
        super().__init__()
        kind = vector["battery_type"]
        self.units: dict[int, dict[int, int]] = {
            int(unit): {int(address): word for address, word in words.items()}
            for unit, words in vector["units"].items()
        }
        self.damaged: dict[int, int] = dict(vector.get("damaged", {}))
        """Words that are other ones in their next read only, by address."""
        self._other_unit = OTHER_UNIT.get(kind, NO_RESPONSE)
        self._unused_word: int | None = vector.get("unused_word", UNUSED_WORD.get(kind))
        # Some registers can only be written; reading them stays an error.
        self._write_only = {
            (unit, address + offset)
            for unit, address, words in _vector_writes(vector)
            for offset in range(len(words))
            if address + offset not in self.units.get(unit, {})
        }

    def read(self, unit: int, address: int, count: int) -> list[int]:
        """Return the words if all of them are there; damage is gone after that."""
        addresses = range(address, address + count)
        damaged = {
            each: self.damaged.pop(each) for each in addresses if each in self.damaged
        }
        words = {**self._unit(unit), **damaged}
        unused = self._unused_word
        if unused is not None and address in words and addresses[-1] in words:
            return [words.get(each, unused) for each in addresses]
        if any(each not in words for each in addresses):
            raise Refused(ILLEGAL_ADDRESS)
        return [words[each] for each in addresses]

    def write(self, unit: int, address: int, words: list[int]) -> None:
        """Keep the words if there is a register for each."""
        known = self._unit(unit)
        targets = [(address + offset, word) for offset, word in enumerate(words)]
        if any(
            each not in known and (unit, each) not in self._write_only
            for each, _ in targets
        ):
            raise Refused(ILLEGAL_ADDRESS)
        known.update((each, word) for each, word in targets if each in known)

    def _unit(self, unit: int) -> dict[int, int]:
        if unit not in self.units:
            raise Refused(self._other_unit)
        return self.units[unit]


def _vector_writes(vector: Vector) -> Iterator[tuple[int, int, list[int]]]:
    """Yield each (unit, address, words) that the vector expects or allows to write."""
    for action in vector.get("writes", []):
        for key in ("expect_writes", "or_single_write", "optional_writes"):
            yield from action.get(key, [])


class ModbusImage(ModbusServer):
    """A vector of registers behind Modbus TCP."""

    units: VectorUnits

    def __init__(
        self, vector: Vector, *, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        """Prepare to serve the vector."""
        super().__init__(VectorUnits(vector), host, port)
        self.vector = vector

    @property
    def setup(self) -> Json:
        """Settings that a user would enter to reach this device."""
        if "setup" in self.vector:
            return {"host": self.host, "port": self.port, **self.vector["setup"]}
        ids = self.vector.get("unit_ids")
        if ids is None:
            return {
                "host": self.host,
                "port": self.port,
                "unit_id": min(self.units.units),
            }
        return {
            "host": self.host,
            "port": self.port,
            "unit_id": ids["vebus"],
            "battery_unit_id": ids["battery"],
            "grid_unit_id": ids["grid"],
        }

    @property
    def writes(self) -> list[Write]:
        """All accepted writes, oldest first; each equal to (unit, address, [words])."""
        return self.traffic.writes


class HttpImage(JsonServer):
    """A vector of responses behind HTTP with a password."""

    # Place of a posted value: POST path → its key; GET path, object in it, key.
    _READ_BACK: Final = {
        "/api/v1/power/active_strategy": (
            "strategy",
            ("/api/v1/power/active_strategy", None, "strategy"),
        ),
        "/api/v1/power/setpoint": (
            "setpoint",
            ("/api/v1/power/status", "sessy", "power_setpoint"),
        ),
        "/api/v1/meter/grid_target": (
            "grid_target",
            ("/api/v1/meter/grid_target", None, "grid_target"),
        ),
    }
    _SETTINGS: Final = "/api/v1/system/settings"

    def __init__(
        self, vector: Vector, *, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        """Prepare to serve the vector."""
        self.vector = vector
        self.responses: dict[str, Json] = copy.deepcopy(vector["responses"])
        info = self.responses.get("GET /api/v1/system/info", {})
        kind = "P" if "GET /api/v2/p1/details" in self.responses else "D"
        username = info.get("self_serial", f"{kind}0000001")
        super().__init__(host, port, username=username, password=PASSWORD)

    @property
    def setup(self) -> Json:
        """Settings that a user would enter to reach this device."""
        return {
            "host": self.host,
            "port": self.port,
            "username": self.username,
            "password": self.password,
        }

    async def answer(self, request: Request) -> Answer:
        """Answer from the vector, or keep a posted value."""
        if request.method == "POST":
            return self._post(request.path, request.body)
        body = self.responses.get(f"{request.method} {request.path}")
        if body is None:
            return UNKNOWN_PATH
        if "__http_status__" in body:
            return Answer("", body["__http_status__"])
        return Answer(body)

    def _post(self, path: str, body: Json | None) -> Answer:
        """Change the answers of later GETs."""
        if (
            path == self._SETTINGS
            and f"GET {path}" in self.responses
            and body is not None
        ):
            self.responses[f"GET {path}"] = {**body, "status": "ok"}
            return Answer({"status": "ok"})
        if path not in self._READ_BACK:
            return UNKNOWN_PATH
        posted, (where, part, key) = self._READ_BACK[path]
        shown = self.responses.get(f"GET {where}")
        if shown is None:
            return UNKNOWN_PATH
        if body is None or posted not in body:
            return Answer("Bad request", 400)
        (shown if part is None else shown[part])[key] = body[posted]
        return Answer({"status": "ok"})
