"""Uses of pysolarmanv5 besides its public methods, which pin its version.

Another version may pass every test and still call its private methods differently:
before the pin moves, read their changes.
"""

from asyncio import StreamReader, StreamWriter
from importlib.metadata import version
import inspect
import logging
from typing import Any, Final
from unittest.mock import Mock

from hypothesis import given, strategies as st
import pytest

from custom_components.homebattery.drivers.modbus.rtu import words_of
from custom_components.homebattery.drivers.solarman.frames import (
    LoggerClient,
    PySolarmanV5Async,
    checksum,
    parse_response_adu,
)

from .v5_logger import rtu

VERSION: Final = "3.0.6"

OVERRIDDEN: Final = {
    "_send_receive_v5_frame": ["data_logging_stick_frame"],
    "_send_receive_modbus_frame": ["mb_request_frame"],
    "_get_modbus_response": ["mb_request_frame"],
}
"""Private coroutines of the library that are replaced, and their arguments.

The first sends a frame and waits for the answer: the library's takes each TCP segment
for a frame. The second passes on the answer, which is checked against the request. The
third takes the words out of it, in a fifth of the time.
"""

REPLACED: Final = {"_calculate_v5_frame_checksum": ["frame"]}
"""Private functions of the library that are replaced, and their arguments.

This one adds up the bytes of a frame, as the library's does, but faster.
"""

CALLED: Final = {"_handle_double_crc": ["frame"]}
"""Private functions of the library that are called, and their arguments."""

ATTRIBUTES: Final = {"mb_slave_id", "sequence_number"}
"""Attributes of the library's that are set or read."""


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_version_is_the_one_that_was_read() -> None:
    """The manifest asks for the installed one: tests/project/test_manifest.py."""
    assert version("pysolarmanv5") == VERSION


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_replaced_coroutines_have_the_same_parameters(name: str) -> None:
    original = getattr(PySolarmanV5Async, name)
    replacement = getattr(LoggerClient, name)
    assert inspect.iscoroutinefunction(original)
    assert inspect.iscoroutinefunction(replacement)
    assert (
        parameters(original) == parameters(replacement) == ["self", *OVERRIDDEN[name]]
    )


@pytest.mark.parametrize("name", REPLACED)
def test_replaced_functions_have_the_same_parameters(name: str) -> None:
    original = getattr(PySolarmanV5Async, name)
    replacement = getattr(LoggerClient, name)
    assert parameters(original) == parameters(replacement) == REPLACED[name]


@given(st.binary(min_size=13, max_size=300))
def test_checksum_is_that_of_the_library(frame: bytes) -> None:
    library: Any = PySolarmanV5Async
    assert checksum(frame) == library._calculate_v5_frame_checksum(frame)


@given(st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=125))
def test_words_are_those_that_the_library_takes(words: list[int]) -> None:
    body = b"".join(each.to_bytes(2) for each in words)
    request, answer = rtu(1, 3, 0, 0, 0, len(words)), rtu(1, 3, len(body), *body)
    assert words_of(answer) == parse_response_adu(answer, request) == words


@pytest.mark.parametrize("place", [0, 1, 2, 3, 8, -2, -1])
def test_words_of_a_wrong_checksum_are_not_taken(place: int) -> None:
    answer = bytearray(rtu(1, 3, 6, 1, 2, 3, 4, 5, 6))
    answer[place] ^= 0x10
    assert words_of(bytes(answer)) is None


@pytest.mark.parametrize("name", CALLED)
def test_called_functions_have_the_expected_parameters(name: str) -> None:
    original = getattr(PySolarmanV5Async, name)
    assert not inspect.iscoroutinefunction(original)
    assert parameters(original) == ["self", *CALLED[name]]


def test_nothing_else_takes_the_place_of_something_of_the_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A new name of the library may be one that is used here already."""
    logger = logging.getLogger(__name__)
    original = PySolarmanV5Async("127.0.0.1", 1, logger=logger)
    assert vars(original).keys() >= ATTRIBUTES
    monkeypatch.setattr(PySolarmanV5Async, "__init__", lambda *_, **__: None)
    reader, writer = Mock(StreamReader), Mock(StreamWriter)
    replacement = LoggerClient("127.0.0.1", 1, reader, writer)
    names = {
        name for name in vars(replacement) | vars(LoggerClient) if name[:2] != "__"
    }
    assert {name for name in names if hasattr(original, name)} == {
        *OVERRIDDEN,
        *REPLACED,
    }
