"""Checks of all drivers' vectors: expected values, and plausible ones."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import pytest

from custom_components.homebattery.drivers.battery.base import Battery
from custom_components.homebattery.drivers.battery.readings import Readings
from custom_components.homebattery.drivers.errors import NotSupportedError
from custom_components.homebattery.drivers.measurements import (
    MEASUREMENTS,
    Quantity,
    Value,
)
from tests.simulators.image import Vector


def by_name(vectors: Iterable[Vector]) -> Iterator[Any]:
    """Return vectors as parameters with their names as ids."""
    return (pytest.param(vector, id=vector["name"]) for vector in vectors)


def assert_expected(vector: Vector, readings: Mapping[str, Value]) -> None:
    """Check that every expected value is there, within its tolerance."""
    tolerances = vector.get("tolerance", {})
    for key, expected in vector["expected"].items():
        seen = readings[key]
        if isinstance(expected, int | float) and not isinstance(expected, bool):
            tolerance = tolerances.get(key, 1e-6)
            assert seen == pytest.approx(expected, abs=tolerance), key
        else:
            assert (list(seen) if isinstance(seen, tuple) else seen) == expected, key


async def read_plausible(battery: Battery) -> Readings:
    """Return all readings, checked against the kind of their keys."""
    readings = await battery.read()
    assert {type(err) for err in readings.failures.values()} <= {NotSupportedError}
    for key, value in readings.items():
        assert value is None or _fits(battery, key, value), key
    return readings


def _fits(battery: Battery, key: str, value: Value) -> bool:
    match MEASUREMENTS[key].quantity:
        case Quantity.STATUS:
            return value in battery.options(key)
        case Quantity.TEXT:
            return isinstance(value, str)
        case Quantity.FLAG:
            return isinstance(value, bool)
        case Quantity.TIMESTAMP:
            return isinstance(value, datetime) and value.tzinfo is not None
        case Quantity.PROBLEMS:
            return isinstance(value, tuple)
        case _:
            return isinstance(value, int | float)
