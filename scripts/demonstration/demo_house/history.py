"""The past of an entity: statistics of the recorder, and the states of the last day.

A past value lies every five minutes, up to the present: the entity goes on from there.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from statistics import fmean
from typing import Final, NamedTuple

from homeassistant.components.recorder.db_schema import StatisticsShortTerm
from homeassistant.components.recorder.models import (
    StatisticData,
    StatisticMeanType,
    StatisticMetaData,
)
from homeassistant.components.recorder.statistics import (
    STATISTIC_UNIT_TO_UNIT_CONVERTER,
    async_import_statistics,
)
from homeassistant.components.sensor import ATTR_STATE_CLASS, SensorStateClass
from homeassistant.const import ATTR_UNIT_OF_MEASUREMENT
from homeassistant.core import HomeAssistant, State, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.recorder import get_instance
from homeassistant.util import dt as dt_util

STEP: Final = 300
"""Seconds from one past value to the next, and of a row of short-term statistics."""
_HOUR: Final = 3600
_DAY: Final = 86_400


class Series(NamedTuple):
    """Past values of an entity."""

    begin: float
    """Unix time of the first value, a multiple of `STEP`."""
    values: Sequence[float]
    """A value for each step."""

    @property
    def end(self) -> float:
        """The unix time of the last value."""
        return self.begin + STEP * (len(self.values) - 1)

    def since(self, time: float) -> Series:
        """Return the part since a unix time, or all of it if that is later."""
        skipped = max(0, -int((self.begin - time) // STEP))
        return Series(self.begin + STEP * skipped, self.values[skipped:])

    def periods(self, length: int) -> Iterator[tuple[float, Sequence[float]]]:
        """Yield each whole period of so many seconds: its start, and its values.

        The values are those at its start, at its end, and in between.
        """
        steps = length // STEP
        first = -int(-self.begin // length) * length
        index = int(first - self.begin) // STEP
        while index + steps < len(self.values):
            yield self.begin + STEP * index, self.values[index : index + steps + 1]
            index += steps


@callback
def async_import(hass: HomeAssistant, entity_id: str, series: Series) -> None:
    """Give a sensor this past; raise HomeAssistantError if there is none."""
    state = hass.states.get(entity_id)
    if state is None:
        raise HomeAssistantError(f"There is no {entity_id}")
    metadata = _metadata(state)
    async_import_statistics(hass, metadata, list(_rows(metadata, series, _HOUR)))
    # The recorder compiles the present hour, and goes on with sums, from these; pages
    # show the power of the day by them. It takes about a millisecond a row.
    recent = series.since(
        series.end - _HOUR
        if metadata["has_sum"]
        else dt_util.start_of_local_day().timestamp()
    )
    get_instance(hass).async_import_statistics(
        metadata, list(_rows(metadata, recent, STEP)), StatisticsShortTerm
    )
    if metadata["has_sum"]:
        _begin_sum_at_zero(hass, metadata, series)
    _write_states(hass, state, series.since(series.end - _DAY))


def _begin_sum_at_zero(
    hass: HomeAssistant, metadata: StatisticMetaData, series: Series
) -> None:
    """Raise all sums by those of the past; the first day would show minus a week else."""
    get_instance(hass).async_adjust_statistics(
        metadata["statistic_id"],
        datetime.fromtimestamp(series.begin, UTC),
        series.values[-1] - series.values[0],
        metadata["unit_of_measurement"] or "",
    )


def _metadata(state: State) -> StatisticMetaData:
    """Return the metadata that the recorder, too, will give the entity's statistics."""
    unit = state.attributes.get(ATTR_UNIT_OF_MEASUREMENT)
    converter = STATISTIC_UNIT_TO_UNIT_CONVERTER.get(unit)
    is_total = state.attributes[ATTR_STATE_CLASS] != SensorStateClass.MEASUREMENT
    return {
        "source": "recorder",
        "statistic_id": state.entity_id,
        "name": None,
        "unit_of_measurement": unit,
        "unit_class": converter.UNIT_CLASS if converter else None,
        "has_sum": is_total,
        "mean_type": StatisticMeanType.NONE
        if is_total
        else StatisticMeanType.ARITHMETIC,
    }


def _rows(
    metadata: StatisticMetaData, series: Series, length: int
) -> Iterator[StatisticData]:
    """Yield a row of statistics for each period of so many seconds."""
    for start, values in series.periods(length):
        row: StatisticData = {"start": datetime.fromtimestamp(start, UTC)}
        if metadata["has_sum"]:
            # The recorder begins to sum at 0 with the first state it sees: so the sum
            # of the past ends there, whichever of the two comes first. All are raised
            # together afterwards.
            row["sum"] = values[-1] - series.values[-1]
            if values[-1] >= 0:
                row["state"] = values[-1]
        else:
            inside = values[:-1]
            row |= {"mean": fmean(inside), "min": min(inside), "max": max(inside)}
        yield row


def _write_states(hass: HomeAssistant, state: State, series: Series) -> None:
    """Write past states, and then the present one again, as if nothing had been.

    The entity's own `state_info` has the attributes that the recorder is to leave out.
    """
    decimals = len(state.state.partition(".")[2])
    is_total = state.attributes[ATTR_STATE_CLASS] != SensorStateClass.MEASUREMENT
    last: str | None = None
    for index, value in enumerate(series.values):
        text = f"{value:.{decimals}f}"
        # A total that is added up since the entity is there was nothing before.
        if text != last and not (is_total and value < 0):
            hass.states.async_set(
                state.entity_id,
                text,
                state.attributes,
                force_update=True,
                state_info=state.state_info,
                timestamp=series.begin + STEP * index,
            )
        last = text
    hass.states.async_set(
        state.entity_id,
        state.state,
        state.attributes,
        force_update=True,
        state_info=state.state_info,
    )
