"""The Sessy driver with any JSON at any path: no value that there cannot be."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
import json
from typing import Any, Final

from hypothesis import given, strategies as st
import pytest

from custom_components.homebattery.drivers.errors import BatteryError
from custom_components.homebattery.drivers.sessy.battery import SessyInverter
from tests.drivers.possible import read_all, use
from tests.simulators.http_server import Request
from tests.simulators.image import HttpImage, load
from tests.strategies import (
    JSON,
    LEAVES,
    POWERS,
    damaged,
    damaged_text,
    share_of_examples,
)

from .hostile import HostileDongle, answer

VECTORS: Final = load("sessy")
PATHS: Final = sorted({path for each in VECTORS for path in each["responses"]})

type Odd = dict[str, str | int]
"""Other answers, by method and path: a text, or the status of an error."""


def odd_answers(vector: dict[str, Any]) -> st.SearchStrategy[Odd]:
    """Return other answers for some paths of a vector: any JSON, or a damaged one."""

    def instead_of(path: str) -> st.SearchStrategy[tuple[str, str | int]]:
        usual = vector["responses"].get(path, {"status": "ok"})
        answers = st.one_of(
            damaged(usual).map(json.dumps),
            damaged(usual).map(json.dumps),
            st.dictionaries(st.sampled_from(sorted(usual)), JSON).map(
                lambda odd: json.dumps({**usual, **odd, "status": "ok"})
            ),
            damaged_text(usual),
            JSON.map(json.dumps),
            st.sampled_from([400, 401, 404, 500, 503, 302]),
        )
        return st.tuples(st.just(path), answers)

    paths = [*vector["responses"], "POST /api/v1/power/setpoint", *PATHS]
    return st.lists(
        st.sampled_from(paths).flatmap(instead_of), min_size=1, max_size=3
    ).map(dict)


@asynccontextmanager
async def connected(vector: dict[str, Any], odd: Odd) -> AsyncIterator[SessyInverter]:
    """Yield a battery that gets the answers of a vector, without a network."""
    image = HttpImage(vector)
    battery = SessyInverter("127.0.0.1", username=image.username or "", password="x")

    async def exchange(
        _where: str, method: str, path: str, body: Any, _password: str
    ) -> tuple[int, str]:
        match odd.get(f"{method} {path}"):
            case str(text):
                return 200, text
            case int(status):
                return status, "odd"
        content, status = await image.answer(Request(method, path, body))
        return status, content if isinstance(content, str) else json.dumps(content)

    client: Any = battery.client
    client._exchange = exchange
    async with battery:
        yield battery


each_dongle: Final = pytest.mark.parametrize(
    "vector",
    [
        # The newest firmware of a battery, and a meter; of the others the rest is less.
        pytest.param(
            vector,
            id=vector["name"],
            marks=[] if vector in (VECTORS[0], VECTORS[-1]) else pytest.mark.long,
        )
        for vector in VECTORS
    ],
)


@each_dongle
@share_of_examples(1 / 4)
@given(st.data())
def test_any_json_is_read_as_possible_values_or_as_unknown(
    vector: dict[str, Any], data: st.DataObject
) -> None:
    later = data.draw(odd_answers(vector))

    async def read() -> None:
        odd: Odd = {}
        async with connected(vector, odd) as battery:
            odd.update(later)
            with suppress(BatteryError):
                await read_all(battery)

    asyncio.run(read())


@each_dongle
@share_of_examples(1 / 4)
@given(st.data())
def test_any_json_when_connecting_is_a_battery_or_an_error_of_the_library(
    vector: dict[str, Any], data: st.DataObject
) -> None:
    odd = data.draw(odd_answers(vector))

    async def connect() -> None:
        with suppress(BatteryError):
            async with connected(vector, odd) as battery:
                await read_all(battery)

    asyncio.run(connect())


@pytest.mark.parametrize("state", [{}, [], {"P1_OK": 1}, None, 1e400])
async def test_state_of_a_meter_that_is_no_text_is_none_known(state: Any) -> None:
    """It is an object, a list, nothing or a number, already when connecting."""
    path = "GET /api/v2/p1/details"
    odd: Odd = {path: json.dumps({**VECTORS[-1]["responses"][path], "state": state})}
    async with connected(VECTORS[-1], odd) as battery:
        await read_all(battery)
        readings = await battery.read(["meter_status", "grid_power"])

    assert readings.get("meter_status") is None
    assert readings.get("grid_power") is None


@share_of_examples(1 / 5)
@given(data=st.data(), power=st.integers(-3000, 3000))
def test_any_json_while_held_raises_only_errors_of_the_library(
    data: st.DataObject, power: int
) -> None:
    before, after = (data.draw(odd_answers(VECTORS[0])) for _ in range(2))
    is_held = data.draw(st.booleans())

    async def control() -> None:
        odd: Odd = {}
        async with connected(VECTORS[0], odd) as battery:
            if is_held:
                await battery.set_power_setpoint(power)
            odd.update(before)
            await use(battery, power)
            odd.clear()
            odd.update(after)
            await use(battery, power)

    asyncio.run(control())


@share_of_examples(1 / 2)
@given(data=st.data(), stored=st.dictionaries(st.just("strategy") | st.text(), JSON))
def test_any_stored_snapshot_is_restored_as_far_as_it_makes_sense(
    data: st.DataObject, stored: dict[str, Any]
) -> None:
    async def restore() -> None:
        async with connected(VECTORS[0], {}) as battery:
            await battery.set_power_setpoint(1000)
            battery.snapshot = battery.recover(stored).snapshot
            assert battery.snapshot.keys() <= {"strategy"}
            with suppress(BatteryError):
                await battery.release()

    asyncio.run(restore())


@given(st.data())
def test_any_value_is_set_or_refused_by_an_error_of_the_library(
    data: st.DataObject,
) -> None:
    async def change() -> None:
        async with connected(VECTORS[0], {}) as battery:
            key = data.draw(st.sampled_from([*battery.settings, "none"]))
            value, power = data.draw(LEAVES), data.draw(POWERS)
            with suppress(BatteryError):
                await battery.set_value(key, value)
            with suppress(BatteryError):
                await battery.set_power_setpoint(power)
            await battery.release()

    asyncio.run(change())


@pytest.mark.usefixtures("socket_enabled")
@share_of_examples(1 / 4)
@given(
    path=st.sampled_from(PATHS),
    body=st.one_of(
        st.binary(max_size=200),
        st.binary(max_size=60).map(lambda body: b"HTTP/1.1 200 OK\r\n" + body),
        JSON.map(lambda value: answer(json.dumps(value))),
        st.text(max_size=60).map(lambda text: answer(text.encode())),
    ),
)
def test_any_bytes_over_the_network_fail_alone(path: str, body: bytes) -> None:
    async def read() -> None:
        async with HostileDongle(VECTORS[0]["responses"]) as dongle:
            setup = dict(dongle.setup)
            with suppress(BatteryError):
                async with SessyInverter(
                    setup.pop("host"), **setup, timeout=0.2
                ) as battery:
                    dongle.hostile[path.split(" ")[1]] = body
                    await read_all(battery)

    asyncio.run(read())
