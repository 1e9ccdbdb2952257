"""The past of the entities, from what the simulated devices measured in theirs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from typing import Any, Final

from .demo_house import house, prices

type Record = Mapping[str, float]
type Past = Sequence[Record]
"""The measurements of a device every five minutes: W, %, and Wh since it began."""

_HOUR: Final = 3600
_WEEK: Final = 6 * 86_400
"""The least that is to be seen of the last week, s."""

MEASURED: Final[Mapping[str, str]] = {
    "battery_soc": "soc",
    "battery_power": "battery_power",
}
"""The key of a sensor, and the value of a record that it shows."""
COUNTED: Final[Mapping[str, str]] = {
    "energy_charged_total": "energy_charged",
    "energy_discharged_total": "energy_discharged",
}
"""The key of a sensor of a total, kWh, and the counter of a record, Wh."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """The past of an entity: a value every five minutes."""

    entity_id: str
    begin: float
    """Unix time of the first value."""
    values: Sequence[float]

    def as_data(self) -> dict[str, Any]:
        """Return the data of the command that imports it."""
        return {
            "entity_id": self.entity_id,
            "begin": self.begin,
            "values": list(self.values),
        }


def common(pasts: Iterable[Past]) -> list[Past]:
    """Return the part of each past for which all have records."""
    all_of_them = list(pasts)
    times = set.intersection(
        *({record["at"] for record in past} for past in all_of_them)
    )
    return [
        [record for record in past if record["at"] in times] for past in all_of_them
    ]


def of_battery(
    past: Past,
    now: Record,
    entities: Mapping[str, str],
    shown: Mapping[str, float],
) -> list[Series]:
    """Return the past of a battery's entities, which are given by key.

    A total ends with the value that is `shown` by key, less what the device has counted
    between its last record and `now`.
    """
    begin = past[0]["at"]
    measured = {
        entities[key]: [record[name] for record in past]
        for key, name in MEASURED.items()
        if key in entities
    }
    counted = {
        entities[key]: [
            shown[key] - (now[name] - record[name]) / 1000 for record in past
        ]
        for key, name in COUNTED.items()
        if key in entities
    }
    return [
        Series(entity_id=entity_id, begin=begin, values=values)
        for entity_id, values in (measured | counted).items()
    ]


def of_house(pasts: Sequence[Past], entities: Mapping[str, str]) -> list[Series]:
    """Return the past of the house's entities, which are given by key."""
    moments = [house.measure(records) for records in zip(*pasts, strict=True)]
    return [
        Series(
            entity_id=entities[key],
            begin=pasts[0][0]["at"],
            values=[moment[key] for moment in moments],
        )
        for key in house.Key
    ]


def of_price(past: Past, entity_id: str, offset: int) -> Series:
    """Return the past of the price, for a local time so many hours ahead of UTC."""
    zone = timezone(timedelta(hours=offset))
    times = (datetime.fromtimestamp(record["at"], zone) for record in past)
    return Series(
        entity_id=entity_id,
        begin=past[0]["at"],
        values=[prices.price(time) for time in times],
    )


def of_inverted(
    history: Sequence[Series], sources: Sequence[Mapping[str, Any]]
) -> list[Series]:
    """Return the past of the powers that the energy dashboard made by inverting others.

    `sources` are as it has stored them, with the entities that it made.
    """
    made = {
        source["power_config"]["stat_rate_inverted"]: source["stat_rate"]
        for source in sources
        if "stat_rate_inverted" in source.get("power_config", {})
    }
    return [
        Series(
            entity_id=made[series.entity_id],
            begin=series.begin,
            values=[-value for value in series.values],
        )
        for series in history
        if series.entity_id in made
    ]


def faults(statistic_id: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield what cannot be in hourly statistics of a week: gaps, and energy below zero."""
    starts = [row["start"] / 1000 for row in rows]
    if not starts or starts[-1] - starts[0] < _WEEK:
        yield f"the statistics of {statistic_id} are shorter than six days"
    if any(later - start != _HOUR for start, later in pairwise(starts)):
        yield f"the statistics of {statistic_id} have gaps"
    sums = [row["sum"] for row in rows if row.get("sum") is not None]
    if any(later < total for total, later in pairwise(sums)):
        yield f"the sum of {statistic_id} falls"
