"""The energy dashboard: batteries as a user would configure them there."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

ENERGY: Final = ("energy_discharged_total", "energy_charged_total")
POWER: Final = "battery_power"
POWERS: Final = ("battery_discharge_power", "battery_charge_power")
SOC: Final = "battery_soc"
NEEDED: Final = (*ENERGY, POWER, SOC)
NEEDED_OF_HOUSE: Final = (
    *("energy_imported", "energy_exported", "energy_pv"),
    *("grid_power", "pv_power"),
)

NOT_YET: Final = "statistics_not_defined"
"""The issue of each new entity until statistics are made, every five minutes."""

type Source = dict[str, Any]


def battery_source(
    name: str, entities: Mapping[str, str], *, two_sensors: bool = False
) -> Source:
    """Return a battery as the dashboard stores it, from its entities by key.

    In the dashboard a power above zero discharges; in this integration it charges.
    """
    discharged, charged = (entities[key] for key in ENERGY)
    power = (
        dict(
            zip(
                ("stat_rate_from", "stat_rate_to"),
                (entities[key] for key in POWERS),
                strict=True,
            )
        )
        if two_sensors
        else {"stat_rate_inverted": entities[POWER]}
    )
    return {
        "type": "battery",
        "name": name,
        "stat_energy_from": discharged,
        "stat_energy_to": charged,
        "power_config": power,
        "stat_soc": entities[SOC],
    }


def grid_source(entities: Mapping[str, str]) -> Source:
    """Return the house's grid meter as the dashboard stores it, by key."""
    return {
        "type": "grid",
        "stat_energy_from": entities["energy_imported"],
        "stat_energy_to": entities["energy_exported"],
        "power_config": {"stat_rate": entities["grid_power"]},
        "cost_adjustment_day": 0,
    }


def solar_source(entities: Mapping[str, str]) -> Source:
    """Return the house's PV as the dashboard stores it, by key."""
    return {
        "type": "solar",
        "stat_energy_from": entities["energy_pv"],
        "stat_rate": entities["pv_power"],
        "config_entry_solar_forecast": None,
    }


def complaints(
    validation: Mapping[str, Any], ignored: Sequence[str] = ()
) -> Iterator[str]:
    """Yield the issues that `energy/validate` reports."""
    for issues in validation["energy_sources"]:
        for issue in issues:
            if issue["type"] not in ignored:
                yield f"energy dashboard: {issue['type']}: {issue['affected_entities']}"


def missing_statistics(
    source: Mapping[str, Any], listed: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """Yield the statistics of a source that are missing, or not as they should be.

    `listed` is the answer of `recorder/list_statistic_ids`, which also knows what is
    about to be made.
    """
    by_id = {each["statistic_id"]: each for each in listed}
    energy = {"unit_class": "energy", "has_sum": True}
    power = {"unit_class": "power", "has_mean": True}
    wanted = {
        source["stat_energy_from"]: energy,
        source["stat_energy_to"]: energy,
        source["stat_rate"]: power,
        source["stat_soc"]: {"statistics_unit_of_measurement": "%", "has_mean": True},
        **dict.fromkeys(source["power_config"].values(), power),
    }
    for statistic_id, expected in wanted.items():
        actual = by_id.get(statistic_id)
        seen = actual and {key: actual[key] for key in expected}
        if seen != expected:
            yield f"statistics of {statistic_id} are {actual}, not {expected}"


def wrong_classes(
    source: Mapping[str, Any], attributes: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    """Yield the entities of a source that a user could not choose there.

    `energy/validate` does not check a battery's power and SOC.
    """
    wanted = {
        source["stat_energy_from"]: ("energy", "total_increasing"),
        source["stat_energy_to"]: ("energy", "total_increasing"),
        source["stat_soc"]: ("battery", "measurement"),
        **dict.fromkeys(source["power_config"].values(), ("power", "measurement")),
    }
    for entity_id, expected in wanted.items():
        actual = attributes[entity_id]
        seen = (actual.get("device_class"), actual.get("state_class"))
        if seen != expected:
            yield f"{entity_id} is {seen}, not {expected}"
