"""The Sessy driver, against recorded answers and against a simulated dongle."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
import logging
from typing import Any, override

import aiohttp
import pytest

from custom_components.homebattery.drivers.battery.base import SetpointLimits
from custom_components.homebattery.drivers.battery.controller import Grant, LimitReason
from custom_components.homebattery.drivers.battery.readings import Readings
from custom_components.homebattery.drivers.errors import (
    AuthenticationError,
    BatteryError,
    CannotConnectError,
    DeviceBusyError,
    DeviceRefusedError,
    FlashBudgetError,
    InvalidValueError,
    NotConfirmedError,
    NotSupportedError,
    ProtocolError,
    RequestTimeoutError,
    TakenOverError,
    WrongDeviceError,
)
from custom_components.homebattery.drivers.flash import DAILY_BUDGET
from custom_components.homebattery.drivers.measurements import (
    MEASUREMENTS,
    Poll,
    Quantity,
)
from custom_components.homebattery.drivers.sessy import device as sessy_device
from custom_components.homebattery.drivers.sessy.battery import SessyInverter
from custom_components.homebattery.drivers.sessy.client import SessyClient
from tests.drivers.conftest import Leap
from tests.simulators import ManualClock, Plant, SessySimulator
from tests.simulators.http_server import Answer, Json, Request
from tests.simulators.image import HttpImage, Vector, load
from tests.simulators.sessy import REFUSALS, Device, SetpointRefusal
from tests.simulators.sessy_dongles import OK

pytestmark = pytest.mark.usefixtures("socket_enabled")

VECTORS = load("sessy")
FIRST_SLOT = 1764547200.0  # of the one vector with a schedule

POWER = "/api/v1/power/status"
STRATEGY = "/api/v1/power/active_strategy"
SETPOINT = "/api/v1/power/setpoint"
ENERGY = "/api/v1/energy/status"
SETTINGS = "/api/v1/system/settings"
INFO = "/api/v1/system/info"
P1 = "/api/v2/p1/details"
MODBUS = "/api/v1/modbus/details"

API = "POWER_STRATEGY_API"
NOM = "POWER_STRATEGY_NOM"
FAST_KEYS = (
    "battery_soc",
    "battery_charge_power",
    "battery_status",
    "pv_power",
    "working_mode",
    "strategy_overridden",
    "problem",
)

# Keys that a vector calls otherwise.
EXTRA_KEYS = {
    "first_slot_battery_power_W": "scheduled_power",
    "first_price_EUR_per_kWh": "energy_price",
    "gas_m3": "gas_total",
}


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SessyInverter, "settle", 0)
    monkeypatch.setattr(SessyClient, "retry_pause", 0)


def inverter(device: HttpImage | SessySimulator, **changes: Any) -> SessyInverter:
    """Return a driver with address and password, not yet connected."""
    arguments = {**device.setup, **changes}
    return SessyInverter(arguments.pop("host"), **arguments)


@asynccontextmanager
async def connected(
    device: HttpImage | SessySimulator, **changes: Any
) -> AsyncIterator[SessyInverter]:
    """Yield a driver that is connected to a device started for it."""
    async with device, inverter(device, **changes) as battery:
        yield battery


@asynccontextmanager
async def simulated(
    changes: Json | None = None, **options: Any
) -> AsyncIterator[tuple[SessySimulator, SessyInverter]]:
    """Yield a simulator and a driver that is connected to it."""
    house = SessySimulator.house(clock=ManualClock(), pv_peak=0.0, mean_load=0.0)
    simulator = SessySimulator(house, **options)
    async with connected(simulator, **(changes or {})) as battery:
        yield simulator, battery


def image(**answers: Json | None) -> HttpImage:
    """Return the first vector's battery with some answers changed (None: 404)."""
    return HttpImage(changed(VECTORS[0], **answers))


def p1_image(**answers: Json | None) -> HttpImage:
    """Return the P1 dongle of the vectors with some answers changed."""
    return HttpImage(changed(VECTORS[-1], **answers))


def changed(vector: Vector, **answers: Json | None) -> Vector:
    """Return a vector with other answers to GETs, by this module's path names."""
    responses = dict(vector["responses"])
    for name, answer in answers.items():
        responses[f"GET {globals()[name]}"] = answer or {"__http_status__": 404}
    return {**vector, "responses": responses}


def answer_of(vector: Vector, path: str, **values: Any) -> Json:
    """Return a vector's answer with some values changed."""
    return {**vector["responses"][f"GET {path}"], **values}


def sessy_answer(**values: Any) -> Json:
    """Return a power status with some values changed."""
    status = VECTORS[0]["responses"][f"GET {POWER}"]
    return {**status, "sessy": {**status["sessy"], **values}}


def posts(device: HttpImage | SessySimulator) -> list[tuple[str, Json | None]]:
    """Return all posts as (path, body)."""
    server = device if isinstance(device, HttpImage) else device.server
    return [(request.path, request.body) for request in server.posts]


def paths_asked(device: HttpImage | SessySimulator, start: int) -> list[str]:
    """Return the requested paths from request `start` on."""
    server = device if isinstance(device, HttpImage) else device.server
    return [request.path for request in server.requests[start:]]


class DeafImage(HttpImage):
    """A battery that answers ok to everything and does nothing."""

    @override
    async def answer(self, request: Request) -> Answer:
        if request.method == "POST":
            return Answer({"status": "ok"})
        return await super().answer(request)


# Vectors ---------------------------------------------------------------------


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
async def test_values_are_those_of_the_vector(vector: Vector) -> None:
    expected = {
        EXTRA_KEYS.get(key, key): value
        for key, value in (
            vector["expected"] | vector.get("expected_extra", {})
        ).items()
    }
    async with connected(HttpImage(vector)) as battery:
        battery.device.clock = lambda: FIRST_SLOT
        readings = await battery.read({*expected, *battery.measurements})

    for key, value in expected.items():
        if value is None:
            assert readings.get(key) is None, key
        else:
            assert readings[key] == pytest.approx(value, abs=1e-6), key


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
async def test_values_fit_their_measurement(vector: Vector) -> None:
    kinds: dict[Quantity, tuple[type, ...]] = {
        Quantity.TEXT: (str,),
        Quantity.STATUS: (str,),
        Quantity.FLAG: (bool,),
        Quantity.PROBLEMS: (tuple,),
    }
    async with connected(HttpImage(vector)) as battery:
        readings = await battery.read()
        options = {key: battery.options(key) for key in readings}

    for key, value in readings.items():
        quantity = MEASUREMENTS[key].quantity
        assert value is None or type(value) in kinds.get(quantity, (int, float)), key
        if quantity is Quantity.STATUS:
            assert value is None or value in options[key], key
    assert {type(err) for err in readings.failures.values()} <= {NotSupportedError}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
async def test_writes_are_those_of_the_vector(vector: Vector) -> None:
    async with connected(device := HttpImage(vector)) as battery:
        for action in vector["writes"]:
            before = len(device.requests)
            await perform(battery, action["action"], action["value"])
            check_requests(device.requests[before:], action)


async def perform(battery: SessyInverter, action: str, value: Any) -> None:
    """Perform the action of a vector."""
    if action == "set_power_setpoint":
        await battery.set_power_setpoint(value)
    elif action == "release":
        await battery.release()
    else:
        await battery.set_value(action.removeprefix("set_"), value)


def check_requests(requests: list[Request], action: Json) -> None:
    """Check that the expected requests came in order, and no other writes."""
    expected = list(action["expect_requests"])
    allowed = action.get("optional_requests", [])
    for request in requests:
        if expected and is_same(request, expected[0]):
            del expected[0]
        else:
            assert request.method == "GET" or any(
                is_same(request, other) for other in allowed
            ), request
    assert not expected, action


def is_same(request: Request, expected: list[Any]) -> bool:
    """Return True if a request is the one that a vector describes."""
    method, path, body = expected
    if (request.method, request.path) != (method, path):
        return False
    if body is not None and "$subset" in body:
        return (
            request.body is not None
            and body["$subset"].items()
            <= {
                key: value
                for key, value in request.body.items()
                if key in body["$subset"]
            }.items()
        )
    return bool(request.body == body) and has_same_types(request.body, body)


def has_same_types(one: Json | None, other: Json | None) -> bool:
    """Return True unless 1500 was sent as 1500.0, or similar."""
    return [type(value) for value in (one or {}).values()] == [
        type(value) for value in (other or {}).values()
    ]


# Setpoints -------------------------------------------------------------------


@pytest.mark.parametrize("power", [1500, -900, 0, 10])
async def test_battery_runs_at_its_setpoint(power: int) -> None:
    async with simulated() as (simulator, battery):
        granted = await battery.set_power_setpoint(power)
        readings = await battery.read(["battery_power", "power_setpoint"])

    # Below its least power it stays idle; the setpoint is sent as it is.
    runs_at = power if abs(power) >= 50 else 0
    assert granted == Grant(power)
    assert readings["power_setpoint"] == power
    assert readings["battery_power"] == runs_at
    assert simulator.state()["battery_power"] == runs_at
    assert posts(simulator)[-1] == (SETPOINT, {"setpoint": -power})


async def test_a_strategy_that_was_read_back_is_not_asked_for_again(
    leap: Leap,
) -> None:
    """Under frequent requests a dongle is said to fall silent."""
    async with simulated() as (simulator, battery):

        async def is_asked_for(shown: str) -> bool:
            before = len(simulator.server.requests)
            assert await battery.get("working_mode") == shown
            return STRATEGY in paths_asked(simulator, before)

        released = await battery.get("working_mode")
        assert isinstance(released, str)
        await battery.set_power_setpoint(500)
        assert not await is_asked_for("api")
        await battery.release()
        assert not await is_asked_for(released)
        leap(sessy_device.READ_BACK_FOR)
        assert await is_asked_for(released)


async def test_a_strategy_other_than_was_posted_is_asked_for_again() -> None:
    """It may be the one from before."""
    async with simulated() as (simulator, battery):
        await battery.set_power_setpoint(500)
        await simulator.misbehave("strategy", strategy="ROI")
        assert not await battery.is_held()
        before = len(simulator.server.requests)
        await battery.get("working_mode")
        assert STRATEGY in paths_asked(simulator, before)


async def test_current_setpoint_uses_the_battery_voltage() -> None:
    async with connected(device := image()) as battery:
        granted = await battery.set_current_setpoint(-20)

    assert granted == Grant(-1106)  # W, at 55.3 V
    assert posts(device) == [(SETPOINT, {"setpoint": 1106})]


@pytest.mark.parametrize(
    ("options", "max_power", "power", "granted"),
    [
        ({}, 2200, 9000, 2200),
        ({}, 2200, -9000, -2200),
        ({"max_discharge_power": 1700}, 2200, -2000, -1700),
        ({"max_discharge_power": 1700}, 2200, 2000, 2000),
        ({"max_charge_power": 800}, 2200, 2000, 800),
        ({"max_charge_power": 0}, 2200, 2000, 0),
        ({"max_charge_power": 9000}, 2200, 9000, 2200),
        ({}, 1200, 2000, 1200),
        ({}, 1200, -2000, -1200),
        ({"max_charge_power": 800}, 1200, 2000, 800),
    ],
)
async def test_setpoint_stays_within_all_limits(
    options: Json, max_power: int, power: int, granted: int
) -> None:
    async with simulated(options) as (simulator, battery):
        assert simulator.battery is not None
        simulator.battery.settings["max_power"] = max_power
        result = await battery.set_power_setpoint(power)

    # The user's limit is not the device's.
    reason = LimitReason.SETTING if abs(granted) == max_power < 2200 else None
    assert result == Grant(granted, reason)
    assert posts(simulator)[-1] == (SETPOINT, {"setpoint": -granted})


async def test_limits_are_those_of_device_and_user() -> None:
    options = {"max_charge_power": 9000, "max_discharge_power": 1700}
    async with connected(image(), **options) as battery:
        limits = battery.setpoint_limits

    assert limits == SetpointLimits(-1700, 2200)


async def test_strategy_is_chosen_once_and_before_the_setpoint() -> None:
    async with simulated() as (simulator, battery):
        await battery.set_power_setpoint(1000)
        await battery.set_power_setpoint(1000)

    assert posts(simulator) == [
        (STRATEGY, {"strategy": API}),
        (SETPOINT, {"setpoint": -1000}),
        (SETPOINT, {"setpoint": -1000}),
    ]
    assert battery.snapshot == {"strategy": NOM}


async def test_setpoint_is_tried_again() -> None:
    async with simulated() as (simulator, battery):
        await simulator.misbehave("error", count=2, path=SETPOINT)
        await battery.set_power_setpoint(1000)

    assert simulator.device_state()["setpoint"] == -1000


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_setpoint_is_tried_again_while_the_strategy_changes(
    refusal: SetpointRefusal,
) -> None:
    """In each way that the dongle refuses it: that passes."""
    async with simulated() as (simulator, battery):
        simulator.fault_changing(refusal, 2)
        assert await battery.set_power_setpoint(500) == Grant(500)
        assert simulator.device_state()["strategy"] == "API"
        assert simulator.device_state()["setpoint"] == -500
        simulator.fault_changing(refusal, 2)
        await battery.release()
        assert simulator.device_state()["strategy"] == "NOM"
        assert simulator.device_state()["setpoint"] == 0


@pytest.mark.parametrize("status", [500, 503, 400])
async def test_former_strategy_returns_when_the_setpoint_fails(status: int) -> None:
    async with simulated() as (simulator, battery):
        await simulator.misbehave("error", status=status, count=3, path=SETPOINT)
        with pytest.raises(DeviceRefusedError, match="Device unavailable") as caught:
            await battery.set_power_setpoint(1000)

    assert caught.value.code == status
    assert isinstance(caught.value, DeviceBusyError) == (status == 503)
    assert caught.value.written
    assert caught.value.restored
    assert simulator.device_state()["strategy"] == "NOM"
    assert battery.snapshot is None
    assert battery.held is None


async def test_the_snapshot_stays_when_the_strategy_cannot_be_restored() -> None:
    class BreakingImage(HttpImage):
        @override
        async def answer(self, request: Request) -> Answer:
            if request.method == "POST" and len(self.posts) > 1:
                return Answer("Out of order", 500)
            return await super().answer(request)

    async with connected(BreakingImage(VECTORS[1])) as battery:
        with pytest.raises(DeviceRefusedError) as caught:
            await battery.set_power_setpoint(1000)

    assert battery.snapshot == {"strategy": NOM}
    assert caught.value.written
    assert not caught.value.restored


@pytest.mark.parametrize("strategy", ["NOM", "API"])
async def test_an_earlier_snapshot_stays(strategy: str) -> None:
    async with simulated(strategy=strategy) as (simulator, battery):
        battery.snapshot = snapshot = await battery.take_snapshot()
        await simulator.misbehave("error", count=3, path=SETPOINT)
        with pytest.raises(DeviceRefusedError):
            await battery.set_power_setpoint(1000)
        state = simulator.device_state()

    assert battery.snapshot is snapshot
    assert (state["strategy"], state["setpoint"]) == (strategy, 0)


async def test_refused_post_may_have_had_an_effect() -> None:
    async with simulated(strategy="API") as (simulator, battery):
        await simulator.misbehave("error", count=3, path=SETPOINT)
        with pytest.raises(DeviceRefusedError) as caught:
            await battery.set_power_setpoint(1000)

    assert caught.value.written
    assert battery.writes == 3
    assert battery.snapshot == {"strategy": API}


async def test_post_without_an_answer_may_have_arrived() -> None:
    async with simulated(strategy="API") as (simulator, battery):
        battery.snapshot = await battery.take_snapshot()
        await simulator.misbehave("cut_request", count=100)
        with pytest.raises(CannotConnectError) as caught:
            await battery.set_power_setpoint(0)

    assert caught.value.written
    assert battery.writes == 1


async def test_post_without_a_connection_has_not_arrived() -> None:
    async with simulated(strategy="API") as (simulator, battery):
        await simulator.misbehave("away")
        with pytest.raises(CannotConnectError):
            await battery.read()
        before = battery.writes
        with pytest.raises(CannotConnectError):
            await battery.client.post(SETPOINT, {"setpoint": 0})

    assert battery.writes == before == 0


async def test_strategy_that_was_just_read_is_not_asked_for_again() -> None:
    async with simulated() as (simulator, battery):
        before = len(simulator.server.requests)
        await battery.set_power_setpoint(1000)
        first = paths_asked(simulator, before)
        before = len(simulator.server.requests)
        await battery.set_power_setpoint(0)
        second = paths_asked(simulator, before)

    assert first == [STRATEGY, SETTINGS, STRATEGY, SETPOINT, STRATEGY]
    # It was read back just now.
    assert second == [SETPOINT]


async def test_strategy_that_was_read_long_ago_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with simulated() as (simulator, battery):
        battery.snapshot = await battery.take_snapshot()
        simulator.fault_strategy("API")
        began = asyncio.get_running_loop().time()
        monkeypatch.setattr(sessy_device, "loop_time", lambda: began + 3)
        await battery.set_power_setpoint(0)

    assert posts(simulator) == [(SETPOINT, {"setpoint": 0})]


async def test_flash_is_counted_by_the_endpoint() -> None:
    async with simulated() as (_, battery):
        assert battery.wears_flash(1000)
        await battery.set_power_setpoint(1000)
        wears_again = battery.wears_flash(500)
        await battery.set_power_setpoint(500)
        held = battery.wear.writes_today
        await battery.release()
        restored = battery.wear.writes_today
        await battery.set_value("min_power", 200)
        await battery.set_value("min_power", 200)

    assert not wears_again
    assert (held, restored, battery.wear.writes_today) == (1, 2, 3)


async def test_used_up_flash_keeps_from_another_strategy_and_not_from_a_setpoint() -> (
    None
):
    async with simulated() as (simulator, battery):
        battery.wear.restore(battery.wear.today(), DAILY_BUDGET)
        with pytest.raises(FlashBudgetError) as caught:
            await battery.set_power_setpoint(1000)
        with pytest.raises(FlashBudgetError):
            await battery.set_value("min_power", 200)
        assert battery.snapshot is None
        simulator.fault_strategy("API")
        await battery.set_power_setpoint(1000)

    assert not caught.value.written
    assert posts(simulator) == [(SETPOINT, {"setpoint": -1000})]


async def test_held_setpoint_stays_known_when_connected_anew() -> None:
    async with simulated() as (simulator, battery):
        await battery.set_power_setpoint(1000)
        await battery.connect()
        simulator.fault_setpoint(300)
        granted = await battery.keep_alive()
        assert battery.held is not None
        held = battery.held.grant
        await battery.release()

    assert granted == held == Grant(1000)
    assert battery.held is None


async def test_setpoint_after_a_release_under_way_can_be_released() -> None:
    async with simulated() as (simulator, battery):
        await battery.set_power_setpoint(1000)
        await asyncio.gather(battery.release(), battery.set_power_setpoint(500))
        strategy = simulator.device_state()["strategy"]
        snapshot = battery.snapshot
        await battery.release()

    assert strategy == "API"
    assert snapshot == {"strategy": NOM}
    assert simulator.device_state()["strategy"] == "NOM"


async def test_setpoint_in_a_foreign_api_strategy_is_not_restored() -> None:
    async with simulated(strategy="API") as (simulator, battery):
        simulator.fault_setpoint(1800)
        snapshot = await battery.take_snapshot()
        await battery.set_power_setpoint(500)
        await battery.release()

    assert snapshot == {"strategy": API}
    assert posts(simulator) == [
        (SETPOINT, {"setpoint": -500}),
        (SETPOINT, {"setpoint": 0}),
    ]
    assert simulator.device_state()["strategy"] == "API"
    assert battery.snapshot is None


@pytest.mark.parametrize("strategy", ["NOM", "ROI", "IDLE", "SESSY_CONNECT", "ECO"])
async def test_release_posts_0_and_restores_the_strategy(strategy: str) -> None:
    async with simulated(strategy=strategy) as (simulator, battery):
        await battery.set_power_setpoint(-700)
        await battery.release()
        await battery.release()

    assert posts(simulator)[2:] == [
        (SETPOINT, {"setpoint": 0}),
        (STRATEGY, {"strategy": f"POWER_STRATEGY_{strategy}"}),
    ]
    assert battery.snapshot is None


async def test_a_stored_snapshot_is_restored_after_a_restart() -> None:
    async with simulated(strategy="API") as (simulator, battery):
        simulator.fault_setpoint(-2200)
        battery.snapshot = {"strategy": NOM}
        await battery.release()

    assert simulator.device_state()["strategy"] == "NOM"
    assert simulator.device_state()["setpoint"] == 0


async def test_strategy_that_was_chosen_meanwhile_stays() -> None:
    async with simulated() as (simulator, battery):
        await battery.set_power_setpoint(1000)
        simulator.fault_strategy("SESSY_CONNECT")
        await battery.release()

    assert simulator.device_state()["strategy"] == "SESSY_CONNECT"
    assert battery.snapshot is None


async def test_release_that_came_through_unseen_is_not_repeated() -> None:
    async with simulated() as (simulator, battery):
        battery.snapshot = {"strategy": NOM}
        await battery.release()

    assert posts(simulator) == []
    assert battery.snapshot is None


async def test_nothing_is_posted_while_the_setpoint_is_in_force() -> None:
    async with simulated() as (simulator, battery):
        await battery.set_power_setpoint(1000)
        before = len(posts(simulator))
        assert await battery.keep_alive() is None

    assert len(posts(simulator)) == before


async def test_a_supplier_that_overrides_the_strategy_is_not_fought() -> None:
    async with simulated() as (simulator, battery):
        await battery.set_power_setpoint(1000)
        before = len(posts(simulator))
        simulator.fault_override(500.0)
        with pytest.raises(TakenOverError, match="overridden"):
            await battery.keep_alive()
        assert await battery.get("strategy_overridden") is True
        simulator.fault_override(None)
        assert await battery.keep_alive() is None

    assert len(posts(simulator)) == before


async def test_another_strategy_is_not_fought() -> None:
    async with simulated() as (simulator, battery):
        await battery.set_power_setpoint(1000)
        before = len(posts(simulator))
        simulator.fault_strategy("ROI")
        with pytest.raises(TakenOverError, match="strategy is POWER_STRATEGY_ROI"):
            await battery.keep_alive()

    assert len(posts(simulator)) == before


@pytest.mark.parametrize("paths", [(STRATEGY, SETPOINT), (SETPOINT,)])
async def test_post_without_effect_is_not_called_another_controllers(
    paths: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device shows what it showed before."""
    async with simulated() as (simulator, battery):
        for path in paths:
            monkeypatch.setitem(
                simulator.server.routes, f"POST {path}", lambda _: Answer(OK)
            )
        await battery.set_power_setpoint(1000)
        if STRATEGY not in paths:
            assert await battery.keep_alive() == Grant(1000)  # it is posted once more
        with pytest.raises(NotConfirmedError, match="had no effect"):
            await battery.keep_alive()
        await battery.release()

    assert simulator.mode == "automatic"


async def test_word_that_is_no_strategy_is_not_another_controllers() -> None:
    async with simulated() as (simulator, battery):
        await battery.set_power_setpoint(1000)
        strategy = simulator.server.routes[f"GET {STRATEGY}"]
        simulator.server.routes[f"GET {STRATEGY}"] = lambda _: Answer(
            {**OK, "strategy": "?" * 200}
        )
        with pytest.raises(ProtocolError, match="no strategy"):
            await battery.keep_alive()
        simulator.server.routes[f"GET {STRATEGY}"] = strategy
        assert await battery.keep_alive() is None


async def test_a_setpoint_that_changed_by_itself_is_posted_once_more_only() -> None:
    async with simulated() as (simulator, battery):
        await battery.set_power_setpoint(1000)
        simulator.fault_setpoint(300)
        assert await battery.keep_alive() == Grant(1000)
        assert posts(simulator)[-1] == (SETPOINT, {"setpoint": -1000})
        before = len(posts(simulator))
        simulator.fault_setpoint(300)
        with pytest.raises(TakenOverError, match="-300 W instead of 1000 W"):
            await battery.keep_alive()

    assert len(posts(simulator)) == before


@pytest.mark.parametrize("strategy", [API, NOM])
async def test_release_that_does_not_show_is_not_confirmed(strategy: str) -> None:
    async with connected(DeafImage(VECTORS[0])) as battery:
        battery.snapshot = {"strategy": strategy}
        with pytest.raises(NotConfirmedError):
            await battery.release()

    assert battery.snapshot == {"strategy": strategy}


async def test_strategy_returns_although_the_setpoint_is_not_confirmed() -> None:
    class HalfDeafImage(DeafImage):
        @override
        async def answer(self, request: Request) -> Answer:
            if request.path == STRATEGY:
                return await HttpImage.answer(self, request)
            return await super().answer(request)

    async with connected(HalfDeafImage(VECTORS[0])) as battery:
        battery.snapshot = {"strategy": NOM}
        with pytest.raises(NotConfirmedError, match="setpoint is 2061 after writing 0"):
            await battery.release()
        working_mode = await battery.get("working_mode")

    assert working_mode == "nom"
    assert battery.snapshot == {"strategy": NOM}


async def test_an_unknown_strategy_is_restored_too() -> None:
    unknown = {"status": "ok", "strategy": "POWER_STRATEGY_FUTURE"}
    async with connected(device := image(STRATEGY=unknown)) as battery:
        await battery.set_power_setpoint(100)
        await battery.release()

    assert posts(device)[-1] == (STRATEGY, {"strategy": "POWER_STRATEGY_FUTURE"})


async def test_strategy_that_cannot_be_read_is_no_strategy() -> None:
    async with connected(device := image(STRATEGY={"status": "ok"})) as battery:
        with pytest.raises(ProtocolError):
            await battery.set_power_setpoint(100)

    assert posts(device) == []


# Settings --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "raw_key", "raw"),
    [
        ("charge_power_limit", 1200.0, "max_power", 1200),
        ("discharge_power_limit", 900, "max_power", 900),
        ("min_power", 100, "min_power", 100),
        ("min_soc", 15, "min_soc", 15),
        ("noise_level", 2, "allowed_noise_level", 2),
        ("limit_noise", False, "disable_noise_level", True),
        ("eco_nom_charge", True, "eco_nom_charge", True),
        ("eco_charge_power", 700, "eco_charge_power", 700),
        ("eco_charge_hours", 6, "eco_charge_hours", 6),
        ("limit_pack_temperature", True, "pack_temp_limit_enabled", True),
    ],
)
async def test_setting_changes_alone(
    key: str, value: float | bool, raw_key: str, raw: int | bool
) -> None:
    async with simulated() as (simulator, battery):
        before = dict(simulator.device_state()["settings"])
        await battery.set_value(key, value)
        await battery.set_value(key, value)
        seen = await battery.get(key)

    assert seen == value
    assert posts(simulator) == [(SETTINGS, {**before, raw_key: raw})]
    assert type(simulator.device_state()["settings"][raw_key]) is type(raw)


async def test_settings_that_change_at_once_all_arrive() -> None:
    async with simulated() as (simulator, battery):
        await asyncio.gather(
            battery.set_value("min_power", 200),
            battery.set_value("eco_nom_charge", True),
            battery.set_value("charge_power_limit", 1800),
        )

    settings = simulator.device_state()["settings"]
    assert settings["min_power"] == 200
    assert settings["eco_nom_charge"] is True
    assert settings["max_power"] == 1800


async def test_working_mode_that_is_active_is_not_posted() -> None:
    async with simulated() as (simulator, battery):
        await battery.set_value("working_mode", "nom")
        await battery.set_value("working_mode", "roi")

    assert posts(simulator) == [(STRATEGY, {"strategy": "POWER_STRATEGY_ROI"})]


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("charge_power_limit", 2201, InvalidValueError),
        ("noise_level", 0, InvalidValueError),
        ("working_mode", "self_use", InvalidValueError),
        ("eco_nom_charge", 1, InvalidValueError),
        ("max_soc", 90, NotSupportedError),
    ],
)
async def test_impossible_setting_is_refused(
    key: str, value: Any, error: type[BatteryError]
) -> None:
    async with simulated() as (simulator, battery):
        with pytest.raises(error):
            await battery.set_value(key, value)

    assert posts(simulator) == []


async def test_setting_that_does_not_show_is_not_confirmed() -> None:
    async with connected(DeafImage(VECTORS[0])) as battery:
        with pytest.raises(
            NotConfirmedError, match="min_power is 50 after writing 300"
        ):
            await battery.set_value("min_power", 300)


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        ({"allowed_noise_level": 101}, {"noise_level"}),
        ({"disable_noise_level": "true"}, set()),
        ({"min_soc": 10}, set()),
    ],
)
async def test_settings_are_those_that_firmware_has(
    settings: Json, missing: set[str]
) -> None:
    answer = answer_of(VECTORS[0], SETTINGS, **settings)
    async with connected(image(SETTINGS=answer)) as battery:
        offered = set(battery.settings)

    has_min_soc = {"min_soc"} if "min_soc" in settings else set()
    assert (
        offered
        == {
            "working_mode",
            "charge_power_limit",
            "discharge_power_limit",
            "min_power",
            "noise_level",
            "limit_noise",
            "eco_nom_charge",
            "eco_charge_power",
            "eco_charge_hours",
            *has_min_soc,
        }
        - missing
    )


@pytest.mark.parametrize(
    ("raw", "value"), [("true", False), (True, False), ("false", True), (False, True)]
)
async def test_flag_may_be_text(raw: str | bool, value: bool) -> None:
    answer = answer_of(VECTORS[0], SETTINGS, disable_noise_level=raw)
    async with connected(image(SETTINGS=answer)) as battery:
        seen = await battery.get("limit_noise")

    assert seen is value


async def test_settings_that_were_never_saved_fail_alone() -> None:
    async with simulated() as (simulator, battery):
        simulator.fault_unsaved_settings()
        readings = await battery.read(["battery_soc", "charge_power_limit"])
        await battery.set_power_setpoint(500)

    assert set(readings) == {"battery_soc"}
    failure = readings.failures["charge_power_limit"]
    assert isinstance(failure, DeviceRefusedError)
    assert "must be saved once" in str(failure)
    assert simulator.state()["battery_power"] == 500


# Which requests --------------------------------------------------------------


async def test_live_values_take_one_request() -> None:
    """The strategy is for its controller to watch, and read once a minute otherwise."""
    live = set(FAST_KEYS) - {"working_mode"}
    async with simulated() as (simulator, battery):
        before = len(simulator.server.requests)
        readings = await battery.read(live)
        polls = {battery.poll_rate(key) for key in live}
        slow = battery.poll_rate("working_mode")

    assert set(readings) >= live
    assert paths_asked(simulator, before) == [POWER]
    assert polls == {Poll.FAST}
    assert slow is Poll.SLOW


@pytest.mark.parametrize(
    ("key", "poll", "path"),
    [
        ("energy_charged_total", Poll.SLOW, ENERGY),
        ("charge_power_limit", Poll.SLOW, SETTINGS),
        ("wifi_signal_strength", Poll.SLOW, "/api/v1/network/status"),
        ("firmware", Poll.SLOW, "/api/v1/ota/status"),
        ("energy_price", Poll.SLOW, "/api/v2/dynamic/schedule"),
        ("internal_memory", Poll.SLOW, INFO),
        ("serial_number", Poll.ONCE, None),
        ("load_power", Poll.SLOW, None),
    ],
)
async def test_only_the_wanted_keys_are_asked_for(
    key: str, poll: Poll, path: str | None
) -> None:
    async with simulated() as (simulator, battery):
        before = len(simulator.server.requests)
        await battery.read([key])
        seen = battery.poll_rate(key)

    assert seen is poll
    assert paths_asked(simulator, before) == ([path] if path else [])


async def test_connecting_and_reading_write_nothing() -> None:
    async with simulated() as (simulator, battery):
        await battery.read()
        await battery.take_snapshot()

    assert posts(simulator) == []


async def test_absent_endpoint_is_asked_twice_until_connected_anew() -> None:
    async with simulated(firmware="old") as (simulator, battery):
        for _ in range(2):
            readings = await battery.read(["energy_charged_total", "battery_voltage"])
        asked = paths_asked(simulator, 0).count(ENERGY)
        known = set(battery.measurements)
        await battery.connect()
        await battery.read(["energy_charged_total"])

    assert {type(err) for err in readings.failures.values()} == {NotSupportedError}
    assert asked == 2
    assert paths_asked(simulator, 0).count(ENERGY) == 4
    assert not known & {"energy_charged_total", "battery_voltage"}
    assert {"battery_soc", "battery_charge_power"} <= known


async def test_setpoint_does_not_depend_on_settings() -> None:
    async with connected(device := image(SETTINGS=None)) as battery:
        granted = await battery.set_power_setpoint(2000)
        offered = set(battery.settings)

    assert granted == Grant(2000)
    assert posts(device) == [(SETPOINT, {"setpoint": -2000})]
    assert offered == {"working_mode"}


async def test_requests_go_one_by_one() -> None:
    class CountingImage(HttpImage):
        at_once = most = 0

        @override
        async def answer(self, request: Request) -> Answer:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
            await asyncio.sleep(0)
            self.at_once -= 1
            return await super().answer(request)

    async with connected(device := CountingImage(VECTORS[0])) as battery:
        await asyncio.gather(*(battery.get("battery_soc") for _ in range(5)))

    assert device.most == 1


# Failures --------------------------------------------------------------------


@pytest.mark.parametrize("password", ["SECRET12", "secret12"])
async def test_wrong_password_is_an_authentication_error(password: str) -> None:
    async with simulated({"password": password}) as (simulator, battery):
        await simulator.misbehave("unauthorized")
        with pytest.raises(AuthenticationError, match="sticker"):
            await battery.read(["battery_soc"])

    async with image() as device:
        with pytest.raises(AuthenticationError):
            await inverter(device, password=f"not {password}").connect()


async def test_typed_credentials_are_taken_as_on_the_sticker() -> None:
    async with (
        HttpImage(VECTORS[0]) as device,
        inverter(device, username=" dabc1234 ", password="secret12") as battery,
    ):
        await battery.read()

    # The password as typed was tried once only.
    assert device.rejected == 1


async def test_password_with_small_letters_is_sent_as_typed() -> None:
    device = HttpImage(VECTORS[0])
    device.password = "Secret12"
    async with connected(device) as battery:
        await battery.read(["battery_soc"])

    assert device.rejected == 0


@pytest.mark.parametrize(
    ("status", "error"), [(500, DeviceRefusedError), (503, DeviceBusyError)]
)
async def test_failing_endpoint_fails_alone(
    status: int, error: type[DeviceRefusedError]
) -> None:
    async with simulated() as (simulator, battery):
        await simulator.misbehave("error", status=status, count=9, path=ENERGY)
        readings = await battery.read(
            ["battery_soc", "energy_charged_total", "pv_energy_total"]
        )
        known = battery.measurements

    assert set(readings) == {"battery_soc"}
    for failure in readings.failures.values():
        assert type(failure) is error
        assert failure.code == status
        assert "Device unavailable" in str(failure)
    assert "energy_charged_total" in known


async def test_read_is_tried_again_once() -> None:
    async with simulated() as (simulator, battery):
        await simulator.misbehave("error", count=1)
        soc = await battery.get("battery_soc")
        await simulator.misbehave("error", count=2)
        with pytest.raises(DeviceRefusedError):
            await battery.get("battery_soc")

    assert soc == 50.0


async def test_page_instead_of_an_answer_is_an_absent_endpoint() -> None:
    async with simulated() as (simulator, battery):
        await simulator.misbehave("non_json", count=99, path=ENERGY)
        readings = await battery.read(["battery_soc", "energy_charged_total"])

    assert set(readings) == {"battery_soc"}
    assert isinstance(readings.failures["energy_charged_total"], NotSupportedError)


async def test_page_where_an_answer_was_before_passes() -> None:
    async with simulated() as (simulator, battery):
        await simulator.misbehave("non_json", count=1, path=POWER)
        readings = await battery.read(["battery_soc", "working_mode"])
        soc = await battery.get("battery_soc")

    assert isinstance(readings.failures["battery_soc"], ProtocolError)
    assert soc == 50.0


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"sessy_energy": {}}, NotSupportedError),
        ({"status": "busy"}, DeviceRefusedError),
        ({"status": "ok", "error": "no"}, DeviceRefusedError),
        ({"status": "ok"}, NotSupportedError),
        ({"status": "ok", "sessy_energy": 5}, NotSupportedError),
    ],
)
async def test_answer_that_is_not_good_fails(
    answer: Json, error: type[BatteryError]
) -> None:
    async with connected(image(ENERGY=answer)) as battery:
        with pytest.raises(error):
            await battery.get("energy_charged_total")


async def test_dropped_connection_is_made_anew() -> None:
    async with simulated() as (simulator, battery):
        await simulator.misbehave("cut")
        first = await battery.get("battery_soc")
        await simulator.misbehave("cut_request", count=1)
        second = await battery.get("battery_soc")

    assert first == second == 50.0


async def test_battery_that_was_away_comes_back() -> None:
    async with simulated() as (simulator, battery):
        await simulator.misbehave("away")
        with pytest.raises(CannotConnectError, match="Is the dongle on"):
            await battery.read(["battery_soc"])
        await simulator.misbehave("away", on=False)
        soc = await battery.get("battery_soc")

    assert soc == 50.0


async def test_silence_is_a_timeout() -> None:
    async with simulated() as (simulator, battery):
        battery.client._timeout = 0.1
        await simulator.misbehave("hang")
        with pytest.raises(RequestTimeoutError, match=r"no answer in 0\.1 s"):
            await battery.read(["battery_soc"])
        await simulator.misbehave("hang", on=False)


async def test_late_answer_is_an_answer() -> None:
    async with simulated() as (simulator, battery):
        await simulator.misbehave("delay", seconds=0.05)
        soc = await battery.get("battery_soc")

    assert soc == 50.0


class SilentNetwork:
    """A session whose connections are never made."""

    def __init__(self) -> None:
        self.tries = 0

    def request(self, *_: object, **__: object) -> SilentNetwork:
        self.tries += 1
        return self

    async def __aenter__(self) -> None:
        raise aiohttp.ConnectionTimeoutError

    async def __aexit__(self, *_: object) -> None:
        """Leave the context."""


async def test_host_that_is_not_there_cannot_be_connected_to() -> None:
    network: Any = SilentNetwork()
    battery = SessyInverter("x", username="D", password="x", session=network)
    with pytest.raises(CannotConnectError, match="nothing answers"):
        await battery.connect()

    assert network.tries == 2


async def test_impossible_host_cannot_be_connected_to() -> None:
    client = SessyClient("http://host/", 80, 5, "D", "x")
    client.open()
    with pytest.raises(CannotConnectError, match="no connection"):
        await client.get(POWER)
    await client.close()


@pytest.mark.parametrize(
    "answers", [{}, {"GET /": {"status": "ok"}}], ids=["nothing", "another"]
)
async def test_another_device_is_the_wrong_one(answers: Json) -> None:
    device = HttpImage({"battery_type": "sessy", "responses": answers})
    async with device:
        battery = inverter(device)
        with pytest.raises(WrongDeviceError):
            await battery.connect()
        own = battery.client._own

    assert own is None


async def test_battery_without_a_name_for_now_cannot_be_connected_to() -> None:
    # The dongle's own serial number would make it another device.
    async with image(INFO={"__http_status__": 500}) as device:
        with pytest.raises(DeviceRefusedError):
            await inverter(device).connect()


async def test_unknown_state_is_no_value_and_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    unknown = sessy_answer(system_state="SYSTEM_STATE_DREAMING", power="a lot")
    async with connected(image(POWER=unknown)) as battery:
        for _ in range(2):
            readings = await battery.read(["device_status", "problem", "battery_power"])
        status = await battery.get("battery_status")

    assert dict(readings) == dict.fromkeys(readings)
    assert status is None
    warnings = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert len(warnings) == 2
    assert "SYSTEM_STATE_DREAMING" in caplog.text


async def test_states_that_are_new_at_each_poll_are_logged_up_to_a_limit(
    caplog: pytest.LogCaptureFixture,
) -> None:
    device = image()
    async with connected(device) as battery:
        for number in range(2 * sessy_device.MOST_UNKNOWN):
            state = f"STATE_{number}\n\x1b[31m" + "A" * 10_000
            device.responses[f"GET {POWER}"] = sessy_answer(system_state=state)
            await battery.read(["device_status"])

    warnings = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert len(warnings) == sessy_device.MOST_UNKNOWN
    for each in warnings:
        assert each.getMessage().isprintable()
        assert len(each.getMessage()) < 300


async def test_nothing_is_known_before_connecting() -> None:
    battery = SessyInverter("x", username="D", password="x")

    assert battery.measurements == ()
    assert battery.settings == {}
    assert battery.options("device_status") == ()
    with pytest.raises(CannotConnectError):
        await battery.read()


async def test_closed_battery_is_not_read() -> None:
    async with simulated() as (_, battery):
        await battery.close()
        with pytest.raises(CannotConnectError, match="not connected"):
            await battery.read(["battery_soc"])


# Sessions --------------------------------------------------------------------


async def test_session_that_was_given_stays_open() -> None:
    async with image() as device, aiohttp.ClientSession() as session:
        battery = SessyInverter.from_setup(
            {**device.setup, "battery_type": "sessy", "max_charge_power": 900}, session
        )
        async with battery:
            await battery.read()
            own = battery.client._own
        closed = session.closed

    assert own is None
    assert not closed
    assert battery.max_charge_power == 900


async def test_own_session_is_closed() -> None:
    async with image() as device:
        battery = inverter(device)
        for _ in range(2):
            await battery.connect()
        own = battery.client._own
        await battery.close()
        await battery.close()

    assert own is not None
    assert own.closed


# Identity, and the meaning of values ---------------------------------------


@pytest.mark.parametrize(
    ("info", "serial"),
    [
        ({"sessy_serial": "AB1", "self_serial": "DX1"}, "AB1"),
        ({"sessy_serial": "unknown", "self_serial": "DX1"}, "DX1"),
        ({"sessy_serial": "", "self_serial": "DX1"}, "DX1"),
        ({"sessy_serial": "AB1"}, "AB1"),
        ({}, "D0000001"),
        ({"self_serial": "Unknown"}, "D0000001"),
        (None, "D0000001"),
    ],
)
async def test_serial_number_is_the_best_that_is_known(
    info: Json | None, serial: str
) -> None:
    device = image(INFO=None if info is None else {"status": "ok", **info})
    device.username = "D0000001"
    async with connected(device) as battery:
        identity = battery.identity
        seen = await battery.get("serial_number")

    assert identity.serial_number == seen == serial


async def test_identity_has_all_that_is_known() -> None:
    async with simulated() as (_, battery):
        identity = battery.identity

    assert identity.manufacturer == "Charged"
    assert identity.model == "Sessy"
    assert identity.serial_number == "AABC1234"
    assert identity.firmware == "1.12.3"
    assert identity.hardware == "1.05"


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        ("RUNNING_SAFE", ()),
        ("BATTERY_EMPTY_OR_FULL", ()),
        ("ERROR", ("error",)),
        ("OVERRIDE_OVERFREQUENCY", ("override_overfrequency",)),
        ("OVERRIDE_BATTERY_UNDERVOLTAGE", ("override_battery_undervoltage",)),
    ],
)
async def test_problem_follows_from_the_state(
    state: str, problem: tuple[str, ...]
) -> None:
    answer = sessy_answer(system_state=f"SYSTEM_STATE_{state}")
    async with connected(image(POWER=answer)) as battery:
        readings = await battery.read(["device_status", "problem"])
        options = battery.options("problem")

    assert readings["device_status"] == state.lower()
    assert readings["problem"] == problem
    assert set(problem) <= set(options)


@pytest.mark.parametrize(
    ("power", "status"), [(-300, "charging"), (300, "discharging"), (0, "idle")]
)
async def test_battery_status_follows_from_the_power(power: int, status: str) -> None:
    async with connected(image(POWER=sessy_answer(power=power))) as battery:
        readings = await battery.read(
            ["battery_status", "battery_charge_power", "battery_discharge_power"]
        )
        options = battery.options("battery_status")

    assert readings["battery_status"] == status
    assert status in options
    assert readings["battery_charge_power"] == max(0, -power)
    assert readings["battery_discharge_power"] == max(0, power)


async def test_current_and_power_of_the_ac_side_have_one_sign() -> None:
    async with connected(image()) as battery:
        power = await battery.get_active_power_total()
        current = await battery.get_active_current_total()
        voltage = await battery.get_phase_voltage(1)
        soc = await battery.get_battery_soc()
        with pytest.raises(NotSupportedError):
            await battery.get_phase_current(1)

    assert (power, current, voltage, soc) == (-2037, -8.725, 231.276, 89.0)


async def test_null_is_unknown() -> None:
    answer = {**answer_of(VECTORS[0], POWER), "sessy": None}
    async with connected(image(POWER=answer)) as battery:
        readings = await battery.read(
            ["battery_soc", "device_status", "grid_voltage_l1"]
        )

    assert readings["battery_soc"] is None
    assert readings["device_status"] is None
    assert readings["grid_voltage_l1"] == 231.276


async def test_counter_that_falls_to_zero_is_no_value() -> None:
    async with connected(device := image()) as battery:
        before = await battery.get("energy_charged_total")
        energy = device.responses[f"GET {ENERGY}"]["sessy_energy"]
        energy["import_wh"] = 0
        meanwhile = await battery.get("energy_charged_total")
        energy["import_wh"] = 1234600
        after = await battery.get("energy_charged_total")

    assert (before, meanwhile, after) == (1234.567, None, 1234.6)


async def test_counter_that_begins_at_zero_is_read_and_not_accepted_at_once() -> None:
    energy = answer_of(
        VECTORS[0], ENERGY, sessy_energy={"import_wh": 0, "export_wh": 0}
    )
    async with connected(image(ENERGY=energy)) as battery:
        charged = await battery.get("energy_charged_total")

    assert charged == 0
    assert battery.counters.counted("energy_charged_total") is None


@pytest.mark.parametrize(
    ("now", "power", "price"),
    [
        (FIRST_SLOT - 1, None, None),
        (FIRST_SLOT, 2200, 0.10235),
        (FIRST_SLOT + 3599, 2200, 0.10235),
        (FIRST_SLOT + 3600, -1700, None),
        (FIRST_SLOT + 7200, None, None),
    ],
)
async def test_schedule_shows_the_present_slot(
    now: float, power: int | None, price: float | None
) -> None:
    async with connected(HttpImage(VECTORS[2])) as battery:
        battery.device.clock = lambda: now
        readings = await battery.read(["scheduled_power", "energy_price"])

    assert dict(readings) == {"scheduled_power": power, "energy_price": price}


async def test_empty_schedule_is_unknown() -> None:
    vector = {
        **VECTORS[2],
        "responses": {
            **VECTORS[2]["responses"],
            "GET /api/v2/dynamic/schedule": {
                "status": "ok",
                "dynamic_schedule": None,
                "energy_prices": [{"strange": 1}],
            },
        },
    }
    async with connected(HttpImage(vector)) as battery:
        readings = await battery.read(["scheduled_power", "energy_price"])

    assert dict(readings) == {"scheduled_power": None, "energy_price": None}


# Meters ----------------------------------------------------------------------


@asynccontextmanager
async def metered(
    device: Device, load: float, pv: float
) -> AsyncIterator[tuple[SessySimulator, SessyInverter]]:
    """Yield a meter in a house of three phases without a battery that runs."""
    plant = Plant(phases=3, clock=ManualClock(), inverter_phases=(0,))
    plant.fixed_load, plant.fixed_pv = load, pv
    plant.may_charge = plant.may_discharge = 0.0
    simulator = SessySimulator(plant, device=device)
    async with connected(simulator) as battery:
        yield simulator, battery


@pytest.mark.parametrize(("device", "model"), [("p1", "Sessy P1"), ("ct", "Sessy CT")])
@pytest.mark.parametrize(("load", "pv"), [(900.0, 0.0), (0.0, 900.0)])
async def test_meter_shows_import_as_positive(
    device: Device, model: str, load: float, pv: float
) -> None:
    async with metered(device, load, pv) as (simulator, battery):
        readings = await battery.read()
        identity = battery.identity

    sign = 1 if load else -1
    assert readings["grid_power"] == load - pv
    assert readings["grid_power_l1"] == round(simulator.plant.grid[0])
    assert readings["grid_current_l1"] == pytest.approx(
        simulator.plant.grid[0] / 231, abs=0.001
    )
    assert all(sign * value > 0 for value in phases(readings, "grid_current"))
    assert all(value > 200 for value in phases(readings, "grid_voltage"))
    assert readings.keys() >= {"grid_import_total", "grid_export_total"}
    assert identity.model == model
    assert identity.serial_number == f"{device[0].upper()}ABC1234"


def phases(readings: Readings, key: str) -> list[float]:
    """Return the values of those phases that have one."""
    values = [readings[f"{key}_l{phase}"] for phase in (1, 2, 3)]
    return [value for value in values if isinstance(value, int | float)]


@pytest.mark.parametrize("device", ["p1", "ct"])
async def test_meter_takes_a_target_and_no_setpoint(device: Device) -> None:
    async with metered(device, 500.0, 0.0) as (simulator, battery):
        limits, settings = battery.setpoint_limits, set(battery.settings)
        await battery.set_value("grid_target", -250)
        for attempt in (battery.take_snapshot(), battery.set_power_setpoint(100)):
            with pytest.raises(NotSupportedError):
                await attempt
        await battery.release()

    assert limits is None
    assert settings == {"grid_target"}
    assert posts(simulator) == [("/api/v1/meter/grid_target", {"grid_target": -250})]


async def test_meter_without_its_port_knows_nothing_but_that() -> None:
    async with metered("p1", 500.0, 0.0) as (simulator, battery):
        simulator.fault_meter("P1_NOT_CONNECTED")
        readings = await battery.read()
        known = battery.measurements
        await battery.connect()
        model = battery.identity.model

    assert readings["meter_status"] == "not_connected"
    assert readings["grid_power"] is None
    assert readings["grid_import_total"] is None
    assert readings["gas_total"] is None
    assert phases(readings, "grid_current") == []
    assert "grid_power" in known
    assert model == "Sessy P1"


async def test_meter_with_a_state_alone_keeps_its_measurements() -> None:
    lost = {"status": "ok", "state": "P1_PARSE_ERR"}
    async with connected(p1_image(P1=lost)) as battery:
        readings = await battery.read(["grid_power", "meter_status"])

    assert dict(readings) == {"grid_power": None, "meter_status": "parse_err"}


async def test_phase_that_is_not_connected_has_no_values() -> None:
    async with connected(p1_image()) as battery:
        readings = await battery.read()

    for key in ("grid_voltage", "grid_current", "grid_power", "grid_import_power"):
        assert len(phases(readings, key)) == 1, key


@pytest.mark.parametrize("voltages", [{"voltage_l1": 0}, {}])
async def test_meter_without_voltages_still_has_powers(voltages: Json) -> None:
    details = {
        key: value
        for key, value in answer_of(VECTORS[-1], P1, **voltages).items()
        if voltages or not key.startswith("voltage")
    }
    async with connected(p1_image(P1=details)) as battery:
        readings = await battery.read()

    assert [readings[f"grid_power_l{phase}"] for phase in (1, 2, 3)] == [313, 0, 0]
    assert readings.get("grid_voltage_l1") is None


async def test_old_meter_reports_kilowatts() -> None:
    vector = {
        "battery_type": "sessy",
        "responses": {
            "GET /api/v1/p1/status": {
                "status": "ok",
                "state": "P1_OK",
                "net_power_delivered": -1.25,
            }
        },
    }
    device = HttpImage(vector)
    device.username = "P0000001"
    async with connected(device) as battery:
        readings = await battery.read()

    assert readings["grid_power"] == -1250
    assert readings["meter_status"] == "ok"
    assert "grid_import_total" not in readings
    assert battery.settings == {}


async def test_modbus_meter_stands_in_for_the_port() -> None:
    phase = {"voltage": 230000, "current": 2000, "power": 460}
    modbus = {
        "status": "ok",
        "phase_1": {**phase, "power": -460},
        "phase_2": phase,
        "phase_3": dict.fromkeys(phase, 0),
        "total_power": 0,
        "total_import": 1500,
        "total_export": 2500,
        "device_type": "Eastron_SDM630",
        "state": "MODBUS_OK",
    }
    details = answer_of(VECTORS[-1], P1, state="P1_NOT_CONNECTED")
    async with connected(p1_image(P1=details, MODBUS=modbus)) as battery:
        readings = await battery.read()
        model = battery.identity.model

    assert model == "Sessy Modbus"
    assert readings["meter_status"] == "ok"
    assert readings["grid_power"] == 0
    assert phases(readings, "grid_power") == [-460, 460]
    assert phases(readings, "grid_current") == [-2, 2]
    assert readings["grid_import_total"] == 1.5
    assert readings["grid_export_total"] == 2.5


@pytest.mark.parametrize("letter", ["D", "P", "X"])
async def test_kind_is_given_by_the_answers_and_not_by_the_serial_number(
    letter: str,
) -> None:
    device = p1_image()
    device.username = f"{letter}0000001"
    async with connected(device) as battery:
        model = battery.identity.model

    assert model == "Sessy P1"
