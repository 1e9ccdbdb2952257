"""Counters: what cannot be is no value, and what is true is seen after a while."""

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

# Ten minutes make the impossible true: with the first reading that is eleven.
LONG: Final = 11


def seen(
    key: str, readings: list[Any], watch: CounterFilter | None = None
) -> list[Any]:
    """Return what is believed of a counter that is looked at every minute."""
    watch = watch or CounterFilter()
    accepted = []
    for minute, value in enumerate(readings):
        read = watch.checked({key: value}, now=minute * MINUTE).get(key, value)
        accepted.append(read if watch.counted(key) else None)
    return accepted


def test_a_first_0_is_passed_on_although_it_is_not_believed_yet() -> None:
    watch = CounterFilter()
    assert watch.check(CHARGED, 0, 0) == 0
    assert watch.counted(CHARGED) is None


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
            id="is cleared, and believed as soon as it counts",
        ),
        pytest.param(
            [10, *[3] * 9, 900, *[3] * 9], [10, *[None] * 19], id="must go on counting"
        ),
    ],
)
def test_counters_are_believed_when_they_can_be(
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


def test_what_has_not_been_counted_is_told() -> None:
    """Whoever adds up does not count what another counter has counted before."""
    watch = CounterFilter()
    seen(CHARGED, [10, *[4711] * LONG, 4711.5], watch)
    counted = watch.counted(CHARGED)
    assert counted is not None
    assert (counted.value, counted.offset, counted.total) == (4711.5, 4701, 10.5)


def test_what_is_believed_and_what_is_not_can_be_looked_at() -> None:
    watch = CounterFilter()
    seen(CHARGED, [10, 3, 3.1], watch)
    assert watch.accepted == {CHARGED: Counted(10, at=0)}
    assert watch.suspect == {CHARGED: Suspect(since=60, value=3.1, at=120)}

    watch.check(CHARGED, 10.1, 180)
    assert watch.accepted == {CHARGED: Counted(10.1, at=180)}
    assert watch.suspect == {}


def test_a_leap_is_measured_by_time_and_by_the_size_of_the_device() -> None:
    """20 kW at the battery and 60 kW at the grid, or three times what is rated."""

    def is_believed(key: str, growth: float, hours: float, rated: float = 0) -> bool:
        watch = CounterFilter()
        watch.rated_power = rated
        watch.check(key, 10, 0)
        return watch.check(key, 10 + growth, hours * 3600) is not None

    assert is_believed(CHARGED, 19, hours=1)
    assert not is_believed(CHARGED, 22, hours=1)
    assert is_believed(CHARGED, 20 * 26, hours=26)
    assert is_believed(CHARGED, 89, hours=1, rated=30_000)
    assert is_believed(IMPORTED, 59, hours=1)
    assert not is_believed(IMPORTED, 62, hours=1)


def test_an_earlier_life_tells_what_can_be_now() -> None:
    """The first reading of this life is checked again with what was known before."""
    watch = CounterFilter()
    before = Counted(1000, at=-3600, offset=400)
    for first, accepted in ((999, None), (1010, 1010), (7553.5, None)):
        watch.remember(CHARGED, before)
        assert watch.check(CHARGED, first, 0) == accepted
    watch.remember(CHARGED, before)
    assert watch.counted(CHARGED) == before
    watch.check(CHARGED, 1001, 0)
    assert watch.counted(CHARGED) == replace(before, value=1001, at=0)


WORDS: Final = st.one_of(
    st.just(0.0), st.floats(0, 1e4), st.integers(0, 65535).map(lambda word: word / 10)
)


@given(st.lists(st.tuples(WORDS, st.integers(1, 30)), max_size=30))
def test_what_is_counted_never_falls_and_never_leaps(
    readings: list[tuple[float, int]],
) -> None:
    """Whatever a device says, and for however long it does."""
    watch = CounterFilter()
    now, total, at = 0.0, None, 0.0
    for value, times in readings:
        for _ in range(times):
            now += MINUTE
            if watch.check(CHARGED, value, now) is None:
                continue
            if (counted := watch.counted(CHARGED)) is None:
                assert value == 0
                continue
            if total is not None:
                most = watch.SLACK + watch.MOST_OF_A_BATTERY * (now - at) / 3.6e6
                assert -1e-6 <= counted.total - total <= most + 1e-6
            total, at = counted.total, now
