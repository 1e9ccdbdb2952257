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
    hours = 10_000 / abs(watts)
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


class Counting:
    """A battery that charges with 3 kW, its counters, and a watch that reads them."""

    def __init__(self, kwh_per_count: float = 1, late: float = 0) -> None:
        """Count `kwh_per_count`, `late` s after the power."""
        self.watch = CounterUnitWatch()
        self.kwh_per_count = kwh_per_count
        self._late = late
        self._now = self._kwh = 0.0

    def count(self, kwh: float, damage: int = 0) -> set[CounterUnit | None]:
        """Let so much energy pass, kWh; return the units seen. The first count is damaged."""
        seen: set[CounterUnit | None] = set()
        end = self._now + 1200 * kwh
        while self._now < end:
            late = max(0, self._now - self._late)
            counts = 48_213 + int(late / 1200 / self.kwh_per_count)
            self.watch.note_power(3000, self._now)
            self.watch.note_counts(counts + damage)
            seen.add(self.watch.unit)
            damage = 0
            self._now += 60
        return seen


@pytest.mark.parametrize("damage", [4, -4, 30, 20_000])
@pytest.mark.parametrize("kwh_per_count", [0.1, 1])
def test_one_damaged_count_shows_no_unit(kwh_per_count: float, damage: int) -> None:
    """Whether it comes at first or between good ones, before or after the unit."""
    unit = CounterUnit.WHOLE if kwh_per_count == 1 else CounterUnit.TENTHS
    meter = Counting(kwh_per_count)
    for kwh in (0.5, 1.3, 2.5, 4, 20, 4, 20):
        assert meter.count(kwh, damage) <= {None, unit}
    assert meter.watch.unit is unit


@pytest.mark.parametrize("late", [70, 180, 600, 1200])
def test_counters_that_are_late_show_their_own_unit(late: float) -> None:
    """They stand still while the power is there already: no energy is counted yet."""
    meter = Counting(kwh_per_count=0.1, late=late)
    assert meter.count(20) == {None, CounterUnit.TENTHS}


def test_a_unit_is_corrected_when_two_judgements_agree() -> None:
    """The unit that was seen is never final."""
    meter = Counting(kwh_per_count=0.1)
    assert meter.count(5) == {None, CounterUnit.TENTHS}
    meter.kwh_per_count = 1
    assert meter.count(20) == {CounterUnit.TENTHS, CounterUnit.WHOLE}


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
