"""A battery learns which of its values one request reads, and which it lacks.

In memory, with a device of four live and two slow values far apart.
"""

from collections.abc import Callable, Sequence
import json
import time
from typing import Any, ClassVar, Final, override

from hypothesis import given, strategies as st
import pytest

from custom_components.homebattery.drivers.absence import ASK_AGAIN
from custom_components.homebattery.drivers.battery.base import SetpointLimits
from custom_components.homebattery.drivers.battery.measuring import Identity
from custom_components.homebattery.drivers.battery.modbus import ModbusBattery
from custom_components.homebattery.drivers.errors import (
    CannotConnectError,
    NotSupportedError,
)
from custom_components.homebattery.drivers.measurements import Poll
from custom_components.homebattery.drivers.modbus.learned import DAY
from custom_components.homebattery.drivers.modbus.planning import Layout
from custom_components.homebattery.drivers.modbus.register import (
    AccessType,
    DataType,
    Register,
)
from tests.drivers.conftest import Leap
from tests.drivers.in_memory import InMemoryConnection
from tests.simulators.modbus import (
    DEVICE_BUSY,
    ILLEGAL_ADDRESS,
    Dropped,
    Refused,
    Silent,
    Units,
)

UINT16, INT16 = DataType.UINT16, DataType.INT16
REGISTERS: Final = (
    Register(10, "battery_soc", UINT16, 1, "%"),
    Register(11, "battery_power", INT16, 1, "W"),
    Register(40, "battery_voltage", UINT16, 10, "V"),
    Register(41, "battery_current", UINT16, 10, "A"),
    Register(80, "battery_soh", UINT16, 1, "%", poll=Poll.SLOW),
    Register(100, "battery_temperature", UINT16, 10, "°C", poll=Poll.SLOW),
    Register(120, "power_setpoint", INT16, 1, "W", AccessType.READ_WRITE),
    Register(1, "firmware", poll=Poll.ONCE),
)
LIVE: Final = (range(10, 12), range(40, 42))
"""The two reads of live values."""
WIDE: Final = range(10, 42)
"""Both in one."""
EVERYTHING: Final = (*LIVE, range(80, 81), range(100, 101), range(120, 121))
LIVE_KEYS: Final = (
    "battery_soc",
    "battery_power",
    "battery_voltage",
    "battery_current",
)
KEYS: Final = (*LIVE_KEYS, "battery_soh", "battery_temperature", "power_setpoint")

type Answer = Callable[[range, list[int]], list[int]]
"""Returns the words for some addresses instead of these, or raises a refusal."""


class Device(Units):
    """A device that answers each read with its words, and 0 for those in between."""

    def __init__(self) -> None:
        super().__init__()
        self.words = {1: 7, 10: 50, 11: 300, 40: 512, 41: 6, 80: 98, 100: 215, 120: 5}
        self.answered: Answer = lambda _, words: words
        self.asked: list[range] = []

    @override
    def read(self, unit: int, address: int, count: int) -> Sequence[int]:
        asked = range(address, address + count)
        self.asked.append(asked)
        return self.answered(asked, [self.words.get(each, 0) for each in asked])

    @override
    def write(self, unit: int, address: int, words: list[int]) -> None:
        self.words.update(enumerate(words, address))


class Learner(ModbusBattery):
    """A battery whose layout is more careful than the device is."""

    battery_type: ClassVar[str] = "learner"
    manufacturer: ClassVar[str] = "Learner"
    registers: ClassVar[Sequence[Register]] = REGISTERS
    power_limits = SetpointLimits(-5000, 5000)
    layout = Layout(max_words=40, max_gap=4)
    settle = 0
    device: Device

    @override
    def _make_connection(self) -> Any:
        return InMemoryConnection(self.device)


@pytest.fixture
def device() -> Device:
    return Device()


async def started(
    device: Device, learned: object = None, kind: type[Learner] = Learner
) -> Learner:
    """Return a connected battery after its first read, with what an earlier run learned."""
    battery = kind("127.0.0.1")
    battery.device = device
    battery.recall(json.loads(json.dumps(learned)))
    await battery.connect()
    await battery.read()
    return battery


async def minute(battery: Learner) -> list[range]:
    """Poll all that is shown, and learn; return the reads."""
    battery.device.asked.clear()
    readings = await battery.read(set(KEYS) & set(battery.measurements))
    assert not readings.failures
    await battery.learn()
    return list(battery.device.asked)


async def live(battery: Learner) -> list[range]:
    """Return the reads of a poll that asks for live values alone."""
    battery.device.asked.clear()
    readings = await battery.read(LIVE_KEYS)
    assert dict(readings) == {
        "battery_soc": 50,
        "battery_power": 300,
        "battery_voltage": 51.2,
        "battery_current": 0.6,
    }
    return list(battery.device.asked)


def refuse(_asked: range, _words: list[int]) -> list[int]:
    raise Refused(ILLEGAL_ADDRESS)


def refuse_nothing(_asked: range, words: list[int]) -> list[int]:
    return words


def hang(_asked: range, _words: list[int]) -> list[int]:
    raise Silent


def hang_up(_asked: range, _words: list[int]) -> list[int]:
    raise Dropped


def blank_the_first(asked: range, words: list[int]) -> list[int]:
    return [word if each >= 40 else 0 for each, word in zip(asked, words, strict=True)]


def blank_the_second(asked: range, words: list[int]) -> list[int]:
    return [word if each < 40 else 0 for each, word in zip(asked, words, strict=True)]


def cut_off(_asked: range, words: list[int]) -> list[int]:
    """Return the words with a tail of zeros: half of the second block is right."""
    return [*words[:-1], 0]


def swap(_asked: range, words: list[int]) -> list[int]:
    """Return the words with others, none of them 0, in place of the second block's."""
    return [*words[:-2], words[-1], words[-2]]


def shift(_asked: range, words: list[int]) -> list[int]:
    return [0, *words[:-1]]


def if_wide(fault: Answer) -> Answer:
    """Return the fault of a read that is wider than those of the layout."""

    def answer(asked: range, words: list[int]) -> list[int]:
        return fault(asked, words) if len(asked) > 4 else words

    return answer


# Wider reads -------------------------------------------------------------------


async def test_a_wider_read_is_tried_once_and_is_then_one_request_less(
    device: Device,
) -> None:
    battery = await started(device)
    assert tuple(await live(battery)) == LIVE

    assert tuple(await minute(battery)) == (*EVERYTHING, WIDE)
    assert await live(battery) == [WIDE]
    assert (await minute(battery)).count(WIDE) == 1


async def test_one_more_request_is_made_in_a_minute_and_in_the_end_none(
    device: Device,
) -> None:
    """80 to 120 have 41 words, and the device may take no more than 40."""
    battery = await started(device)

    assert [len(await minute(battery)) for _ in range(4)] == [6, 5, 3, 3]
    assert await minute(battery) == [WIDE, range(80, 101), range(120, 121)]


@pytest.mark.parametrize("fault", [refuse, hang, hang_up])
async def test_a_wider_read_that_fails_is_never_tried_again(
    device: Device, fault: Answer
) -> None:
    device.answered = if_wide(fault)
    battery = await started(device)

    tried = [await minute(battery) for _ in range(8)]

    assert sum(reads.count(WIDE) for reads in tried) == 1
    assert tuple(tried[-1]) == EVERYTHING
    again = await started(device, battery.learned)
    assert tuple(await minute(again)) == EVERYTHING


@pytest.mark.parametrize(
    "fault", [blank_the_first, blank_the_second, cut_off, shift, swap]
)
async def test_wrong_words_without_an_error_are_not_learned(
    device: Device, fault: Answer
) -> None:
    """Some servers answer across their own borders so."""
    device.answered = if_wide(fault)
    battery = await started(device)

    tried = [await minute(battery) for _ in range(20)]

    assert 1 < sum(reads.count(WIDE) for reads in tried) <= 10
    assert tuple(await live(battery)) == LIVE


async def test_no_value_proves_nothing(device: Device) -> None:
    """Some devices answer it for whatever they have not."""
    device.words |= {140: 0x8000, 141: 0}
    battery = await started(device, kind=WithoutValue)
    for _ in range(8):
        await battery.read()
        await battery.learn()
    assert not is_learned(battery, 120, 140)

    device.words |= {140: 0, 141: 800}
    battery = await started(device, battery.learned, WithoutValue)
    for _ in range(8):
        await battery.read()
        await battery.learn()
    assert is_learned(battery, 120, 140)


async def test_two_wide_reads_that_overlap_do_not_prove_one(device: Device) -> None:
    """Both were answered, but one read across both never was: it has trials of its own.

    The first is of live values alone, and says nothing of what lies between them.
    """
    both = [[10, 11, 40, 41, 80], [40, 41, 80, 100]]
    learned = {"firmware": "7", "units": {"Learner (unit 1)": {"reads": both}}}
    battery = await started(device, learned, Roomy)

    reads = await minute(battery)

    assert reads == [range(10, 81), range(100, 101), range(120, 121), range(10, 121)]
    assert await live(battery) == [range(10, 42)]
    assert (await minute(battery))[-1] == range(10, 101)
    assert await minute(battery) == [range(10, 121)]


async def test_zeros_prove_nothing_until_there_is_something_else(
    device: Device,
) -> None:
    """Nor are they a reason to give up: nothing is tried meanwhile, as in a long night."""
    device.words |= {40: 0, 41: 0}
    battery = await started(device)
    for _ in range(30):
        assert WIDE not in await minute(battery)
    device.words |= {40: 512, 41: 6}
    assert tuple(await live(battery)) == LIVE

    await minute(battery)
    await minute(battery)

    assert await live(battery) == [WIDE]


async def test_no_word_proves_anything_of_another_part(device: Device) -> None:
    """Some servers answer 0 for some registers where the read begins in others."""

    def blank_in_between(asked: range, words: list[int]) -> list[int]:
        parts = zip(asked, words, strict=True)
        return [0 if asked[0] < 40 <= each < 42 else word for each, word in parts]

    device.answered = blank_in_between
    device.words |= {40: 0, 41: 0}
    battery = await started(device, kind=Roomy)
    for _ in range(10):
        await minute(battery)

    device.words |= {40: 512, 41: 6}
    for _ in range(20):
        await minute(battery)
        assert tuple(await live(battery)) == LIVE


async def test_a_read_that_begins_elsewhere_has_a_proof_of_its_own(
    device: Device,
) -> None:
    """The proof of a read from 10 on says nothing of one from 80 on."""

    def blank_behind_80(asked: range, words: list[int]) -> list[int]:
        parts = zip(asked, words, strict=True)
        return [0 if asked[0] == 80 < each else word for each, word in parts]

    device.answered = blank_behind_80
    battery = await started(device, kind=Roomy)
    others = set(KEYS) - {"battery_soh"}
    for _ in range(8):
        await battery.read(others)
        await battery.learn()
    device.asked.clear()
    await battery.read(others)
    assert device.asked == [range(10, 121)]

    readings = await battery.read(KEYS)
    assert readings["battery_temperature"] == 21.5


@pytest.mark.parametrize("is_newer", [True, False])
async def test_zeros_need_no_proof_where_firmware_is_known_to_mean_them(
    device: Device, *, is_newer: bool
) -> None:
    device.words |= {40: 0, 41: 0}
    if not is_newer:
        device.answered = lacking(100)
    battery = await started(device, kind=Newer)
    for _ in range(8):
        await battery.read()
        await battery.learn()

    assert is_learned(battery, 10, 40, 80) == is_newer


async def test_live_values_may_change_meanwhile(device: Device) -> None:
    device.words |= {10: 0}
    battery = await started(device)

    def change(asked: range, words: list[int]) -> list[int]:
        changed = {11: 301, 41: 7} if asked == WIDE else {}
        return [
            changed.get(each, word) for each, word in zip(asked, words, strict=True)
        ]

    device.answered = change
    await minute(battery)

    device.answered = lambda _, words: words
    device.words |= {10: 50}
    assert await live(battery) == [WIDE]


class Roomy(Learner):
    """A battery that may be read in requests of any length."""

    layout = Layout(max_words=125, max_gap=4)


class Newer(Roomy):
    """A battery whose newer firmware, which has 100, answers no 0 for what it has."""

    layout = Layout(max_words=125, max_gap=4, true_zeros=100)


class WithoutValue(Learner):
    """A battery with a value that there may be none of."""

    registers = (
        *REGISTERS,
        Register(140, "pv_power", DataType.UINT32, 1, "W", sentinels=(0x8000_0000,)),
    )


class WithFacts(Learner):
    """A battery whose device must not be read across 40."""

    layout = Layout(max_words=40, max_gap=4, borders=frozenset({40}))


async def test_no_read_runs_across_a_fact(device: Device) -> None:
    battery = await started(device, kind=WithFacts)
    await minute(battery)
    everything = [register.address for register in REGISTERS]
    learned = {
        **battery.learned,
        "units": {"Learner (unit 1)": {"reads": [sorted(everything)]}},
    }
    battery = await started(device, learned, kind=WithFacts)

    asked = [each for _ in range(6) for each in await minute(battery)]

    assert not [each for each in asked if 39 in each and 40 in each]


async def test_nothing_is_tried_while_the_battery_is_held(device: Device) -> None:
    battery = await started(device)
    await battery.set_power_setpoint(1000)

    for _ in range(4):
        assert tuple(await minute(battery)) == EVERYTHING

    await battery.release()
    assert WIDE in await minute(battery)


async def test_nothing_is_tried_while_something_fails(device: Device) -> None:
    battery = await started(device)

    def refuse_soh(asked: range, words: list[int]) -> list[int]:
        return refuse(asked, words) if 80 in asked else words

    device.answered = refuse_soh
    device.asked.clear()
    await battery.read(KEYS)
    await battery.learn()

    assert WIDE not in device.asked


async def test_a_failure_that_only_another_poll_shows_stops_no_trial(
    device: Device,
) -> None:
    """SOH is not among the values that are shown any more."""
    battery = await started(device)
    device.answered = lacking(80)
    await battery.read(KEYS)
    device.answered = refuse_nothing

    await live(battery)
    await battery.learn()

    assert await live(battery) == [WIDE]


async def test_a_busy_device_is_tried_again(device: Device) -> None:
    def be_busy(_asked: range, _words: list[int]) -> list[int]:
        raise Refused(DEVICE_BUSY)

    device.answered = if_wide(be_busy)
    battery = await started(device)
    await minute(battery)
    device.answered = lambda _, words: words

    await minute(battery)
    await minute(battery)

    assert await live(battery) == [WIDE]


@pytest.mark.parametrize(
    "polls",
    [
        [(refuse, [WIDE, *LIVE]), (refuse, [*LIVE])],
        # Answers get lost.
        [
            (hang, [WIDE, *LIVE]),
            (refuse_nothing, [WIDE]),
            (hang, [WIDE, *LIVE]),
            (hang, [WIDE, *LIVE]),
            (hang, [*LIVE]),
        ],
    ],
    ids=["refused", "silent"],
)
async def test_a_learned_read_is_forgotten_when_it_is_refused_or_silent_twice_in_a_row(
    device: Device, polls: list[tuple[Answer, list[range]]]
) -> None:
    """Its parts are read in the same poll."""
    battery = await started(device)
    await minute(battery)
    for fault, reads in polls:
        device.answered = if_wide(fault)
        assert await live(battery) == reads


async def test_a_proof_ends_the_count_of_trials_that_proved_nothing(
    device: Device,
) -> None:
    """So a read may be learned again as often as it was forgotten."""
    battery = await started(device)
    for _ in range(5):
        device.answered = refuse_nothing
        for _ in range(6):
            await minute(battery)
        assert await live(battery) == [WIDE]
        device.answered = if_wide(refuse)
        assert await live(battery) == [WIDE, *LIVE]


async def test_a_learned_read_that_ends_the_connection_is_not_repeated(
    device: Device,
) -> None:
    battery = await started(device)
    await minute(battery)
    device.answered = if_wide(hang_up)
    with pytest.raises(CannotConnectError):
        await live(battery)

    assert tuple(await live(battery)) == LIVE


async def test_a_device_out_of_reach_keeps_what_was_learned(device: Device) -> None:
    battery = await started(device)
    await minute(battery)
    device.answered = hang
    for _ in range(3):
        with pytest.raises(Exception, match="127"):
            await battery.read(LIVE_KEYS)

    device.answered = lambda _, words: words

    assert await live(battery) == [WIDE]


async def test_control_reads_as_if_nothing_had_been_learned(device: Device) -> None:
    battery = await started(device)
    await minute(battery)
    device.asked.clear()

    await battery.read_registers(LIVE_KEYS)

    assert tuple(device.asked) == LIVE


async def test_a_trial_leaves_the_diagnostics_as_they_are(device: Device) -> None:
    device.answered = if_wide(blank_the_second)
    battery = await started(device)
    await minute(battery)

    assert battery.raw["units"]["1"]["40"] == [512, 6]
    device.answered = if_wide(refuse)
    await minute(battery)
    assert battery.raw["units"]["1"]["40"] == [512, 6]
    assert battery.raw["refused"] == {}


# Over restarts -----------------------------------------------------------------


async def test_what_was_learned_survives_a_restart(device: Device) -> None:
    battery = await started(device)
    kept: list[Any] = []
    battery.keep_learned = kept.append
    await minute(battery)
    assert kept == [battery.learned]

    again = await started(device, kept[-1])

    assert await live(again) == [WIDE]


async def test_nothing_is_kept_twice(device: Device) -> None:
    battery = await started(device)
    for _ in range(6):
        await minute(battery)
    again = await started(device, battery.learned)
    kept: list[Any] = []
    again.keep_learned = kept.append

    await minute(again)

    assert kept == []


async def test_another_firmware_forgets_it(device: Device) -> None:
    battery = await started(device)
    await minute(battery)
    device.words[1] = 8

    again = await started(device, battery.learned)

    assert tuple(await live(again)) == LIVE
    assert tuple(await minute(again)) == (*EVERYTHING, WIDE)


async def test_a_firmware_that_is_not_answered_forgets_nothing(device: Device) -> None:
    battery = await started(device)
    await minute(battery)
    del device.words[1]

    again = await started(device, battery.learned)

    assert again.identity.firmware is None
    assert await live(again) == [WIDE]
    device.words[1] = 7
    assert await live(await started(device, again.learned)) == [WIDE]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["units", "reads", "gaps", "missing", "firmware", "80"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values, json_values)
def test_damage_is_ignored(whole: object, unit: object) -> None:
    battery = Learner("127.0.0.1")

    battery.recall(whole)
    battery.recall({"firmware": "7", "units": {"Learner (unit 1)": unit}})

    text = json.dumps(battery.learned)
    again = Learner("127.0.0.1")
    again.recall(json.loads(text))
    assert again.learned == battery.learned


async def test_a_damaged_part_costs_only_itself(device: Device) -> None:
    learned = {
        "firmware": "7",
        "units": {
            "Learner (unit 1)": {
                "reads": [[41, 40, 11, 10], [10, 40], "x", [1, "2"], [], [0, 10**9]],
                "gaps": 5,
                "missing": {"80": [2, time.time() + DAY], "x": [2, 1], "100": [9, 1]},
            }
        },
    }

    battery = await started(device, learned)

    assert await live(battery) == [WIDE]
    assert battery.learned["units"] == {
        "Learner (unit 1)": {"reads": [[10, 11, 40, 41]]}
    }


async def test_a_file_may_be_of_any_size(device: Device) -> None:
    reads = [[each, each + 1] for each in range(60_000)]
    units = {f"unit {each}": {"reads": reads[each::2000]} for each in range(2000)}

    battery = await started(device, {"firmware": "7", "units": units})

    assert len(json.dumps(battery.learned)) < 2_000_000


# Missing registers -------------------------------------------------------------


class Calendar:
    """The wall time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, leap: Leap) -> None:
        self._leap = leap
        self.now = time.time()
        monkeypatch.setattr(time, "time", lambda: self.now)

    def advance(self, seconds: float) -> None:
        """Put this and the clock of the event loop forward."""
        self.now += seconds
        self._leap(seconds)


@pytest.fixture
def calendar(monkeypatch: pytest.MonkeyPatch, leap: Leap) -> Calendar:
    return Calendar(monkeypatch, leap)


def lacking(*missing: int) -> Answer:
    """Return the answers of a device without some registers."""

    def answer(asked: range, words: list[int]) -> list[int]:
        return words if set(missing).isdisjoint(asked) else refuse(asked, words)

    return answer


async def lacking_twice(device: Device, calendar: Calendar, missing: int) -> Learner:
    """Return a battery that was refused a register over two connections."""
    device.answered = lacking(missing)
    first = await started(device)
    calendar.advance(ASK_AGAIN)
    return await started(device, first.learned)


def is_learned(battery: Learner, *addresses: int) -> bool:
    """Return whether registers may be read in one request."""
    reads = battery.learned["units"]["Learner (unit 1)"]["reads"]
    return any(set(addresses) <= set(read) for read in reads)


def is_asked(device: Device, address: int) -> bool:
    return any(address in asked for asked in device.asked)


async def test_a_register_refused_on_one_connection_is_asked_for_after_a_restart(
    device: Device, calendar: Calendar
) -> None:
    device.answered = lacking(80)
    battery = await started(device)
    calendar.advance(ASK_AGAIN)
    await battery.read(KEYS)
    device.answered = lambda _, words: words

    again = await started(device, battery.learned)

    assert await again.get("battery_soh") == 98
    assert "missing" not in str(again.learned)


async def test_a_second_connection_soon_after_the_first_proves_nothing(
    device: Device, calendar: Calendar
) -> None:
    """It may refuse for minutes, whatever is connected."""
    device.answered = lacking(80)
    first = await started(device)
    second = await started(device, first.learned)
    device.answered = lambda _, words: words
    device.asked.clear()

    await started(device, second.learned)

    assert is_asked(device, 80)


async def test_a_register_refused_on_two_connections_is_asked_for_once_a_day(
    device: Device, calendar: Calendar
) -> None:
    battery = await lacking_twice(device, calendar, 80)
    device.asked.clear()

    battery = await started(device, battery.learned)
    for _ in range(23):
        calendar.advance(DAY / 24)
        await minute(battery)
    assert not is_asked(device, 80)
    assert "battery_soh" not in battery.measurements
    with pytest.raises(NotSupportedError):
        await battery.get("battery_soh")

    calendar.advance(DAY / 24)
    await battery.read(LIVE_KEYS)
    assert is_asked(device, 80)
    device.asked.clear()
    calendar.advance(DAY / 2)
    await battery.read(LIVE_KEYS)
    assert not is_asked(device, 80)


@pytest.mark.parametrize(("days", "firmware"), [(1, 7), (0, 8)])
async def test_a_restart_asks_for_a_missing_register_after_a_day_or_with_other_firmware(
    device: Device, calendar: Calendar, days: int, firmware: int
) -> None:
    battery = await lacking_twice(device, calendar, 80)
    calendar.advance(days * DAY)
    device.answered = lambda _, words: words
    device.words[1] = firmware

    again = await started(device, battery.learned)

    assert await again.get("battery_soh") == 98
    assert "missing" not in str(again.learned)


@pytest.mark.parametrize("needed", [10, 11, 40, 120])
async def test_what_a_setpoint_needs_is_asked_for_whatever_was_refused(
    device: Device, calendar: Calendar, needed: int
) -> None:
    battery = await lacking_twice(device, calendar, needed)
    calendar.advance(ASK_AGAIN)
    battery = await started(device, battery.learned)
    device.asked.clear()

    await started(device, battery.learned)

    assert is_asked(device, needed)
    assert "missing" not in str(battery.learned)


class Introduced(Learner):
    """A battery that reads its SOH with its identity."""

    @override
    async def _identify(self) -> Identity:
        await self._read_identity({"battery_soh"}, "battery_soh")
        return await super()._identify()


async def test_a_register_that_the_identity_is_read_with_is_not_missing(
    device: Device, calendar: Calendar
) -> None:
    """It is there now, so it is asked for with all others, and stays known."""
    battery = await lacking_twice(device, calendar, 80)
    device.answered = lambda _, words: words

    again = await started(device, battery.learned, Introduced)

    assert await again.get("battery_soh") == 98
    assert "missing" not in str(again.learned)


async def test_control_asks_for_a_register_that_is_stored_as_missing(
    device: Device, calendar: Calendar
) -> None:
    """It is asked for by polls from then on, too."""
    battery = await lacking_twice(device, calendar, 80)
    battery = await started(device, battery.learned)
    device.answered = lambda _, words: words

    assert await battery.read_registers(["battery_soh"]) == {"battery_soh": 98}
    assert "missing" not in str(battery.learned)


async def test_a_register_that_answers_makes_others_doubtful(
    device: Device, calendar: Calendar
) -> None:
    """They were refused at the same time as it was."""
    device.answered = lacking(80, 100)
    battery = await started(device)
    calendar.advance(ASK_AGAIN)
    battery = await started(device, battery.learned)
    device.answered = lambda _, words: words
    calendar.advance(DAY)
    await battery.read(LIVE_KEYS)

    assert "missing" not in str(battery.learned)
    assert await battery.get("battery_temperature") == 21.5


async def test_a_connection_that_was_lost_in_between_counts_as_another(
    device: Device, calendar: Calendar
) -> None:
    device.answered = lacking(80)
    battery = await started(device)
    calendar.advance(ASK_AGAIN)
    device.answered = hang_up
    with pytest.raises(CannotConnectError):
        await battery.read(LIVE_KEYS)
    device.answered = lacking(80)
    # One read connects, the next one notices, and then everything is asked for.
    for _ in range(3):
        await battery.read()
    device.asked.clear()

    await started(device, battery.learned)

    assert not is_asked(device, 80)
