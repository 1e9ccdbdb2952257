"""The first words of a Deye inverter: what it is, read once a connection."""

from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest

from custom_components.homebattery.drivers.battery.readings import Values
from custom_components.homebattery.drivers.deye.inverter import DeyeInverter
from custom_components.homebattery.drivers.deye.single_phase import DECIDING
from custom_components.homebattery.drivers.errors import (
    ProtocolError,
    RequestTimeoutError,
)
from tests.simulators.image import Vector, VectorUnits, load

from .support import HIGH_VOLTAGE, MIDDAY, both_ways, on_image, vector

pytestmark = pytest.mark.usefixtures("socket_enabled", "no_waiting")

SINGLE_PHASE = load("deye_single_phase")[0]
CASES = {
    "low voltage": vector(MIDDAY),
    "high voltage": vector(HIGH_VOLTAGE),
    "single-phase": SINGLE_PHASE,
}


def facts(battery: DeyeInverter) -> tuple[Any, ...]:
    """Return what an inverter is."""
    counts = battery.inputs.batteries, battery.inputs.mppts
    known = battery.identity, battery.kind, battery.rated_power, battery.setpoint_limits
    return *known, battery.firmware_release, *counts


@both_ways
@pytest.mark.parametrize("word", [0xFFFF, 30_806, 0, 5])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_one_damaged_word_does_not_make_another_inverter(
    case: Vector, word: int, way: str
) -> None:
    """Of type, serial number, firmware, size and inputs, in the first read of them."""
    async with on_image(case, way) as (battery, _):
        expected = facts(battery), await battery.get("pv_power")

    for damaged in ({0: word}, {3: word, 20: word}, {15: word, 21: word}, {16: word}):
        inputs = {18: word, 22: word, 24: word}
        async with on_image(case | {"damaged": damaged | inputs}, way) as (battery, _):
            assert (facts(battery), await battery.get("pv_power")) == expected


@both_ways
async def test_words_that_change_with_each_read_fail(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connecting fails, and is tried again later."""
    read = VectorUnits.read

    def changed(units: VectorUnits, unit: int, address: int, count: int) -> list[int]:
        words = read(units, unit, address, count)
        words[20:21] = [units.traffic.requests]
        return words

    monkeypatch.setattr(VectorUnits, "read", changed)
    with pytest.raises(ProtocolError):
        async with on_image(vector(MIDDAY), way):
            pass


@pytest.mark.parametrize(
    ("lost", "connects"), [({1}, False), ({2}, True), ({2, 3}, False)]
)
async def test_one_lost_answer_after_the_first_does_not_end_connecting(
    lost: set[int], connects: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two answers are needed; on a bad link that must not fail twice as often."""
    read, reads = DeyeInverter._read_first_words, 0

    async def shown(battery: DeyeInverter) -> list[int]:
        nonlocal reads
        reads += 1
        if reads in lost:
            raise RequestTimeoutError("no answer")
        return await read(battery)

    monkeypatch.setattr(DeyeInverter, "_read_first_words", shown)
    expected: AbstractContextManager[object] = nullcontext()
    if not connects:
        expected = pytest.raises(RequestTimeoutError)
    with expected:
        async with on_image(vector(MIDDAY)) as (battery, _):
            assert battery.rated_power == 12_000


async def test_a_deciding_register_that_answers_now_and_then_does_not_end_connecting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is compared where both reads have it."""
    read, reads = DeyeInverter.read_registers, 0

    async def shown(
        battery: DeyeInverter,
        names: Collection[str],
        again: Collection[str] | None = None,
    ) -> Values:
        nonlocal reads
        reads += 1
        values = await read(battery, names, again)
        return {name: values[name] for name in values if name != DECIDING[reads % 2]}

    monkeypatch.setattr(DeyeInverter, "read_registers", shown)
    async with on_image(SINGLE_PHASE) as (battery, _):
        assert battery.rated_power == 8000
        assert reads == 2


async def test_the_clock_of_a_single_phase_inverter_is_no_damage() -> None:
    """It runs between two reads of what comes before it."""
    async with on_image(SINGLE_PHASE | {"damaged": {24: 59}}) as (battery, units):
        first = [read for read in units.traffic.reads if read.address == 0]

        assert len(first) == 2
        assert battery.rated_power == 8000
