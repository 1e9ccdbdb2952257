"""Tests of the control status, case by case."""

import pytest

from custom_components.homebattery.const import ControlStatus
from custom_components.homebattery.control.status import (
    GRACE,
    SETTLE,
    TOLERANCE,
    control_status,
    follows,
)
from custom_components.homebattery.drivers.battery.controller import LimitReason

PENDING = ControlStatus.PENDING
FOLLOWING = ControlStatus.FOLLOWING
LIMITED = ControlStatus.LIMITED
NOT_FOLLOWING = ControlStatus.NOT_FOLLOWING


@pytest.mark.parametrize(
    ("setpoint", "measured", "expected"),
    [
        (1000, 1000, True),
        (1000, 900, True),
        (1000, 1100, True),
        (1000, 899, False),
        (-1000, -900, True),
        (-1000, 900, False),
        (5000, 4500, True),
        (5000, 4499, False),
        (50, 0, True),
        (50, -1, False),  # the other way is never following, however little
        (0, 100, True),
        (0, -100, True),
        (0, 101, False),
    ],
)
def test_follows(setpoint: float, measured: float, expected: bool) -> None:
    assert follows(setpoint, measured) is expected


@pytest.mark.parametrize("reason", [None, LimitReason.FLASH])
def test_a_setpoint_that_waits_its_turn_is_pending(reason: LimitReason | None) -> None:
    assert control_status(
        requested=1000,
        granted=None,
        measured=600,
        seconds_since_change=999,
        seconds_off_target=999,
        waits_for=reason,
    ) == (PENDING, reason)


def test_a_setpoint_that_failed_when_its_turn_came_is_not_followed() -> None:
    assert control_status(
        requested=1000,
        granted=None,
        measured=600,
        seconds_since_change=999,
        seconds_off_target=999,
        fault=LimitReason.REFUSED,
        waits_for=LimitReason.FLASH,
    ) == (NOT_FOLLOWING, LimitReason.REFUSED)


NEVER = None
"""The setpoint was not followed since it changed."""


@pytest.mark.parametrize(
    ("requested", "granted", "measured", "since_change", "off_target", "expected"),
    [
        # Just asked
        (1000, 1000, 0, 0, NEVER, PENDING),
        (1000, 1000, -500, SETTLE - 1, NEVER, PENDING),
        (1000, 1000, None, 1, NEVER, PENDING),
        (1000, 1000, 1000, 0, NEVER, FOLLOWING),
        (0, 0, 3000, 5, NEVER, PENDING),
        # For long
        (1000, 1000, 1000, 999, 0, FOLLOWING),
        (0, 0, -30, 999, 0, FOLLOWING),
        (1000, 1000, -300, SETTLE, NEVER, NOT_FOLLOWING),
        (-1000, -1000, 1000, SETTLE, NEVER, NOT_FOLLOWING),
        (1000, 1000, 2000, SETTLE, NEVER, NOT_FOLLOWING),
        (0, 0, 500, SETTLE, NEVER, NOT_FOLLOWING),
        (1000, 1000, 0, SETTLE, NEVER, NOT_FOLLOWING),
        (1000, 1000, None, SETTLE, NEVER, NOT_FOLLOWING),
        # Less than asked
        (3000, 3000, 1500, SETTLE, NEVER, LIMITED),
        (-3000, -3000, -1500, SETTLE, NEVER, LIMITED),
        (3000, 1500, 1500, 1, NEVER, LIMITED),
        (-3000, 0, 0, 1, NEVER, LIMITED),
        (3000, 1500, 0, 1, NEVER, PENDING),
        # It strays for a moment
        (1000, 1000, 500, 999, GRACE - 1, FOLLOWING),
        (3000, 1500, 500, 999, GRACE - 1, LIMITED),
        (1000, 1000, 500, 999, GRACE, LIMITED),
        (1000, 1000, -500, 999, GRACE, NOT_FOLLOWING),
        (1000, 1000, None, 999, GRACE - 1, FOLLOWING),
        (1000, 1000, None, 999, GRACE, NOT_FOLLOWING),
        # It has followed, and strays while still young
        (1000, 1000, 0, 40, GRACE - 1, FOLLOWING),
        (1000, 1000, 0, 40, GRACE + 1, NOT_FOLLOWING),
    ],
)
def test_control_status(
    requested: float,
    granted: float,
    measured: float | None,
    since_change: float,
    off_target: float | None,
    expected: ControlStatus,
) -> None:
    status, _ = control_status(
        requested=requested,
        granted=granted,
        measured=measured,
        seconds_since_change=since_change,
        seconds_off_target=since_change if off_target is None else off_target,
    )
    assert status is expected


@pytest.mark.parametrize(
    ("granted", "measured", "since_change", "off_target", "expected"),
    [
        (1000, None, 1, NEVER, PENDING),
        (1000, None, 999, GRACE - 1, PENDING),
        (500, None, 999, GRACE - 1, PENDING),
        (1000, None, 999, GRACE, NOT_FOLLOWING),
        (1000, None, SETTLE, NEVER, NOT_FOLLOWING),
        # Less than was asked may as well be what the device does by itself.
        (1000, 300, 999, GRACE, NOT_FOLLOWING),
        # Renewed in vain, and still doing it
        (1000, 1000, 999, 0, PENDING),
    ],
)
def test_what_is_not_known_is_not_said_to_follow(
    granted: float,
    measured: float | None,
    since_change: float,
    off_target: float | None,
    expected: ControlStatus,
) -> None:
    assert control_status(
        requested=1000,
        granted=granted,
        measured=measured,
        seconds_since_change=since_change,
        seconds_off_target=since_change if off_target is None else off_target,
        lost=True,
    ) == (expected, LimitReason.UNREACHABLE)


def test_a_full_battery_that_does_not_answer_is_not_said_to_be_limited() -> None:
    status = control_status(
        requested=1000,
        granted=0,
        measured=None,
        seconds_since_change=999,
        seconds_off_target=999,
        limit_reason=LimitReason.FULL,
        lost=True,
    )
    assert status == (NOT_FOLLOWING, LimitReason.UNREACHABLE)


@pytest.mark.parametrize(
    ("requested", "soc", "min_soc", "expected"),
    [
        (2000, 100, 10, LIMITED),
        (2000, 99, None, LIMITED),
        (2000, 98, None, NOT_FOLLOWING),
        (-2000, 10, 10, LIMITED),
        (-2000, 11, 10, LIMITED),
        (-2000, 12, 10, NOT_FOLLOWING),
        (-2000, 1, None, LIMITED),
        (-2000, 100, 10, NOT_FOLLOWING),
        (2000, 0, 10, NOT_FOLLOWING),
        (2000, None, None, NOT_FOLLOWING),
    ],
)
def test_doing_nothing_is_limited_only_when_full_or_empty(
    requested: float,
    soc: float | None,
    min_soc: float | None,
    expected: ControlStatus,
) -> None:
    status, _ = control_status(
        requested=requested,
        granted=requested,
        measured=0,
        seconds_since_change=999,
        seconds_off_target=999,
        soc=soc,
        min_soc=min_soc,
    )
    assert status is expected


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        (400, (FOLLOWING, LimitReason.PV_CURTAILED)),
        # In the other direction, or more: the PV is no reason for that.
        (-400, (NOT_FOLLOWING, LimitReason.NO_EFFECT)),
    ],
)
def test_a_setpoint_that_is_followed_at_the_cost_of_pv_says_so(
    measured: float, expected: tuple[ControlStatus, LimitReason]
) -> None:
    assert expected == control_status(
        requested=400,
        granted=400,
        measured=measured,
        seconds_since_change=999,
        seconds_off_target=999,
        curtails_pv=True,
    )


@pytest.mark.parametrize(
    ("requested", "granted", "measured", "expected"),
    [
        (400, 400, 400, (FOLLOWING, None)),
        (400, 400, 150, (LIMITED, LimitReason.PV_CURTAILED)),
        (400, 400, 0, (LIMITED, LimitReason.PV_CURTAILED)),
        (400, 400, -30, (LIMITED, LimitReason.PV_CURTAILED)),
        (400, 400, -300, (NOT_FOLLOWING, LimitReason.PV_CURTAILED)),
        (-400, 0, 0, (LIMITED, LimitReason.PV_CURTAILED)),
        (-400, 0, -300, (LIMITED, LimitReason.PV_CURTAILED)),
    ],
)
def test_a_setpoint_that_yields_to_the_pv_is_followed_or_limited(
    requested: float,
    granted: float,
    measured: float,
    expected: tuple[ControlStatus, LimitReason | None],
) -> None:
    assert expected == control_status(
        requested=requested,
        granted=granted,
        measured=measured,
        seconds_since_change=999,
        seconds_off_target=999,
        limit_reason=LimitReason.PV_CURTAILED,
    )


@pytest.mark.parametrize(
    ("measured", "imported", "soc", "expected"),
    [
        (0, 600, 50, (NOT_FOLLOWING, LimitReason.NO_EFFECT)),
        (-90, TOLERANCE + 1, 50, (NOT_FOLLOWING, LimitReason.NO_EFFECT)),
        (-90, TOLERANCE, 50, (LIMITED, LimitReason.LOAD)),
        (-600, 20, 50, (LIMITED, LimitReason.LOAD)),
        # It charges from the sun, of which the house takes nothing.
        (1500, -400, 50, (LIMITED, LimitReason.LOAD)),
        (1500, 1400, 50, (NOT_FOLLOWING, LimitReason.NO_EFFECT)),
        # It gives what it can.
        (-600, 1400, 50, (LIMITED, LimitReason.BATTERY)),
        (0, 600, 10, (LIMITED, LimitReason.EMPTY)),
        (-3000, 1400, 50, (FOLLOWING, None)),
        # The grid power is not known: it may charge from the grid.
        (-3000, None, 50, (FOLLOWING, None)),
        (-600, None, 50, (LIMITED, LimitReason.LOAD)),
        (-90, None, 50, (LIMITED, LimitReason.LOAD)),
        (-90, None, 10, (LIMITED, LimitReason.EMPTY)),
        (TOLERANCE, None, 50, (LIMITED, LimitReason.LOAD)),
        (TOLERANCE + 1, None, 50, (NOT_FOLLOWING, LimitReason.NO_EFFECT)),
        (3000, None, 50, (NOT_FOLLOWING, LimitReason.NO_EFFECT)),
        (-3600, None, 50, (NOT_FOLLOWING, LimitReason.NO_EFFECT)),
    ],
)
def test_the_house_takes_no_more_only_while_the_grid_gives_it_nothing(
    measured: float,
    imported: float | None,
    soc: float,
    expected: tuple[ControlStatus, LimitReason | None],
) -> None:
    assert expected == control_status(
        requested=-3000,
        granted=-3000,
        measured=measured,
        seconds_since_change=999,
        seconds_off_target=999,
        soc=soc,
        min_soc=10,
        follows_load=True,
        imported=imported,
    )


@pytest.mark.parametrize("reason", [LimitReason.NO_GRID, LimitReason.PROTECTION])
def test_a_hold_that_is_suspended_is_limited_whatever_the_battery_does(
    reason: LimitReason,
) -> None:
    assert control_status(
        requested=0,
        granted=0,
        measured=-800,
        seconds_since_change=999,
        seconds_off_target=999,
        limit_reason=reason,
    ) == (LIMITED, reason)
