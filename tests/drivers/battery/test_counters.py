"""Counters: an impossible value is no value; after a while the device is accepted."""

from dataclasses import replace
from typing import Any, Final

from hypothesis import given, strategies as st
import pytest

from custom_components.homebattery.drivers.battery.counters import (
    Counted,
    CounterFilter,
    Suspect,
)

CHARGED: Final = "energy_charged_total"
IMPORTED: Final = "grid_import_total"
TODAY: Final = "energy_charged_today"
MINUTE: Final = 60.0

# After ten minutes an impossible value is accepted: eleven with the first reading.
LONG: Final = 11


def seen(
    key: str, readings: list[Any], counters: CounterFilter | None = None
) -> list[Any]:
    """Return the accepted values of a counter that is read every minute."""
    counters = counters or CounterFilter()
    accepted = []
    for minute, value in enumerate(readings):
        read = counters.checked({key: value}, now=minute * MINUTE).get(key, value)
        accepted.append(read if counters.counted(key) else None)
    return accepted


def test_a_first_0_is_passed_on_before_it_is_accepted() -> None:
    counters = CounterFilter()
    assert counters.check(CHARGED, 0, 0) == 0
    assert counters.counted(CHARGED) is None


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        pytest.param([10, 10.5, 11.5], [10, 10.5, 11.5], id="counts"),
        pytest.param([10, None, 10.1], [10, None, 10.1], id="unknown once"),
        pytest.param([10, 0, 10.1], [10, None, 10.1], id="bounces to zero"),
        pytest.param([10, *[0] * 99], [10, *[None] * 99], id="never falls to zero"),
        pytest.param([10, 9.9, 10], [10, None, 10], id="goes back a step"),
        pytest.param([10, 6563.5, 10.1], [10, None, 10.1], id="leaps 65535 steps"),
        pytest.param([10, 3, 4711, 3, 10], [10, *[None] * 3, 10], id="garbage"),
        pytest.param([0, 0, 10, 10.1], [None, None, 10, 10.1], id="wakes up"),
        pytest.param([0] * LONG, [*[None] * (LONG - 1), 0], id="is new"),
        pytest.param(
            [10, *[3] * LONG, 3.1],
            [10, *[None] * (LONG - 1), 3, 3.1],
            id="is another one",
        ),
        pytest.param(
            [6553.5, None, *[0.1] * LONG],
            [6553.5, None, *[None] * (LONG - 1), 0.1],
            id="wraps around",
        ),
        pytest.param(
            [10, *[0] * LONG, 0.1],
            [10, *[None] * LONG, 0.1],
            id="is cleared, and accepted as soon as it counts",
        ),
        pytest.param(
            [10, *[3] * 9, 900, *[3] * 9], [10, *[None] * 19], id="must go on counting"
        ),
    ],
)
def test_plausible_readings_are_accepted(
    readings: list[Any], expected: list[Any]
) -> None:
    assert seen(CHARGED, readings) == expected


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        pytest.param([0, 0.1], [0, 0.1], id="begins at zero"),
        pytest.param([10, 0, 10.1], [10, None, 10.1], id="bounces to zero"),
        pytest.param([10, *[0] * LONG], [10, *[None] * (LONG - 1), 0], id="midnight"),
    ],
)
def test_counters_of_a_day_do_start_again(
    readings: list[Any], expected: list[Any]
) -> None:
    assert seen(TODAY, readings) == expected


def test_the_total_is_without_the_offset() -> None:
    """Another counter has counted the offset before."""
    counters = CounterFilter()
    seen(CHARGED, [10, *[4711] * LONG, 4711.5], counters)
    counted = counters.counted(CHARGED)
    assert counted is not None
    assert (counted.value, counted.offset, counted.total) == (4711.5, 4701, 10.5)


@pytest.mark.parametrize(
    ("readings", "total"),
    [
        pytest.param([10, *[64] * LONG, 65], 11, id="a leap"),
        pytest.param([10, *[64] * LONG, 65, *[0] * LONG, 1], 1, id="midnight after it"),
    ],
)
def test_a_leap_of_a_days_counter_is_not_counted_until_it_starts_again(
    readings: list[Any], total: float
) -> None:
    """Its total starts again with it."""
    counters = CounterFilter()
    seen(TODAY, readings, counters)
    assert counters.accepted[TODAY].total == total


@pytest.mark.parametrize(("factor", "value"), [(1, 66), (10, 667), (0.1, 6)])
def test_totals_stay_when_a_counter_is_read_in_another_unit(
    factor: float, value: float
) -> None:
    """It goes on from the value in that unit, which may be whole."""
    counters = CounterFilter()
    seen(CHARGED, [66.7], counters)
    counters.rescale([CHARGED, IMPORTED], factor)
    assert counters.accepted[CHARGED].value == value
    assert counters.check(CHARGED, value + 1, MINUTE) == value + 1
    assert counters.accepted[CHARGED].total == pytest.approx(67.7)
    assert IMPORTED not in counters.accepted


def test_accepted_and_suspect_readings_are_exposed() -> None:
    counters = CounterFilter()
    seen(CHARGED, [10, 3, 3.1], counters)
    assert counters.accepted == {CHARGED: Counted(10, at=0)}
    assert counters.suspect == {CHARGED: Suspect(since=60, value=3.1, at=120)}

    counters.check(CHARGED, 10.1, 180)
    assert counters.accepted == {CHARGED: Counted(10.1, at=180)}
    assert counters.suspect == {}


def test_a_leap_is_measured_by_time_and_by_the_size_of_the_device() -> None:
    """20 kW at the battery and 60 kW at the grid, or three times the rated power."""

    def is_accepted(key: str, growth: float, hours: float, rated: float = 0) -> bool:
        counters = CounterFilter()
        counters.rated_power = rated
        counters.check(key, 10, 0)
        return counters.check(key, 10 + growth, hours * 3600) is not None

    assert is_accepted(CHARGED, 19, hours=1)
    assert not is_accepted(CHARGED, 22, hours=1)
    assert is_accepted(CHARGED, 20 * 26, hours=26)
    assert is_accepted(CHARGED, 89, hours=1, rated=30_000)
    assert is_accepted(IMPORTED, 59, hours=1)
    assert not is_accepted(IMPORTED, 62, hours=1)


def test_a_stored_reading_decides_about_the_first_one() -> None:
    """The first reading after a restart is checked against the stored value."""
    counters = CounterFilter()
    before = Counted(1000, at=-3600, offset=400)
    for first, accepted in ((999, None), (1010, 1010), (7553.5, None)):
        counters.remember(CHARGED, before)
        assert counters.check(CHARGED, first, 0) == accepted
    counters.remember(CHARGED, before)
    assert counters.counted(CHARGED) == before
    counters.check(CHARGED, 1001, 0)
    assert counters.counted(CHARGED) == replace(before, value=1001, at=0)


WORDS: Final = st.one_of(
    st.just(0.0), st.floats(0, 1e4), st.integers(0, 65535).map(lambda word: word / 10)
)


@given(st.lists(st.tuples(WORDS, st.integers(1, 30)), max_size=30))
def test_the_total_never_falls_and_never_leaps(
    readings: list[tuple[float, int]],
) -> None:
    """With any readings, repeated any number of times."""
    counters = CounterFilter()
    now, total, at = 0.0, None, 0.0
    for value, times in readings:
        for _ in range(times):
            now += MINUTE
            if counters.check(CHARGED, value, now) is None:
                continue
            if (counted := counters.counted(CHARGED)) is None:
                assert value == 0
                continue
            if total is not None:
                most = counters.SLACK + counters.MOST_OF_A_BATTERY * (now - at) / 3.6e6
                assert -1e-6 <= counted.total - total <= most + 1e-6
            total, at = counted.total, now
