"""The unit of a high-voltage Deye's counters, seen from growth and power."""

import pytest

from custom_components.homebattery.drivers.deye.counter_unit import (
    CounterUnit,
    CounterUnitWatch,
    unit_of,
)
from custom_components.homebattery.drivers.deye.registers import Kind


def watch(
    watts: float | None,
    kwh_per_count: float,
    *,
    hours: float = 6,
    seconds: int = 60,
    losses: float = 0.0,
) -> CounterUnit | None:
    """Return the unit that is seen at a constant power, with a read each `seconds`."""
    watched = CounterUnitWatch()
    for now in range(0, round(hours * 3600), seconds):
        watched.note_power(watts, now)
        kwh = abs(watts or 500) * (1 - losses) * now / 3_600_000
        watched.note_counts(48_213 + int(kwh / kwh_per_count + 0.9))
    return watched.unit


@pytest.mark.parametrize("losses", [0, 0.2, -0.2])
@pytest.mark.parametrize("watts", [-250, 900, 12_000])
@pytest.mark.parametrize(
    ("kwh_per_count", "unit"), [(0.1, CounterUnit.TENTHS), (1, CounterUnit.WHOLE)]
)
def test_unit_is_that_of_the_growth(
    kwh_per_count: float, unit: CounterUnit, watts: float, losses: float
) -> None:
    """At any power in either direction, and where the counter counts less."""
    hours = 5000 / abs(watts)
    assert watch(watts, kwh_per_count, losses=losses, hours=hours) is unit


@pytest.mark.parametrize(
    ("watts", "seconds"),
    [
        pytest.param(150, 60, id="little power"),
        pytest.param(None, 60, id="no power"),
        pytest.param(2000, 400, id="seldom read"),
    ],
)
def test_unit_is_unknown_without_a_power_that_is_enough(
    watts: float | None, seconds: int
) -> None:
    """So nothing is concluded."""
    assert watch(watts, 0.1, seconds=seconds) is None


def test_counters_that_stand_still_or_leap_show_no_unit() -> None:
    """A counter that is not updated, or takes a damaged value, says nothing."""
    watched = CounterUnitWatch()
    for now in range(0, 36_000, 60):
        watched.note_power(5000, now)
        watched.note_counts(48_213 if now < 18_000 else 1_048_213)
    assert watched.unit is None


@pytest.mark.parametrize(
    ("kind", "release", "unit"),
    [
        (Kind.HIGH_VOLTAGE, 0x1097, CounterUnit.TENTHS),
        (Kind.HIGH_VOLTAGE, 0x1098, CounterUnit.WHOLE),
        (Kind.HIGH_VOLTAGE, 0x1184, CounterUnit.WHOLE),
        (Kind.HIGH_VOLTAGE, 0, None),
        (Kind.THREE_PHASE, 0x1184, CounterUnit.TENTHS),
        (Kind.THREE_PHASE, 0, CounterUnit.TENTHS),
        (Kind.SINGLE_PHASE, 0, CounterUnit.TENTHS),
    ],
)
def test_unit_follows_from_kind_and_release(
    kind: Kind, release: int, unit: CounterUnit | None
) -> None:
    """Except for high voltage and a release with a letter, which is 0 here."""
    assert unit_of(kind, release) is unit
