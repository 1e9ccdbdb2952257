"""The history of the demo goes on without a seam when Home Assistant makes statistics.

Its energy dashboard would show a fall or a jump there as a huge bar.
"""

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final

from freezegun.api import FrozenDateTimeFactory
from homeassistant.components.recorder.history import state_changes_during_period
from homeassistant.components.recorder.statistics import statistics_during_period
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.entity import StateInfo
from homeassistant.helpers.recorder import get_instance
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util
import pytest
from pytest_homeassistant_custom_component.components.recorder.common import (
    async_wait_recording_done,
    do_adhoc_statistics,
)

from scripts.demonstration.demo_house import history
from scripts.demonstration.demo_house.history import STEP, Series

TOTAL: Final = "sensor.total"
POWER: Final = "sensor.power"
ATTRIBUTES: Final[dict[str, dict[str, Any]]] = {
    TOTAL: {
        "state_class": "total_increasing",
        "device_class": "energy",
        "unit_of_measurement": "kWh",
    },
    POWER: {
        "state_class": "measurement",
        "device_class": "power",
        "unit_of_measurement": "W",
    },
}
HOUR: Final = 3600
DAY: Final = 24 * HOUR
PER_STEP: Final = 0.01
"""The energy of each step, kWh."""


@pytest.fixture(autouse=True)
async def _sensor(hass: HomeAssistant, freezer: FrozenDateTimeFactory) -> None:
    # In the middle of a period.
    freezer.move_to(dt_util.utc_from_timestamp(period() + STEP / 2))
    assert await async_setup_component(hass, "sensor", {})


def period() -> float:
    """Return the start of the present period of short-term statistics, unix time."""
    return dt_util.utcnow().timestamp() // STEP * STEP


def past_of(last: float, days: int = 3) -> Series:
    """Return a total that rises evenly up to the present period."""
    end = period()
    begin = (end - days * DAY) // HOUR * HOUR
    steps = int(end - begin) // STEP
    values = [last - PER_STEP * (steps - step) for step in range(steps + 1)]
    return Series(begin, values)


async def show(hass: HomeAssistant, entity_id: str, value: float) -> None:
    """Let an entity show a value."""
    hass.states.async_set(entity_id, f"{value:.2f}", ATTRIBUTES[entity_id])
    await async_wait_recording_done(hass)


async def compile_present(hass: HomeAssistant) -> None:
    """Let Home Assistant make the statistics of the present period."""
    do_adhoc_statistics(hass, start=datetime.fromtimestamp(period(), UTC))
    await async_wait_recording_done(hass)


async def statistics(
    hass: HomeAssistant, entity_id: str, length: Any, series: Series
) -> list[Any]:
    """Return the statistics of an entity since the past begins."""
    await async_wait_recording_done(hass)
    result = await get_instance(hass).async_add_executor_job(
        statistics_during_period,
        hass,
        datetime.fromtimestamp(series.begin, UTC),
        None,
        {entity_id},
        length,
        None,
        {"sum", "state", "mean", "min", "max"},
    )
    return result[entity_id]


@pytest.mark.parametrize("compiled_before", [False, True])
async def test_energy_goes_on_where_the_past_ended(
    hass: HomeAssistant, compiled_before: bool
) -> None:
    series = past_of(1000)
    await show(hass, TOTAL, 1000.02)
    if compiled_before:
        # Home Assistant's five minutes were over while the demo was starting.
        start = datetime.fromtimestamp(period() - STEP, UTC)
        do_adhoc_statistics(hass, start=start)

    history.async_import(hass, TOTAL, series)
    await show(hass, TOTAL, 1000.05)
    await compile_present(hass)

    rows = await statistics(hass, TOTAL, "5minute", series)
    steps = [after["sum"] - before["sum"] for before, after in pairwise(rows)]
    assert rows[-1]["start"] == period()
    assert all(-0.001 < step < 0.06 for step in steps)
    assert rows[-1]["state"] == 1000.05

    # A page that adds up the first day takes the sum before it to be 0.
    hours = await statistics(hass, TOTAL, "hour", series)
    assert hours[0]["sum"] == pytest.approx(12 * PER_STEP)


async def test_each_hour_of_the_past_has_its_energy(hass: HomeAssistant) -> None:
    series = past_of(1000)
    await show(hass, TOTAL, 1000.02)

    history.async_import(hass, TOTAL, series)

    rows = await statistics(hass, TOTAL, "hour", series)
    steps = [after["sum"] - before["sum"] for before, after in pairwise(rows)]
    assert len(rows) >= 3 * 24
    assert steps == pytest.approx([12 * PER_STEP] * len(steps))


async def test_a_power_has_mean_minimum_and_maximum(hass: HomeAssistant) -> None:
    begin = (period() - 3 * HOUR) // HOUR * HOUR
    values = [100.0 * (step % 12) for step in range(25)]
    await show(hass, POWER, 5)

    history.async_import(hass, POWER, Series(begin, values))

    first, second = await statistics(hass, POWER, "hour", Series(begin, values))
    assert (first["mean"], first["min"], first["max"]) == (550, 0, 1100)
    assert second["start"] == begin + HOUR


async def test_the_last_day_has_states_and_the_present_one_stays(
    hass: HomeAssistant,
) -> None:
    series = past_of(1000)
    await show(hass, TOTAL, 1000.02)

    history.async_import(hass, TOTAL, series)

    present = hass.states.get(TOTAL)
    assert present is not None
    assert present.state == "1000.02"
    assert dt_util.utcnow().timestamp() - present.last_changed_timestamp < 10
    await async_wait_recording_done(hass)
    states = await get_instance(hass).async_add_executor_job(
        state_changes_during_period,
        hass,
        datetime.fromtimestamp(series.end - 2 * DAY, UTC),
        None,
        TOTAL,
    )
    times = [state.last_updated_timestamp for state in states[TOTAL]]
    numbers = [float(state.state) for state in states[TOTAL]]
    assert times == sorted(times)
    assert numbers == sorted(numbers)
    assert times[0] == series.end - DAY
    assert len(times) >= DAY / STEP


async def test_past_states_lack_the_attributes_that_the_entity_does_not_record(
    hass: HomeAssistant,
) -> None:
    info: StateInfo = {"unrecorded_attributes": frozenset({"raw_today"})}
    attributes = {**ATTRIBUTES[POWER], "raw_today": [0.2] * 24}
    hass.states.async_set(POWER, "5", attributes, state_info=info)
    await async_wait_recording_done(hass)
    begin = (period() - 3 * HOUR) // HOUR * HOUR

    history.async_import(hass, POWER, Series(begin, [100.0, 200.0, 300.0]))

    present = hass.states.get(POWER)
    assert present is not None
    assert present.attributes == attributes
    await async_wait_recording_done(hass)
    states = await get_instance(hass).async_add_executor_job(
        state_changes_during_period,
        hass,
        datetime.fromtimestamp(begin - HOUR, UTC),
        None,
        POWER,
    )
    assert [state.state for state in states[POWER]] == ["100", "200", "300", "5", "5"]
    assert all(state.attributes == ATTRIBUTES[POWER] for state in states[POWER])


async def test_a_total_that_begins_to_be_added_up_now_was_never_below_zero(
    hass: HomeAssistant,
) -> None:
    series = past_of(0)
    await show(hass, TOTAL, 0)

    history.async_import(hass, TOTAL, series)
    await show(hass, TOTAL, 0.03)
    await compile_present(hass)

    rows = await statistics(hass, TOTAL, "5minute", series)
    steps = [after["sum"] - before["sum"] for before, after in pairwise(rows)]
    assert steps == pytest.approx([PER_STEP] * (len(steps) - 1) + [0.03])
    assert all(row["state"] is None or row["state"] >= 0 for row in rows)


async def test_an_entity_that_is_not_there_gets_no_past(hass: HomeAssistant) -> None:
    with pytest.raises(HomeAssistantError, match="There is no"):
        history.async_import(hass, "sensor.nowhere", past_of(1))
