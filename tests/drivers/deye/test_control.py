"""Plans that hold a Deye inverter: their words, their order, and their effect."""

from collections.abc import Iterator
import itertools
from typing import Any

from hypothesis import given, strategies as st
import pytest

from custom_components.homebattery.drivers.battery.export import Export
from custom_components.homebattery.drivers.deye.decision import Conditions, decide
from custom_components.homebattery.drivers.deye.measurements import formulas, join
from custom_components.homebattery.drivers.deye.plans import (
    SNAPSHOT,
    Image,
    Plan,
    automatic,
    charge,
    follow_load,
    hold,
    hold_by_soc,
    is_grid_charge_latent,
    knows_remote_mode,
    remote_power,
    restrict,
    sell,
    stop_grid_charge,
)
from custom_components.homebattery.drivers.deye.registers import Kind, high, low
from tests.simulators.deye import DeyeModbusSimulator
from tests.simulators.deye_control import Decision

from .support import house

POWER = 2500
"""W"""

BEFORE: Image = {
    108: 150,
    109: 160,
    128: 60,
    129: 0,
    130: 1,
    142: 2,
    146: 0,
    **dict.fromkeys(range(154, 160), 12_000),
    **dict.fromkeys(range(166, 172), 15),
    **dict.fromkeys(range(172, 178), 0),
}
NOW = Conditions(
    volts=52.5,
    soc=60,
    battery_power=0,
    rated_power=12_000,
    min_soc=15,
    export=Export.ALWAYS,
)
SETTINGS: Image = {**BEFORE, 143: 12_000, 178: 0, 191: 9000}


def written(plan: Plan, known: dict[int, int]) -> list[tuple[int, list[int]]]:
    """Return the writes of a plan, and apply them to the known words."""
    writes = list(plan.writes(known))
    for address, words in writes:
        known.update(enumerate(words, address))
    return writes


def plan_for(power: float) -> Plan:
    """Return the plan for a power; hold if nothing is granted."""
    plan = decide(power, BEFORE, SETTINGS, NOW).plan
    return hold(BEFORE) if plan is None else plan


def test_the_recipe_writes_these_words_in_this_order() -> None:
    """From the user's settings through charge, discharge and hold, and back."""
    known = dict(BEFORE)
    assert written(plan_for(2500), known) == [
        (108, [47, 160]),
        (128, [47, 0, 1]),
        (166, [100] * 6 + [1] * 6),
        (146, [255]),
    ]
    assert written(plan_for(-2500), known) == [
        (154, [2500] * 6),
        (166, [15] * 6 + [0] * 6),
        (128, [60, 0, 1]),
        (108, [150, 160]),
        (142, [0]),
    ]
    assert written(plan_for(0), known) == [
        (108, [0, 0]),
        (128, [60, 0, 0]),
        (142, [2]),
        (146, [0]),
        (154, [12_000] * 6),
    ]
    assert written(plan_for(-2500), dict(known)) == [
        (154, [2500] * 6),
        (128, [60, 0, 1]),
        (108, [150, 160]),
        (146, [255]),
        (142, [0]),
    ]
    assert written(automatic(BEFORE), known) == [(128, [60, 0, 1]), (108, [150, 160])]
    assert known == BEFORE


def plans(snapshot: Image, *, grid_charge_latent: bool = False) -> dict[str, Plan]:
    """Return all plans by name."""
    return {
        "charge": charge(
            snapshot,
            amps=47,
            words=POWER,
            grid_charge_latent=grid_charge_latent,
        ),
        "charge more": charge(
            snapshot,
            amps=150,
            words=8000,
            grid_charge_latent=grid_charge_latent,
        ),
        "sell": sell(snapshot, words=POWER, min_soc=15, flag=True),
        "sell less": sell(snapshot, words=800, min_soc=15, flag=True),
        "hold": hold(snapshot),
        "hold by SOC": hold_by_soc(snapshot, grid_charge_latent=grid_charge_latent),
        "automatic": automatic(snapshot, grid_charge_latent=grid_charge_latent),
        "follow": follow_load(
            snapshot,
            words=POWER,
            amps=47,
            min_soc=15,
            grid_charge_latent=grid_charge_latent,
        ),
    }


def transitions() -> Iterator[Any]:
    """Return pairs of plans that may follow each other: with export, or without."""
    names = plans(BEFORE)
    return (
        pytest.param(one, other, id=f"{one} to {other}")
        for one, other in itertools.permutations(names, 2)
        if not ("follow" in (one, other) and ("sell" in one or "sell" in other))
    )


CHARGES_IN_ALL_SLOTS: dict[int, int] = {130: 1, **dict.fromkeys(range(172, 178), 1)}
USERS: dict[str, dict[str, Any]] = {
    "sells first": {"work_mode": "selling_first"},
    "sells first, time of use off": {"work_mode": "selling_first", "tou": False},
    "sells first, little power": {
        "work_mode": "selling_first",
        "settings": dict.fromkeys(range(154, 160), 1000),
    },
    "exports nothing": {"work_mode": "zero_export_to_ct"},
    "exports nothing, time of use off": {"tou": False},
    "serves the backup port": {"work_mode": "zero_export_to_load"},
    "no grid charge": {"settings": {130: 0}},
    "slots may sell": {"settings": dict.fromkeys(range(172, 178), 0x20)},
    "sells first, and charges in no slot": {
        "work_mode": "selling_first",
        "settings": dict.fromkeys(range(172, 178), 0),
    },
    "sells first, and charges up to another SOC": {
        "work_mode": "selling_first",
        "settings": {**CHARGES_IN_ALL_SLOTS, **dict.fromkeys(range(166, 172), 15)},
    },
    "sells first, and would charge": {
        "work_mode": "selling_first",
        "settings": {**CHARGES_IN_ALL_SLOTS, **dict.fromkeys(range(166, 172), 90)},
    },
    "sells first, and would charge without time of use": {
        "work_mode": "selling_first",
        "tou": False,
        "settings": {127: 90},
    },
}
HABITS: dict[str, dict[str, Any]] = {
    "as documented": {},
    "needs the sell flag": {"sell_bit": "needed"},
    "sells by the flag": {"sell_bit": "enough"},
    "slot power limits all": {"slot_power": "both"},
    "discharges without time of use": {"discharges_without_tou": True},
    "charges while selling": {"charges_when_selling_first": True},
    "grid charge has its own current": {"charge_current_caps_grid": False},
}
SITUATIONS: list[dict[str, Any]] = [
    {"pv": pv, "load": load} for pv in (0, 4000) for load in (300, 3000)
]


@pytest.mark.parametrize(
    "habits",
    # Firmware of other habits takes long.
    [
        pytest.param(habits, id=name, marks=[] if not habits else pytest.mark.long)
        for name, habits in HABITS.items()
    ],
)
@pytest.mark.parametrize(("one", "other"), transitions())
def test_every_state_on_the_way_is_harmless(
    one: str, other: str, habits: dict[str, Any]
) -> None:
    """Cut after any write, with any settings and firmware: nothing worse than either.

    Allowed are the old setpoint, the new one, the user's settings, following the load,
    and doing nothing, each as this inverter would do it.
    """
    for user in USERS.values():
        inverter = DeyeModbusSimulator(house(soc=60), **user, **habits).inverter
        words = dict(inverter.words)
        snapshot = {address: words[address] for address in SNAPSHOT}
        grid_charge_latent = is_grid_charge_latent(snapshot, words, 60)
        named = plans(snapshot, grid_charge_latent=grid_charge_latent)
        steps = [{**words, **named[one].target}]
        stages = [named[other]]
        if grid_charge_latent and other == "automatic":
            stages.insert(0, stop_grid_charge(snapshot))
        for stage in stages:
            for address, block in stage.writes(dict(steps[-1])):
                steps.append(steps[-1] | dict(enumerate(block, address)))
        follow = follow_load(snapshot, words=12_000, amps=999, min_soc=15)
        for situation in SITUATIONS:
            at_ends = [
                inverter.what_if({**words, **end}, **situation)
                for end in (
                    steps[0],
                    steps[-1],
                    words,
                    follow.target,
                    hold(snapshot).target,
                )
            ]
            for step in steps[1:-1]:
                on_the_way = inverter.what_if(step, **situation)
                assert within(on_the_way, at_ends), (user, situation, step)


@pytest.mark.parametrize(
    ("changed", "soc", "grid_charge_latent"),
    [
        pytest.param({}, 60, True, id="a slot wants more"),
        pytest.param({}, 70, True, id="a slot wants just that"),
        pytest.param({}, 110, True, id="not far above"),
        pytest.param({}, 111, False, id="far above"),
        pytest.param({}, None, True, id="SOC unknown"),
        pytest.param({142: 2}, 60, False, id="does not sell first"),
        pytest.param({130: 0}, 60, False, id="no grid charge"),
        pytest.param({173: 0}, 60, False, id="no slot charges"),
        pytest.param({173: 0x20}, 60, False, id="another flag"),
        pytest.param({111: 0}, 111, True, id="by voltage"),
        pytest.param({173: 0, 127: 30}, 60, True, id="without time of use"),
    ],
)
def test_grid_charge_is_latent_while_selling_comes_first(
    changed: Image, soc: float | None, grid_charge_latent: bool
) -> None:
    """With a charge target at least near the present SOC, or by voltage."""
    settings = {
        **SETTINGS,
        111: 1,
        127: 10,
        142: 0,
        167: 70,
        168: 99,
        173: 1,
        **changed,
    }

    assert is_grid_charge_latent(settings, settings, soc) is grid_charge_latent


def within(decision: Decision, others: list[Decision]) -> bool:
    """Return True if a decision lies within the range of the others."""
    return all(
        min(values) - 1 <= value <= max(values) + 1
        for value, values in (
            (decision.battery, [other.battery for other in others]),
            (decision.grid, [other.grid for other in others]),
        )
    )


def test_restrictions_are_written_first_after_a_failure() -> None:
    """Currents and grid charge are written; nothing that permits more is."""
    known = dict(charge(BEFORE, amps=47, words=POWER).target)
    assert written(restrict(BEFORE), known) == [(108, [0, 0]), (128, [60, 0, 0])]


@given(
    power=st.floats(-20_000, 20_000),
    soc=st.integers(0, 100),
    volts=st.floats(40, 60),
    bms=st.none() | st.integers(0, 300),
    peak_shaving=st.booleans(),
)
def test_no_more_than_permitted_is_granted(
    power: float, soc: int, volts: float, bms: int | None, peak_shaving: bool
) -> None:
    """With the right sign, within the request and the limits, and within the SOC's."""
    now = Conditions(
        volts=volts,
        soc=soc,
        battery_power=0,
        rated_power=12_000,
        min_soc=15,
        bms_charge_amps=bms,
        bms_discharge_amps=bms,
        export=Export.ALWAYS,
    )
    settings = {**SETTINGS, 178: 0x30 * peak_shaving}
    decision = decide(power, BEFORE, settings, now)
    granted, plan = decision.granted, decision.plan

    assert granted * power >= 0
    assert abs(granted) <= min(abs(power) + 1, 12_000)
    if bms is not None:
        assert abs(granted) <= bms * volts + 1
    if soc >= 100 or (peak_shaving and granted > 9000):
        assert granted <= 0
    if soc <= 15:
        assert granted >= 0
    if abs(granted) < abs(power) - volts:
        assert decision.reason is not None
    if plan is None:
        assert granted == 0
    else:
        assert 0 <= plan.target[108] <= BEFORE[108]
        assert 0 <= plan.target[109] <= BEFORE[109]
        assert all(0 <= word <= 0xFFFF for word in plan.target.values())
        if granted > 0:
            assert plan.target[108] * volts <= granted + 1
            assert plan.target[142] != 0
            assert min(plan.target[at] for at in range(166, 172)) > soc


@pytest.mark.parametrize(
    ("power", "rated", "word"),
    [
        (2500, 12_000, 65328),
        (-2500, 12_000, 208),
        (0, 12_000, 0),
        (20_000, 20_000, 0x10000 - 1000),
    ],
)
def test_remote_power_is_tenths_of_a_percent(power: int, rated: int, word: int) -> None:
    """Of the rated power, cut off rather than rounded; charging is negative."""
    assert remote_power(power, rated) == word


@pytest.mark.parametrize(
    ("watchdog", "known"),
    [(65535, True), (10, True), (18_000, True), (9, False), (18_001, False)],
)
def test_remote_mode_is_known_by_its_watchdog(watchdog: int, known: bool) -> None:
    """Any other value there is another register."""
    assert knows_remote_mode({1101: watchdog}) == known


# Powers of two words


@pytest.mark.parametrize(
    ("low_word", "high_word", "wide", "watts"),
    [
        pytest.param(2500, 0, False, 2500, id="positive"),
        pytest.param(0x10000 - 2500, 0xFFFF, False, -2500, id="negative, new firmware"),
        pytest.param(0x10000 - 2500, 0, False, -2500, id="negative, old firmware"),
        pytest.param(40_000, 0, True, 40_000, id="large"),
        pytest.param(
            0x10000 - 2500, 0xFFFF, True, -2500, id="negative, large inverter"
        ),
        pytest.param(40_000, 1, False, 105_536, id="very large"),
        pytest.param(0x0000, 0xFFFE, True, -131_072, id="very large, negative"),
        pytest.param(5, 0xFFFF, False, 5, id="high word late at zero crossing"),
        pytest.param(0xFFFB, 0, False, -5, id="high word early at zero crossing"),
    ],
)
def test_powers_are_joined_from_two_words(
    low_word: int, high_word: int, wide: bool, watts: int
) -> None:
    """Any high word of the firmware: no 65 kW out of nothing."""
    assert join(low_word, high_word, wide=wide) == watts


@pytest.mark.parametrize(
    ("others", "watts"), [({}, 40_000 - 65_536), ({high("load_power"): 1}, 40_000)]
)
def test_large_inverters_show_whether_their_firmware_fills_the_high_words(
    others: dict[str, int], watts: int
) -> None:
    """A single high word other than 0 is enough."""
    (formula,) = (
        each for each in formulas(Kind.HIGH_VOLTAGE) if each.key == "grid_power"
    )
    values = {low("grid_power"): 40_000, high("grid_power"): 0, **others}

    assert formula.compute(values) == watts


def test_a_power_without_a_high_word_is_that_of_old_firmware() -> None:
    """The high word's register may be missing altogether."""
    (formula,) = (
        each for each in formulas(Kind.THREE_PHASE) if each.key == "grid_power"
    )

    assert formula.compute({low("grid_power"): 0x10000 - 700}) == -700
