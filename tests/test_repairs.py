"""What is shown under Repairs, and the fixes that a click can do."""

from typing import Any

from homeassistant.components.repairs import DOMAIN as REPAIRS
from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.homebattery.const import DOMAIN
from custom_components.homebattery.control import (
    RETRY,
    TAKEN_OVER_OFTEN,
    TAKEN_OVER_WITHIN,
)
from custom_components.homebattery.drivers.battery import Advice
from custom_components.homebattery.repairs import Issue

from .conftest import Home, MakeHome, Warp
from .lease_support import issues
from .simulators import (
    HuaweiSimulator,
    ManualClock,
    SessySimulator,
    SmaSimulator,
    VictronSimulator,
)


def issue_of(home: Home, issue: Issue | Advice) -> ir.IssueEntry | None:
    registry = ir.async_get(home.hass)
    return registry.async_get_issue(DOMAIN, f"{issue}_{home.entry.unique_id}")


class Fix:
    """The flow that fixes an issue, as the frontend runs it."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def begin(self, home: Home, issue: Issue) -> dict[str, Any]:
        answer = await self._client.post(
            "/api/repairs/issues/fix",
            json={"handler": DOMAIN, "issue_id": f"{issue}_{home.entry.unique_id}"},
        )
        return dict(await answer.json())

    async def submit(self, step: dict[str, Any]) -> dict[str, Any]:
        answer = await self._client.post(
            f"/api/repairs/issues/fix/{step['flow_id']}", json={}
        )
        return dict(await answer.json())


@pytest.fixture
async def fix(hass: HomeAssistant, hass_client: ClientSessionGenerator) -> Fix:
    assert await async_setup_component(hass, REPAIRS, {})
    return Fix(await hass_client())


async def fail_to_release(home: Home, warp: Warp) -> None:
    """Let a release fail twice, as a repair issue takes."""
    await home.set_power(600)
    await home.simulator.misbehave("error", path="setpoint", count=1000)
    with pytest.raises(Exception, match="refuses"):
        await home.choose("automatic")
    await warp(RETRY)


async def take_over(home: Home, warp: Warp, times: int = TAKEN_OVER_OFTEN) -> None:
    """Let the app of a Sessy overrule a setpoint, each time that it is set."""
    for _ in range(times):
        await home.set_power(600)
        await home.simulator.misbehave("strategy", strategy="ROI")
        await warp(31)


async def test_a_release_that_failed_can_be_tried_at_once(
    sessy_home: Home, sessy: SessySimulator, fix: Fix, warp: Warp
) -> None:
    await fail_to_release(sessy_home, warp)
    found = issue_of(sessy_home, Issue.RELEASE_FAILED)
    assert found is not None and found.is_fixable
    question = await fix.begin(sessy_home, Issue.RELEASE_FAILED)
    assert question["step_id"] == "confirm"
    assert question["description_placeholders"] == {"device": "Battery"}

    still_ill = await fix.submit(question)
    assert still_ill["errors"] == {"base": "not_released"}
    assert issue_of(sessy_home, Issue.RELEASE_FAILED)

    await sessy.misbehave("error", path="setpoint", count=0)
    done = await fix.submit(still_ill)
    assert done["type"] == "create_entry"
    assert sessy.mode == "automatic"
    assert issue_of(sessy_home, Issue.RELEASE_FAILED) is None


async def test_a_battery_can_be_left_to_another_controller(
    sessy_home: Home, sessy: SessySimulator, fix: Fix, warp: Warp
) -> None:
    await take_over(sessy_home, warp)

    done = await fix.submit(await fix.begin(sessy_home, Issue.OTHER_CONTROLLER))

    assert done["type"] == "create_entry"
    assert sessy_home.state("control_mode") == "automatic"
    assert sessy.battery is not None and sessy.battery.strategy == "ROI"
    assert issues(sessy_home) == set()


async def test_nothing_can_be_fixed_of_a_battery_that_is_not_set_up(
    sessy_home: Home, fix: Fix, warp: Warp
) -> None:
    await take_over(sessy_home, warp)
    question = await fix.begin(sessy_home, Issue.OTHER_CONTROLLER)
    await sessy_home.hass.config_entries.async_unload(sessy_home.entry.entry_id)

    aborted = await fix.submit(question)

    assert (aborted["type"], aborted["reason"]) == ("abort", "not_loaded")


# … and are gone when there is no reason for them any more


async def test_a_battery_that_is_held_again_is_not_one_that_cannot_be_given_back(
    sessy_home: Home, sessy: SessySimulator, warp: Warp
) -> None:
    await fail_to_release(sessy_home, warp)
    assert issues(sessy_home) == {Issue.RELEASE_FAILED}

    await sessy.misbehave("error", path="setpoint", count=0)
    await sessy_home.set_power(600)

    assert issues(sessy_home) == set()


async def test_who_gives_the_battery_back_knows_of_the_other_controller(
    sessy_home: Home, warp: Warp
) -> None:
    """It is said again when somebody takes over once more all the same."""
    await take_over(sessy_home, warp)
    assert issues(sessy_home) == {Issue.OTHER_CONTROLLER}

    await sessy_home.choose("automatic")
    assert issues(sessy_home) == set()

    await take_over(sessy_home, warp, times=1)
    assert issues(sessy_home) == {Issue.OTHER_CONTROLLER}


async def test_another_controller_that_has_stopped_is_forgotten_after_a_day(
    sessy_home: Home, warp: Warp
) -> None:
    await take_over(sessy_home, warp)
    await sessy_home.set_power(600)
    assert issues(sessy_home) == {Issue.OTHER_CONTROLLER}
    await warp(TAKEN_OVER_WITHIN)
    await warp(6)
    assert issues(sessy_home) == set()


async def unload(home: Home) -> None:
    await home.hass.config_entries.async_unload(home.entry.entry_id)


async def remove(home: Home) -> None:
    await home.hass.config_entries.async_remove(home.entry.entry_id)


@pytest.mark.parametrize("way", [unload, remove])
async def test_of_a_battery_that_is_not_there_nobody_takes_control(
    sessy_home: Home, warp: Warp, way: Any
) -> None:
    await take_over(sessy_home, warp)
    await way(sessy_home)
    assert issues(sessy_home) == set()


# What an owner can put right on the device


async def test_writing_that_is_switched_off(
    victron_home: Home, victron: VictronSimulator, warp: Warp
) -> None:
    await victron.misbehave("read_only")
    with pytest.raises(Exception, match="refuses"):
        await victron_home.set_power(600)
    await warp(6)
    assert issue_of(victron_home, Advice.WRITES_OFF)

    await victron.misbehave("read_only", on=False)
    await victron_home.set_power(600)
    await warp(6)
    assert issue_of(victron_home, Advice.WRITES_OFF) is None


async def test_victron_without_ess_assistant(
    make_home: MakeHome, clock: ManualClock
) -> None:
    house = VictronSimulator.house(clock=clock)
    async with VictronSimulator(house, ess=False) as simulator:
        home = make_home(simulator)
        assert await home.set_up()
        assert issue_of(home, Advice.NO_ESS)
        await unload(home)
        assert issue_of(home, Advice.NO_ESS) is None


async def test_sma_that_keeps_the_last_setpoint(
    make_home: MakeHome, clock: ManualClock, warp: Warp
) -> None:
    house = SmaSimulator.house(clock=clock)
    async with SmaSimulator(house, on_loss="keep") as simulator:
        home = make_home(simulator)
        assert await home.set_up()
        assert issue_of(home, Advice.KEEPS_SETPOINT)
        await simulator.misbehave("setting", setting="on_loss", value=2507)
        await warp(61)
        await warp(6)
        assert issue_of(home, Advice.KEEPS_SETPOINT) is None
        await home.hass.config_entries.async_unload(home.entry.entry_id)


@pytest.mark.parametrize("simulator", ["sun2000"], indirect=True)
async def test_huawei_whose_firmware_lacks_the_commands(
    make_home: MakeHome, simulator: HuaweiSimulator
) -> None:
    await simulator.misbehave("absent", first=47100, last=47100)
    home = make_home(simulator)
    assert await home.set_up()
    assert issue_of(home, Advice.OLD_FIRMWARE)


@pytest.mark.parametrize("simulator", ["sun2000"], indirect=True)
async def test_huawei_whose_connection_another_program_takes(
    home: Home, simulator: HuaweiSimulator, warp: Warp
) -> None:
    for _ in range(5):
        assert issue_of(home, Advice.CONNECTION_STOLEN) is None
        simulator.server.cut()
        for _ in range(3):  # it is noticed, connected again, and seen to be new
            await warp(6)
    assert issue_of(home, Advice.CONNECTION_STOLEN)
    await warp(601)
    assert issue_of(home, Advice.CONNECTION_STOLEN) is None
