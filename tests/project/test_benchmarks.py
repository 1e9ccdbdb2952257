"""The benchmarks measure what they say, and the page is made of what they kept."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
import gc
from itertools import count
from pathlib import Path
import struct
import subprocess
import threading
import time

import pytest

from benchmarks.__main__ import PARTS
from benchmarks.bare import answer_time
from benchmarks.devices import NAMES, ROOT
from benchmarks.fast_time import FastLoop
from benchmarks.framing import Request, http, modbus_tcp
from benchmarks.kept import CHANGED, PAGE, Kept, commit, keep, kept_in
from benchmarks.least import Wanted, accepted_by, least_requests
from benchmarks.many import lateness
from benchmarks.page import page, section
from benchmarks.peers import words_in
from benchmarks.polls import connected, limit, measure, registers_of
from benchmarks.relay import Relay, Seen
from benchmarks.soak import missed_aims
from benchmarks.stalls import longest_collection
from benchmarks.tables import Column, Part, Result, Table
from tests.home import ON_A_SOCKET, house_of
from tests.simulators import ManualClock, VictronSimulator


async def nothing(short: bool) -> Result:
    return {}


PART = Part(
    "walks",
    "Walks",
    (
        Table(
            "dogs",
            "Walks of each dog.",
            (Column("dog", "dog"), Column("pace", "pace, m/s", ".1f")),
        ),
    ),
    nothing,
)
WALKED = Kept(
    "2026-11-28",
    "2 cores",
    "1234567",
    61.2,
    {"dogs": [{"dog": "Rex", "pace": 1.25}, {"dog": "Bo", "pace": None}]},
)


def test_a_section_has_the_figures_that_were_kept() -> None:
    lines = section(PART, WALKED).split("\n")

    assert lines[0] == "## Walks"
    assert "2026-11-28 at commit 1234567, in 61 s (2 cores)" in lines[2]
    assert lines[4:] == [
        "Walks of each dog.",
        "",
        "| dog | pace, m/s |",
        "| --- | ---: |",
        "| Rex | 1.2 |",
        "| Bo | – |",
        "",
    ]


def test_a_part_that_was_never_measured_says_how_to_do_that() -> None:
    assert "Not measured yet: `scripts/benchmark walks`" in page([PART], {})


def test_results_are_kept_by_part(tmp_path: Path) -> None:
    keep(tmp_path, PART.name, WALKED)

    assert kept_in(tmp_path, PART.name) == WALKED
    assert kept_in(tmp_path, "runs") is None


def test_each_part_has_tables_of_its_own() -> None:
    for name, part in PARTS.items():
        assert part.name == name
        assert len({table.name for table in part.tables}) == len(part.tables) > 0


@pytest.mark.parametrize(
    ("readable", "least"),
    [
        pytest.param([(0, 200)], 2, id="two are too far apart for 125 words"),
        pytest.param([(0, 9), (10, 99), (100, 200)], 3, id="borders between them"),
        pytest.param([(0, 129), (140, 200)], 2, id="a hole where nothing is wanted"),
    ],
)
def test_the_least_number_of_requests(
    readable: list[tuple[int, int]], least: int
) -> None:
    wanted = [Wanted(1, 2, 4), Wanted(1, 12, 14), Wanted(1, 128, 129)]

    def accepts(unit: int, address: int, words: int) -> bool:
        return any(
            first <= address and address + words - 1 <= last for first, last in readable
        )

    assert least_requests(wanted, accepts) == least


def test_each_unit_takes_a_request_of_its_own() -> None:
    wanted = [Wanted(1, 2, 4), Wanted(2, 2, 4), Wanted(1, 4, 5), Wanted(1, 2, 4)]

    assert least_requests(wanted, lambda *_: True) == 2


def test_what_a_device_accepts_is_asked_of_the_simulated_one() -> None:
    accepts = accepted_by("sun2000")

    assert accepts(1, 37000, 26)
    assert not accepts(1, 37000, 27)


def test_requests_are_seen_in_the_bytes_of_modbus() -> None:
    read = struct.pack(">HHHBBHH", 1, 0, 6, 3, 3, 100, 20)
    write = struct.pack(">HHHBBHHB2H", 2, 0, 11, 3, 16, 40, 2, 4, 7, 8)

    requests, rest = modbus_tcp(read + write + read[:5])

    assert requests == [Request(False, 3, 100, 20), Request(True, 3, 40, 2)]
    assert rest == read[:5]


def test_requests_are_seen_in_the_bytes_of_http() -> None:
    get = b"GET /status HTTP/1.1\r\nHost: a\r\n\r\n"
    post = b"POST /power HTTP/1.1\r\nContent-Length: 3\r\n\r\n{1}"

    requests, rest = http(get + post + post[:-1])

    assert [(each.is_write, each.path) for each in requests] == [
        (False, "/status"),
        (True, "/power"),
    ]
    assert rest == post[:-1]


def test_hours_go_by_at_once_in_fast_time() -> None:
    async def an_hour() -> float:
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time() - began

    loop = FastLoop()
    began = time.monotonic()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        passed = runner.run(an_hour())
        loop.leaps = False
    assert passed >= 3600 > time.monotonic() - began


def test_fast_time_waits_for_threads() -> None:
    ready = threading.Event()

    async def wait_for_thread() -> bool:
        loop = asyncio.get_running_loop()
        loop.call_soon(threading.Timer(0, ready.set).start)
        return await asyncio.wait_for(
            loop.run_in_executor(None, ready.wait), timeout=3600
        )

    loop = FastLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        assert runner.run(wait_for_thread())
        loop.leaps = False
    assert loop.ahead < 3600


@pytest.mark.parametrize(
    ("writes", "late"),
    [
        pytest.param([0, 5, 10, 15.5, 17], 0.5, id="the last one releases"),
        pytest.param([0, 2], None, id="nothing was renewed"),
    ],
)
def test_the_latest_renewal(writes: list[float], late: float | None) -> None:
    assert lateness([{"type": "victron"}], [writes]) == late


class BehindRelay:
    """A device behind a relay in this process."""

    battery_type = "victron"

    def __init__(self, setup: dict[str, object], relay: Relay) -> None:
        self.setup = {**setup, "port": relay.port}
        self._relay = relay

    async def take(self) -> list[Seen]:
        return self._relay.take()


@asynccontextmanager
async def behind_relay() -> AsyncIterator[tuple[BehindRelay, Relay]]:
    """Yield a simulated Victron behind a relay, and the relay."""
    house = house_of(VictronSimulator, ManualClock())
    async with VictronSimulator(house) as victron:
        relay = Relay("modbus_tcp", victron.host, victron.port)
        await relay.start()
        yield BehindRelay(victron.setup, relay), relay
        await relay.stop()


@pytest.mark.usefixtures("socket_enabled")
async def test_a_poll_is_measured_beside_the_least() -> None:
    async with behind_relay() as (device, relay), connected(device) as battery:
        relay.answer = 0.005
        keys = ["battery_soc", "grid_power"]
        wanted = await registers_of(device, battery, keys)
        one = await measure(device, battery, keys)

    least = least_requests(wanted, accepted_by("victron"))
    assert least <= len(one.seen) < len(wanted)
    assert limit(len(one.seen), relay.answer, 0) <= one.cost.wall


@pytest.mark.usefixtures("socket_enabled")
async def test_a_bare_socket_asks_the_same_and_waits_as_long_as_the_device_takes() -> (
    None
):
    async with behind_relay() as (device, relay):
        async with connected(device) as battery:
            polled = await measure(device, battery, ["battery_soc", "grid_power"])
        relay.answer = 0.02
        sent = [bytes.fromhex(each.sent) for each in polled.seen]
        answer = await asyncio.to_thread(
            answer_time, device.setup, sent, rounds=2, spacing=0
        )
        seen = relay.take()

    assert answer >= 0.02
    assert [each.request for each in seen] == 3 * [each.request for each in polled.seen]


def test_the_limit_is_the_answers_and_the_pauses_between_them() -> None:
    assert limit(1, 0.02, 0.1) == pytest.approx(0.02)
    assert limit(4, 0.02, 0.1) == pytest.approx(0.38)


@pytest.mark.usefixtures("socket_enabled")
async def test_a_relay_answers_as_long_after_the_request_as_it_is_asked_to() -> None:
    milliseconds = count()
    async with VictronSimulator() as victron:
        relay = Relay(
            *("modbus_tcp", victron.host, victron.port),
            clock=lambda: next(milliseconds) / 1000,
        )
        relay.answer = 0.02
        await relay.start()
        async with connected(BehindRelay(victron.setup, relay)):
            seen = relay.take()
        await relay.stop()

    delays = [each.answered - each.arrived for each in seen if each.answered]
    assert len(delays) > 0
    # The clock is read once more, when the answer is due, to note that.
    assert all(0.0205 < delay < 0.0225 for delay in delays)


def test_each_battery_type_has_a_name_of_its_own() -> None:
    assert NAMES.keys() >= {*ON_A_SOCKET}
    assert len({*NAMES.values()}) == len(NAMES)


def test_words_are_counted_once() -> None:
    assert words_in([(10, 12), (11, 14), (20, 21)]) == 5


@pytest.mark.parametrize(
    ("worse", "missed"),
    [
        pytest.param({}, [], id="all as they should be"),
        pytest.param({"memory": 4.8}, ["more memory"], id="grown"),
        pytest.param({"counted": None}, ["error of counters"], id="never compared"),
    ],
)
def test_an_aim_that_is_missed_is_named(
    worse: dict[str, float | None], missed: list[str]
) -> None:
    figures = {"counted": 0.0, "late": 0.1, "memory": 0.2, "tasks": 0}

    assert missed_aims({**figures, **worse}) == missed


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Commit the page and one other file to a repository."""
    for path in (PAGE.relative_to(ROOT), Path("driver.py")):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("as committed\n")
    for command in (
        ["init", "--quiet"],
        ["add", "."],
        [
            *(
                "-c",
                "user.name=A",
                "-c",
                "user.email=a@b",
                "-c",
                "commit.gpgsign=false",
            ),
            *("commit", "--quiet", "--message=All"),
        ],
    ):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def test_a_page_that_was_made_anew_is_no_change(checkout: Path) -> None:
    (checkout / PAGE.relative_to(ROOT)).write_text("made anew\n")
    assert not commit(checkout).endswith(CHANGED)

    (checkout / "driver.py").write_text("changed\n")
    assert commit(checkout).endswith(CHANGED)


def test_a_section_says_that_files_were_changed() -> None:
    explained = "files were changed since that commit"

    assert explained not in section(PART, WALKED)
    assert explained in section(PART, WALKED._replace(commit=f"1234567{CHANGED}"))


def test_the_longest_collection_is_noted() -> None:
    with longest_collection() as collection:
        gc.collect()
    assert collection.longest > 0
