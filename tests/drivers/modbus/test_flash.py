"""The count of writes to flash, and its bound."""

from datetime import date

import pytest

from custom_components.homebattery.drivers.errors import BatteryError, FlashBudgetError
from custom_components.homebattery.drivers.flash import DAILY_BUDGET, FlashWear

MONDAY, TUESDAY = date(2026, 3, 2), date(2026, 3, 3)


class Calendar:
    """A calendar whose day the test sets."""

    def __init__(self) -> None:
        self.day = MONDAY

    def __call__(self) -> date:
        return self.day


@pytest.fixture
def calendar() -> Calendar:
    return Calendar()


@pytest.fixture
def wear(calendar: Calendar) -> FlashWear:
    return FlashWear(calendar)


def write(wear: FlashWear, times: int) -> None:
    for _ in range(times):
        wear.note()


def test_nothing_is_counted_at_first(wear: FlashWear) -> None:
    assert wear.writes_today == 0
    wear.check("Battery")


def test_each_write_is_counted(wear: FlashWear) -> None:
    write(wear, 3)
    assert wear.writes_today == 3


def test_count_begins_again_each_day(wear: FlashWear, calendar: Calendar) -> None:
    write(wear, 3)
    calendar.day = TUESDAY
    assert wear.writes_today == 0
    write(wear, 1)
    assert wear.writes_today == 1


def test_count_goes_on_after_a_restart(calendar: Calendar) -> None:
    wear = FlashWear(calendar)
    write(wear, 1)  # before the count of the earlier life is known
    wear.restore(MONDAY, 5)
    assert wear.writes_today == 6


def test_count_of_another_day_is_not_taken_up(
    wear: FlashWear, calendar: Calendar
) -> None:
    calendar.day = TUESDAY
    write(wear, 2)
    wear.restore(MONDAY, 5)
    assert wear.writes_today == 2


def test_last_write_of_the_budget_is_allowed_and_no_more(wear: FlashWear) -> None:
    write(wear, DAILY_BUDGET - 1)
    wear.check("Battery")
    write(wear, 1)
    with pytest.raises(FlashBudgetError, match=f"Battery: {DAILY_BUDGET} writes"):
        wear.check("Battery")


def test_an_operation_that_has_begun_may_go_beyond_the_budget(wear: FlashWear) -> None:
    """A release takes as many writes as it needs."""
    write(wear, DAILY_BUDGET + 6)
    assert wear.writes_today == DAILY_BUDGET + 6


def test_new_day_has_a_new_budget(wear: FlashWear, calendar: Calendar) -> None:
    write(wear, DAILY_BUDGET)
    calendar.day = TUESDAY
    wear.check("Battery")


def test_the_computer_gives_the_day_by_default() -> None:
    wear = FlashWear()
    write(wear, 1)
    assert wear.writes_today == 1


def test_it_is_an_error_like_others_of_a_battery() -> None:
    assert issubclass(FlashBudgetError, BatteryError)
