"""The Sessy simulator answers and acts like the dongles, as far as is known."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from tests.simulators import ManualClock, SessySimulator

pytestmark = pytest.mark.usefixtures("socket_enabled")

LOAD = 700.0
PV = 1000.0
API = "POWER_STRATEGY_API"
NOM = "POWER_STRATEGY_NOM"


class Bench:
    """A simulator, a session with its dongle, and its clock."""

    def __init__(
        self,
        simulator: SessySimulator,
        session: aiohttp.ClientSession,
        clock: ManualClock,
    ) -> None:
        self.simulator = simulator
        self.plant = simulator.plant
        self.session = session
        self.clock = clock

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Return status and body; the body as text if it is not JSON."""
        async with self.session.request(method, f"/api/{path}", json=body) as response:
            if response.content_type == "application/json":
                return response.status, await response.json()
            return response.status, await response.text()

    async def get(self, path: str) -> Any:
        status, body = await self.ask("GET", path)
        assert (status, body["status"]) == (200, "ok")
        return body

    async def post(self, path: str, body: Any) -> int:
        return (await self.ask("POST", path, body))[0]

    async def control(self, setpoint: int) -> None:
        assert await self.post("v1/power/active_strategy", {"strategy": API}) == 200
        assert await self.post("v1/power/setpoint", {"setpoint": setpoint}) == 200

    @property
    def battery(self) -> float:
        return float(self.simulator.state()["battery_power"])


@asynccontextmanager
async def bench(
    *,
    house: dict[str, Any] | None = None,
    login: tuple[str, str] | None = None,
    **options: Any,
) -> AsyncIterator[Bench]:
    clock = ManualClock()
    plant = SessySimulator.house(clock=clock, **(house or {}))
    plant.fixed_load, plant.fixed_pv = LOAD, PV
    simulator = SessySimulator(plant, **options)
    async with simulator:
        user, password = login or (
            simulator.setup["username"],
            simulator.setup["password"],
        )
        async with aiohttp.ClientSession(
            f"http://{simulator.host}:{simulator.port}",
            headers={"Authorization": aiohttp.encode_basic_auth(user, password)},
        ) as session:
            yield Bench(simulator, session, clock)


# Access.


@pytest.mark.parametrize("login", [("DABC1234", "wrong"), ("dabc1234", "SECRET12")])
async def test_a_wrong_password_is_401(login: tuple[str, str]) -> None:
    async with bench(login=login) as at:
        assert (await at.ask("GET", "v1/power/status"))[0] == 401
        assert at.simulator.server.rejected == 1
        assert at.simulator.server.requests == []


async def test_a_request_without_password_is_401() -> None:
    async with bench() as at, aiohttp.ClientSession() as session:
        url = f"http://{at.simulator.host}:{at.simulator.port}/api/v1/power/status"
        async with session.get(url) as response:
            assert response.status == 401


async def test_the_password_may_change() -> None:
    async with bench() as at:
        await at.simulator.misbehave("unauthorized")
        assert (await at.ask("GET", "v1/power/status"))[0] == 401
        await at.simulator.misbehave("unauthorized", on=False)
        await at.get("v1/power/status")


# Control.


async def test_a_setpoint_is_refused_outside_the_api_strategy() -> None:
    async with bench() as at:
        status, text = await at.ask("POST", "v1/power/setpoint", {"setpoint": 100})
        assert (status, "POWER_STRATEGY_API" in text) == (500, True)
        await at.control(100)
        assert at.simulator.state()["mode"] == "controlled"


@pytest.mark.parametrize("setpoint", [100.0, "100", None, True])
async def test_a_setpoint_must_be_an_integer(setpoint: Any) -> None:
    async with bench(strategy="API") as at:
        assert await at.post("v1/power/setpoint", {"setpoint": setpoint}) == 400


async def test_a_positive_setpoint_discharges() -> None:
    async with bench() as at:
        await at.control(1500)
        sessy = (await at.get("v1/power/status"))["sessy"]
        assert (sessy["power"], sessy["power_setpoint"]) == (1500, 1500)
        assert (sessy["system_state"], sessy["inverter_current_ma"]) == (
            "SYSTEM_STATE_RUNNING_SAFE",
            round(1500 / 231 * 1000),
        )
        assert at.battery == -1500
        await at.control(-1500)
        assert at.battery == 1500


async def test_setpoints_are_cut_to_the_devices_range() -> None:
    async with bench() as at:
        await at.control(-9000)
        assert at.battery == 2200
        await at.control(9000)
        sessy = (await at.get("v1/power/status"))["sessy"]
        assert sessy["power_setpoint"] == 2200
        assert (
            sessy["power"] == round(37.5 * at.plant.voltage, -2) == 1900
            or sessy["power"] > 1700
        )
        assert sessy["power"] < 2025


async def test_the_battery_does_not_start_below_its_least_power() -> None:
    async with bench() as at:
        await at.control(49)
        assert at.battery == 0
        assert (await at.get("v1/power/status"))["sessy"][
            "system_state"
        ] == "SYSTEM_STATE_STANDBY"
        await at.control(50)
        assert at.battery == -50


async def test_the_setpoint_outlives_a_change_of_strategy() -> None:
    async with bench() as at:
        await at.control(800)
        await at.post("v1/power/active_strategy", {"strategy": NOM})
        assert at.battery == PV - LOAD
        at.clock.advance(86400 * 0.01)
        await at.post("v1/power/active_strategy", {"strategy": API})
        assert at.battery == -800


@pytest.mark.parametrize(
    ("strategy", "hour", "power"),
    [
        ("NOM", 12, PV - LOAD),
        ("IDLE", 12, 0),
        ("ROI", 3, 2200),
        ("ROI", 18, -1700),
        ("ROI", 12, 0),
        ("ECO", 2, 1500),
        ("ECO", 12, PV - LOAD),
        ("SESSY_CONNECT", 12, 0),
    ],
)
async def test_every_strategy_behaves(strategy: str, hour: float, power: float) -> None:
    async with bench(house={"time_of_day": hour}) as at:
        name = f"POWER_STRATEGY_{strategy}"
        assert await at.post("v1/power/active_strategy", {"strategy": name}) == 200
        assert (await at.get("v1/power/active_strategy"))["strategy"] == name
        assert at.battery == pytest.approx(power)
        assert at.simulator.state()["mode"] == "automatic"


@pytest.mark.parametrize("strategy", ["API", "POWER_STRATEGY_SELF_USE", "", None])
async def test_an_unknown_strategy_is_refused(strategy: Any) -> None:
    async with bench() as at:
        assert await at.post("v1/power/active_strategy", {"strategy": strategy}) == 500
        assert (await at.get("v1/power/active_strategy"))["strategy"] == NOM


@pytest.mark.parametrize(
    ("soc", "setpoint", "state"),
    [(100.0, -1000, "BATTERY_FULL"), (0.0, 1000, "BATTERY_EMPTY")],
)
async def test_full_and_empty_stop_the_battery(
    soc: float, setpoint: int, state: str
) -> None:
    async with bench(house={"soc": soc}) as at:
        await at.control(setpoint)
        sessy = (await at.get("v1/power/status"))["sessy"]
        assert (sessy["power"], sessy["system_state"]) == (0, f"SYSTEM_STATE_{state}")
        assert sessy["state_of_charge"] == soc / 100


async def test_the_first_power_takes_its_time() -> None:
    async with bench(strategy="IDLE", start_delay=60) as at:
        await at.control(1000)
        at.clock.advance(59)
        sessy = (await at.get("v1/power/status"))["sessy"]
        assert (sessy["power"], sessy["system_state"]) == (
            0,
            "SYSTEM_STATE_WAITING_FOR_SAFE_SITUATION",
        )
        at.clock.advance(1)
        assert at.battery == -1000
        await at.control(500)  # it runs already
        assert at.battery == -500


async def test_the_supplier_or_another_controller_may_take_over() -> None:
    async with bench() as at:
        await at.control(1000)
        await at.simulator.misbehave("override", power=-300)
        sessy = (await at.get("v1/power/status"))["sessy"]
        assert (sessy["power"], sessy["strategy_overridden"]) == (-300, True)
        await at.simulator.misbehave("override", power=None)
        assert at.battery == -1000
        await at.simulator.misbehave("strategy", strategy="IDLE")
        assert at.battery == 0
        await at.control(1000)
        await at.simulator.misbehave("setpoint", power=200)
        assert at.battery == -200
        await at.simulator.misbehave("stuck")
        assert at.battery == 0


# Settings.


async def test_settings_are_replaced_as_a_whole() -> None:
    async with bench() as at:
        settings = await at.get("v1/system/settings")
        settings["max_power"] = 900
        assert await at.post("v1/system/settings", settings) == 200
        assert await at.get("v1/system/settings") == settings
        await at.control(-2000)
        assert at.battery == 900
        await at.post("v1/system/settings", {"min_power": 100})
        assert await at.get("v1/system/settings") == {"status": "ok", "min_power": 100}


async def test_settings_words_are_strategy_setpoint_and_settings() -> None:
    async with bench() as at:
        before = at.simulator.settings_words()
        settings = await at.get("v1/system/settings")
        await at.post("v1/system/settings", {**settings, "min_soc": 20})
        await at.control(-2000)
        controlled = {"strategy": "API", "setpoint": -2000, "settings/min_soc": 20}
        assert at.simulator.settings_words() == {**before, **controlled}
        await at.post("v1/power/active_strategy", {"strategy": NOM})
        released = {**controlled, "strategy": "NOM"}
        assert at.simulator.settings_words() == {**before, **released}
    assert SessySimulator(device="p1").settings_words() == {"grid_target": 0}


async def test_least_soc_ends_discharging() -> None:
    async with bench(house={"soc": 20.0}) as at:
        await at.control(1000)
        settings = await at.get("v1/system/settings")
        await at.post("v1/system/settings", {**settings, "min_soc": 20})
        assert at.battery == 0


async def test_settings_may_never_have_been_saved() -> None:
    async with bench() as at:
        await at.simulator.misbehave("unsaved_settings")
        assert "error" in (await at.ask("GET", "v1/system/settings"))[1]


# Other answers.


async def test_counters_and_schedule() -> None:
    async with bench(house={"time_of_day": 0.0}) as at:
        await at.control(-1000)
        at.clock.advance(3600)
        energy = await at.get("v1/energy/status")
        assert energy["sessy_energy"] == {
            "import_wh": 1_001_000,
            "export_wh": 1_000_000,
        }
        schedule = (await at.get("v2/dynamic/schedule"))["dynamic_schedule"]
        assert [slot["power"] for slot in schedule[2:5]] == [-2200] * 3
        now = at.plant.unix_time
        assert schedule[1]["start_time"] - 900 <= now < schedule[1]["end_time"]
        info = await at.get("v1/system/info")
        assert (info["self_serial"], info["sessy_serial"]) == ("DABC1234", "AABC1234")


async def test_old_firmware_knows_less() -> None:
    async with bench(firmware="old", house={"soc": 100.0}) as at:
        for path in ("v1/energy/status", "v1/system/info", "v2/dynamic/schedule"):
            assert (await at.ask("GET", path))[0] == 404
        status = await at.get("v1/power/status")
        assert status["sessy"] == {
            "state_of_charge": 1,
            "power": 0,
            "power_setpoint": 0,
            "system_state": "SYSTEM_STATE_BATTERY_FULL",
            "system_state_details": "",
            "frequency": 50000,
        }
        assert "min_soc" not in await at.get("v1/system/settings")
        assert (
            len((await at.get("v1/dynamic/schedule"))["power_strategy"][0]["power"])
            == 24
        )
        strategy = {"strategy": "POWER_STRATEGY_ECO"}
        assert await at.post("v1/power/active_strategy", strategy) == 500


async def test_a_p1_dongle_reads_the_meter() -> None:
    async with bench(device="p1", house={"phases": 3}) as at:
        at.plant.fixed_pv = 0.0
        details = await at.get("v2/p1/details")
        assert (
            details["power_total"],
            details["power_consumed"],
            details["power_produced"],
        ) == (*(700, 700, 0),)
        assert sum(details[f"power_consumed_l{phase}"] for phase in (1, 2, 3)) == 700
        assert (await at.ask("GET", "v1/power/status"))[0] == 404
        assert await at.post("v1/meter/grid_target", {"grid_target": -100}) == 200
        assert (await at.get("v1/meter/grid_target"))["grid_target"] == -100
        await at.simulator.misbehave("meter", state="P1_NOT_CONNECTED")
        details = await at.get("v2/p1/details")
        assert (details["state"], details["power_total"], details["voltage_l1"]) == (
            *("P1_NOT_CONNECTED", 0, 0),
        )


async def test_an_old_p1_dongle_has_version_1_only() -> None:
    async with bench(device="p1", firmware="old") as at:
        assert (await at.ask("GET", "v2/p1/details"))[0] == 404
        assert "net_power_delivered" in await at.get("v1/p1/details")


async def test_a_ct_dongle_reads_its_clamps() -> None:
    async with bench(device="ct", house={"phases": 3}) as at:
        details = await at.get("v1/ct/details")
        assert details["total_power"] == pytest.approx(sum(at.plant.grid), abs=0.5)
        assert "sessy_energy" not in await at.get("v1/energy/status")


async def test_a_battery_keeps_to_the_target_of_the_meter_in_its_house() -> None:
    async with bench() as at, SessySimulator(at.plant, device="p1") as meter:
        assert meter.setup["username"] == "PABC1234"
        at.plant.grid_target = 100
        assert at.battery == PV - LOAD + 100


# Faults.


async def test_answers_fail_as_the_faults_demand() -> None:
    async with bench() as at:
        await at.simulator.misbehave("error", status=503, count=1, path="energy")
        await at.get("v1/power/status")
        assert (await at.ask("GET", "v1/energy/status"))[0] == 503
        await at.get("v1/energy/status")
        await at.simulator.misbehave("non_json")
        assert (await at.ask("GET", "v1/power/status"))[1] == "<html>Starting</html>"
        await at.simulator.misbehave("cut_request")
        with pytest.raises(aiohttp.ClientError):
            await at.post("v1/power/setpoint", {"setpoint": 0})
        await at.get("v1/power/status")


async def test_a_restart_drops_the_connection() -> None:
    async with bench() as at:
        with pytest.raises(aiohttp.ClientError):
            await at.post("v1/system/restart", None)
        assert at.simulator.state()["device"]["restarts"] == 1
        await at.get("v1/power/status")


async def test_hanging_requests_are_answered_late_or_never() -> None:
    async with bench() as at:
        await at.simulator.misbehave("hang")
        answer = asyncio.create_task(at.get("v1/power/status"))
        await asyncio.sleep(0.05)
        assert not answer.done()
        await at.simulator.misbehave("hang", on=False)
        assert (await answer)["status"] == "ok"
        await at.simulator.misbehave("hang")
        # A POST, since the client would send a GET again by itself.
        posted = asyncio.create_task(at.post("v1/power/setpoint", {"setpoint": 0}))
        await asyncio.sleep(0.05)
        await at.simulator.misbehave("cut")
        with pytest.raises(aiohttp.ClientError):
            await posted


async def test_a_hanging_request_has_no_effect_when_the_device_goes_away() -> None:
    async with bench(strategy="API") as at:
        await at.simulator.misbehave("hang")
        posted = asyncio.create_task(at.post("v1/power/setpoint", {"setpoint": 500}))
        await asyncio.sleep(0.05)
        await at.simulator.misbehave("away")
        with pytest.raises(aiohttp.ClientError):
            await posted
        assert at.battery == 0
