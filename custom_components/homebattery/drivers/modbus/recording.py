"""The last answers of a device, word by word, to find mistakes from afar.

Redacted is what identifies the device or its user: serial numbers, names, addresses in
the network. Each letter and digit of those becomes a 1, each word of a number a 1, so
that they keep their length and form, and a replayed device its shape.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
import re
from typing import Any, Final

from .device import ModbusDevice
from .register import DataType, Register
from .unit import Recording

_PRIVATE: Final = re.compile(
    r"serial|ssid|(^|_)(host|custom|user)?name$|(^|_)(mac|ip|gateway|netmask|dns)$"
    r"|password|token"
)
_TEXT: Final = re.compile(rb"[0-9A-Za-z]{8,}")
_SHORTEST: Final = 4
"""Bytes of the shortest value whose copies elsewhere are redacted, too."""


def is_private(name: str) -> bool:
    """Return True for the name of a value that identifies the device or its user."""
    return _PRIVATE.search(name) is not None


def redacted(text: str) -> str:
    """Return a placeholder of the same length and form."""
    return re.sub(r"\w", "1", text)


def redacted_answer(answer: Any, private: bool = False) -> Any:
    """Return a JSON value with the private values in it redacted."""
    match answer:
        case dict():
            return {
                key: redacted_answer(answer[key], is_private(key)) for key in answer
            }
        case list():
            return [redacted_answer(each, private) for each in answer]
        case str() if private:
            return redacted(answer)
        case int() | float() if private and not isinstance(answer, bool):
            return 1
    return answer


# Words, as JSON ---------------------------------------------------------------


def raw_words(
    recording: Recording, connects: int, devices: Iterable[ModbusDevice]
) -> dict[str, Any]:
    """Return the last words of a battery's units, and failures, as JSON; redacted."""
    devices = list(devices)
    registers = [
        register for device in devices for register in device.registers.values()
    ]
    missing: dict[str, list[str]] = {}
    for device in devices:
        lacking = (device.registers[name] for name in device.missing)
        missing.setdefault(device.name, []).extend(
            f"{register.address} ({register.name})"
            for register in sorted(lacking, key=lambda register: register.address)
        )
    return {
        "connects": connects,
        "requests": recording.requests,
        "units": {
            str(unit): _runs(_without_private(words, registers))
            for unit, words in sorted(recording.words.items())
            if words
        },
        "missing": {name: lacking for name, lacking in missing.items() if lacking},
        "refused": {
            str(unit): dict(reads)
            for unit, reads in sorted(recording.refused.items())
            if reads
        },
    }


def _runs(words: Mapping[int, int]) -> dict[str, list[int]]:
    """Return consecutive words as lists, by the address of the first one."""
    return {
        str(addresses[0]): [words[each] for each in addresses]
        for addresses in _consecutive(words)
    }


def _consecutive(addresses: Iterable[int]) -> Iterator[list[int]]:
    numbered = enumerate(sorted(addresses))
    for _, run in groupby(numbered, key=lambda each: each[1] - each[0]):
        yield [address for _, address in run]


def _without_private(
    words: Mapping[int, int], registers: Iterable[Register]
) -> dict[int, int]:
    """Return the words of a unit with serial numbers and names redacted.

    Also where the same ones are repeated, and text in words of no known register. An
    address has the same meaning in all units of a battery, so these share one table.
    """
    redacted = dict(words)
    known: set[int] = set()
    elsewhere: dict[bytes, bytes] = {}
    for register in registers:
        addresses = range(register.address, register.end)
        known.update(addresses)
        if not is_private(register.name) or any(
            each not in words for each in addresses
        ):
            continue
        came = _bytes(words[each] for each in addresses)
        is_text = register.data_type is DataType.STRING
        placeholder = _redacted_text(came) if is_text else _redacted_number(came)
        redacted.update(zip(addresses, _words(placeholder), strict=True))
        # The same one elsewhere, at whichever byte it begins there.
        part = came.strip(b"\0 ") if is_text else came
        if len(part) >= _SHORTEST and len(set(part)) > 1:
            elsewhere[part] = (
                _redacted_text(part) if is_text else _redacted_number(part)
            )
    for run in _consecutive(redacted):
        text = _bytes(redacted[each] for each in run)
        for part, placeholder in elsewhere.items():
            text = text.replace(part, placeholder)
        redacted.update(zip(run, _words(text), strict=True))
    for run in _consecutive(redacted.keys() - known):
        text = _bytes(redacted[each] for each in run)
        text = _TEXT.sub(lambda match: _redacted_text(match[0]), text)
        redacted.update(zip(run, _words(text), strict=True))
    return redacted


def _bytes(words: Iterable[int]) -> bytes:
    return b"".join(word.to_bytes(2) for word in words)


def _words(text: bytes) -> list[int]:
    return [int.from_bytes(text[at : at + 2]) for at in range(0, len(text), 2)]


def _redacted_text(text: bytes) -> bytes:
    return redacted(text.decode("latin-1")).encode("latin-1")


def _redacted_number(number: bytes) -> bytes:
    """Return a 1 for each word; 'none' (0) and 'not available' stay as they are."""
    if number.strip(b"\0") == b"" or number.strip(b"\xff") == b"":
        return number
    return b"\0\1" * (len(number) // 2)
