"""The issues shown under Repairs, and their fixes by a click."""

from typing import Any, Final

from homeassistant.components.repairs import DOMAIN as REPAIRS
from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import issue_registry as ir
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator
from pytest_socket import socket_allow_hosts

from custom_components.homebattery.const import DOMAIN, Issue
from custom_components.homebattery.control.keep_alive import RETRY
from custom_components.homebattery.control.store import COPY
from custom_components.homebattery.control.takeover import OF_LATE, OFTEN
from custom_components.homebattery.drivers.battery.controller import DeviceIssue
from custom_components.homebattery.drivers.deye.plans import (
    BY_VOLTAGE,
    CHEMISTRY,
    CONTROL_MODE,
)
from tests.control.lease_support import after_a_crash, file_of, issues, stored
from tests.home import Home, MakeHome, Warp, refuse_word
from tests.simulators import (
    DeyeModbusSimulator,
    HuaweiSimulator,
    ManualClock,
    SessySimulator,
    SmaSimulator,
    VictronSimulator,
)

pytestmark = pytest.mark.usefixtures("few_sensors")

PARALLEL: Final = 336
"""The register of inverters that work in parallel."""
LEAD_ACID: Final = 0


def issue_of(home: Home, issue: Issue | DeviceIssue) -> ir.IssueEntry | None:
    registry = ir.async_get(home.hass)
    return registry.async_get_issue(DOMAIN, f"{issue}_{home.entry.unique_id}")


class Fix:
    """The flow that fixes an issue, as the frontend runs it."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def begin(self, home: Home, issue: Issue | DeviceIssue) -> dict[str, Any]:
        answer = await self._client.post(
            "/api/repairs/issues/fix",
            json={"handler": DOMAIN, "issue_id": f"{issue}_{home.entry.unique_id}"},
        )
        return dict(await answer.json())

    async def submit(self, step: dict[str, Any], **fields: Any) -> dict[str, Any]:
        answer = await self._client.post(
            f"/api/repairs/issues/fix/{step['flow_id']}", json=fields
        )
        return dict(await answer.json())

    async def close(self, step: dict[str, Any]) -> None:
        """Close the dialog without an answer."""
        url = f"/api/repairs/issues/fix/{step['flow_id']}"
        assert (await self._client.delete(url)).ok


@pytest.fixture
async def fix(hass: HomeAssistant, hass_client: ClientSessionGenerator) -> Fix:
    assert await async_setup_component(hass, REPAIRS, {})
    return Fix(await hass_client())


async def fail_to_release(home: Home, warp: Warp) -> None:
    """Let a release fail twice, which creates a repair issue."""
    await home.set_power(600)
    await home.simulator.misbehave("error", path="setpoint", count=1000)
    with pytest.raises(Exception, match="refuses"):
        await home.choose("automatic")
    await warp(RETRY)


async def unload(home: Home) -> None:
    await home.hass.config_entries.async_unload(home.entry.entry_id)


async def remove(home: Home) -> None:
    await home.hass.config_entries.async_remove(home.entry.entry_id)


async def remove_out_of_reach(home: Home, warp: Warp) -> None:
    """Remove a held battery while it is out of reach; then put it back in reach."""
    await home.set_power(600)
    await home.simulator.misbehave("away")
    await remove(home)
    await home.simulator.misbehave("away", on=False)
    for _ in range(3):  # the driver does not retry at once
        await warp(RETRY)


async def take_over(home: Home, warp: Warp, times: int = OFTEN) -> None:
    """Let the app of a Sessy override a setpoint, each time that it is set."""
    for _ in range(times):
        await home.set_power(600)
        await home.simulator.misbehave("strategy", strategy="ROI")
        await warp(31)


async def test_a_release_that_failed_can_be_tried_at_once(
    sessy_home: Home, sessy: SessySimulator, fix: Fix, warp: Warp
) -> None:
    await fail_to_release(sessy_home, warp)
    issue = issue_of(sessy_home, Issue.RELEASE_FAILED)
    assert issue is not None and issue.is_fixable
    question = await fix.begin(sessy_home, Issue.RELEASE_FAILED)
    assert question["step_id"] == "confirm"
    assert question["description_placeholders"] == {"device": sessy_home.entry.title}

    still_ill = await fix.submit(question)
    assert still_ill["errors"] == {"base": "not_released"}
    assert issue_of(sessy_home, Issue.RELEASE_FAILED)

    await sessy.misbehave("error", path="setpoint", count=0)
    done = await fix.submit(still_ill)
    assert done["type"] == "create_entry"
    assert sessy.mode == "automatic"
    assert issue_of(sessy_home, Issue.RELEASE_FAILED) is None


async def test_a_battery_whose_address_has_another_device_is_reached_elsewhere(
    victron_home: Home, victron: VictronSimulator, fix: Fix, warp: Warp
) -> None:
    """The address that is entered counts only if the battery answers there."""
    socket_allow_hosts(["127.0.0.1", "127.0.0.2"])
    home, port = victron_home, victron.port
    await victron.misbehave("away")
    async with (
        VictronSimulator(port=port, serial="c0619a000002") as other,
        VictronSimulator(host="127.0.0.2", port=port),
    ):
        for _ in range(2):
            await warp(31)
        question = await fix.begin(home, Issue.ANOTHER_DEVICE)
        again = await fix.submit(question, host=other.host)
        assert again["errors"] == {"base": "not_there"}
        assert home.entry.data["host"] == other.host

        done = await fix.submit(again, host="127.0.0.2")

        assert done["type"] == "create_entry"
        assert home.entry.data["host"] == "127.0.0.2"
        assert home.entry_is(ConfigEntryState.LOADED)
        assert issues(home) == set()
        assert other.server.traffic.writes == []
        await unload(home)


async def test_address_of_a_battery_that_was_removed_is_not_asked_for(
    victron_home: Home, victron: VictronSimulator, fix: Fix, warp: Warp
) -> None:
    await victron.misbehave("away")
    async with VictronSimulator(port=victron.port, serial="c0619a000002"):
        for _ in range(2):
            await warp(31)
        question = await fix.begin(victron_home, Issue.ANOTHER_DEVICE)
        await remove(victron_home)

        answer = await fix.submit(question, host="127.0.0.2")

        assert answer["reason"] == "not_loaded"
        assert issues(victron_home) == set()


async def test_a_battery_can_be_released_to_another_controller(
    sessy_home: Home, sessy: SessySimulator, fix: Fix, warp: Warp
) -> None:
    await take_over(sessy_home, warp)

    done = await fix.submit(await fix.begin(sessy_home, Issue.OTHER_CONTROLLER))

    assert done["type"] == "create_entry"
    assert sessy_home.state("control_mode") == "automatic"
    assert sessy.battery is not None and sessy.battery.strategy == "ROI"
    assert issues(sessy_home) == set()


async def test_closing_the_dialog_leaves_a_battery_held(
    sessy_home: Home, fix: Fix, warp: Warp
) -> None:
    await take_over(sessy_home, warp)
    await fix.close(await fix.begin(sessy_home, Issue.OTHER_CONTROLLER))
    assert sessy_home.state("control_mode") == "manual"
    assert issues(sessy_home) == {Issue.OTHER_CONTROLLER}


async def test_nothing_can_be_fixed_of_a_battery_that_is_not_set_up(
    sessy_home: Home, fix: Fix, warp: Warp
) -> None:
    await take_over(sessy_home, warp)
    question = await fix.begin(sessy_home, Issue.OTHER_CONTROLLER)
    await unload(sessy_home)

    aborted = await fix.submit(question)

    assert (aborted["type"], aborted["reason"]) == ("abort", "not_loaded")


# A snapshot that was damaged on disk


async def start_with_a_damaged_snapshot(
    home: Home, make_home: MakeHome, hass_storage: dict[str, Any]
) -> Home:
    """Let Home Assistant die while a battery is held, and damage both files."""
    await home.set_power(600)
    hass_storage.pop(f"{file_of(home)}{COPY}")
    stored(hass_storage, home)["found"] = {"strategy": 5}
    after = await after_a_crash(home, make_home, hass_storage)
    assert await after.set_up()
    return after


async def test_a_battery_with_a_damaged_snapshot_is_confirmed_by_a_click(
    sessy_home: Home,
    sessy: SessySimulator,
    make_home: MakeHome,
    fix: Fix,
    hass_storage: dict[str, Any],
) -> None:
    """Nothing is written; as it is set then, it is restored from then on."""
    home = await start_with_a_damaged_snapshot(sessy_home, make_home, hass_storage)
    await sessy.misbehave("strategy", strategy="ROI")  # set by hand
    by_hand = sessy.settings_words()
    question = await fix.begin(home, Issue.LEASE_DAMAGED)
    assert question["description_placeholders"] == {
        "device": home.entry.title,
        "unknown": "`found`",
    }
    with pytest.raises(HomeAssistantError, match="takes no setpoint"):
        await home.set_power(600)

    done = await fix.submit(question)

    assert done["type"] == "create_entry"
    assert issues(home) == set()
    assert sessy.settings_words() == by_hand
    await home.set_power(600)
    await home.choose("automatic")
    assert sessy.settings_words() == by_hand


async def test_a_battery_with_a_damaged_snapshot_stays_known_when_it_is_removed(
    sessy_home: Home,
    make_home: MakeHome,
    fix: Fix,
    hass_storage: dict[str, Any],
) -> None:
    home = await start_with_a_damaged_snapshot(sessy_home, make_home, hass_storage)
    await remove(home)
    assert issues(home) == {Issue.ORPHANED}

    again = make_home(home.simulator)
    assert await again.set_up()
    assert issues(again) == {Issue.LEASE_DAMAGED}
    with pytest.raises(HomeAssistantError, match="takes no setpoint"):
        await again.set_power(600)

    await remove(again)
    await fix.submit(await fix.begin(again, Issue.ORPHANED))
    assert file_of(again) not in hass_storage


# A battery that was removed while it was held


async def test_the_snapshot_of_a_removed_battery_can_be_forgotten(
    sessy_home: Home,
    sessy: SessySimulator,
    make_home: MakeHome,
    fix: Fix,
    warp: Warp,
    hass_storage: dict[str, Any],
) -> None:
    """A user who has restored the battery by hand wants that: nothing is written."""
    await remove_out_of_reach(sessy_home, warp)
    held = sessy.settings_words()
    question = await fix.begin(sessy_home, Issue.ORPHANED)
    assert question["step_id"] == "confirm"
    assert question["description_placeholders"] == {"device": sessy_home.entry.title}

    await fix.close(question)
    assert issues(sessy_home) == {Issue.ORPHANED}
    assert stored(hass_storage, sessy_home) is not None

    done = await fix.submit(await fix.begin(sessy_home, Issue.ORPHANED))
    assert done["type"] == "create_entry"
    assert issues(sessy_home) == set()
    assert file_of(sessy_home) not in hass_storage

    again = make_home(sessy)
    assert await again.set_up()
    assert sessy.settings_words() == held


async def test_a_battery_that_was_added_again_has_no_snapshot_to_forget(
    sessy_home: Home, sessy: SessySimulator, make_home: MakeHome, fix: Fix, warp: Warp
) -> None:
    before = sessy.settings_words()
    await remove_out_of_reach(sessy_home, warp)
    question = await fix.begin(sessy_home, Issue.ORPHANED)
    again = make_home(sessy)
    assert await again.set_up()
    assert sessy.settings_words() == before
    await again.set_power(600)

    aborted = await fix.submit(question)

    assert (aborted["type"], aborted["reason"]) == ("abort", "settled")
    await again.choose("automatic")
    assert sessy.settings_words() == before


async def test_a_snapshot_can_be_forgotten_when_no_battery_is_set_up(
    sessy_home: Home, sessy: SessySimulator, make_home: MakeHome, fix: Fix, warp: Warp
) -> None:
    """Home Assistant confirms the issue by itself then, without the integration."""
    hass = sessy_home.hass
    await remove_out_of_reach(sessy_home, warp)
    held = sessy.settings_words()
    hass.config.components.remove(DOMAIN)  # as after a restart

    done = await fix.submit(await fix.begin(sessy_home, Issue.ORPHANED))
    assert done["type"] == "create_entry"
    assert issues(sessy_home) == set()

    again = make_home(sessy)
    assert await again.set_up()
    assert sessy.settings_words() == held


async def test_a_battery_that_was_added_again_is_released_after_a_restart(
    sessy_home: Home,
    sessy: SessySimulator,
    make_home: MakeHome,
    warp: Warp,
) -> None:
    """The issue of its removal ends although it could not be released at first."""
    before = sessy.settings_words()
    await remove_out_of_reach(sessy_home, warp)
    again = make_home(sessy)
    await sessy.misbehave("error", path="active_strategy", count=1000)
    assert await again.set_up()
    assert sessy.settings_words() != before
    assert issues(again) == set()

    await unload(again)
    await sessy.misbehave("error", path="active_strategy", count=0)
    assert await again.set_up()

    assert sessy.settings_words() == before


# Issues end with their reason


async def test_a_new_setpoint_clears_the_issue_of_a_failed_release(
    sessy_home: Home, sessy: SessySimulator, warp: Warp
) -> None:
    await fail_to_release(sessy_home, warp)
    assert issues(sessy_home) == {Issue.RELEASE_FAILED}

    await sessy.misbehave("error", path="setpoint", count=0)
    await sessy_home.set_power(600)

    assert issues(sessy_home) == set()


async def test_releasing_the_battery_clears_the_issue_of_another_controller(
    sessy_home: Home, warp: Warp
) -> None:
    """The issue returns at the next takeover."""
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
    await warp(OF_LATE)
    await warp(6)
    assert issues(sessy_home) == set()


@pytest.mark.parametrize("way", [unload, remove])
async def test_the_issue_of_another_controller_ends_with_its_entry(
    sessy_home: Home, warp: Warp, way: Any
) -> None:
    await take_over(sessy_home, warp)
    await way(sessy_home)
    assert issues(sessy_home) == set()


# Issues that a user can fix on the device


async def test_writing_that_is_switched_off_is_an_issue(
    victron_home: Home, victron: VictronSimulator, warp: Warp
) -> None:
    await victron.misbehave("read_only")
    with pytest.raises(Exception, match="refuses"):
        await victron_home.set_power(600)
    await warp(6)
    assert issue_of(victron_home, DeviceIssue.WRITES_OFF)

    await victron.misbehave("read_only", on=False)
    await victron_home.set_power(600)
    await warp(6)
    assert issue_of(victron_home, DeviceIssue.WRITES_OFF) is None


async def test_victron_without_ess_assistant_has_an_issue(
    make_home: MakeHome, clock: ManualClock
) -> None:
    house = VictronSimulator.house(clock=clock)
    async with VictronSimulator(house, ess=False) as simulator:
        home = make_home(simulator)
        assert await home.set_up()
        assert issue_of(home, DeviceIssue.NO_ESS)
        await unload(home)
        assert issue_of(home, DeviceIssue.NO_ESS) is None


async def test_the_fix_detects_a_new_ess_assistant(
    make_home: MakeHome, victron: VictronSimulator, fix: Fix
) -> None:
    await victron.misbehave("absent", service="hub4")
    home = make_home(victron)
    assert await home.set_up()
    assert home.find("control_mode") is None
    question = await fix.begin(home, DeviceIssue.NO_ESS)
    assert question["step_id"] == "confirm"

    still_without = await fix.submit(question)
    assert still_without["errors"] == {"base": "not_found"}
    assert issues(home) == {DeviceIssue.NO_ESS}

    await victron.misbehave("absent", service="hub4", on=False)
    done = await fix.submit(still_without)
    assert done["type"] == "create_entry"
    assert issues(home) == set()
    assert home.state("control_mode") == "automatic"


async def test_the_fix_needs_a_victron_in_reach(
    make_home: MakeHome, victron: VictronSimulator, fix: Fix
) -> None:
    await victron.misbehave("absent", service="hub4")
    home = make_home(victron)
    assert await home.set_up()
    question = await fix.begin(home, DeviceIssue.NO_ESS)
    await victron.misbehave("away")

    aborted = await fix.submit(question)

    assert (aborted["type"], aborted["reason"]) == ("abort", "not_loaded")
    assert issues(home) == set()


async def test_sma_that_keeps_the_last_setpoint_has_an_issue(
    make_home: MakeHome, clock: ManualClock, warp: Warp
) -> None:
    house = SmaSimulator.house(clock=clock)
    async with SmaSimulator(house, on_loss="keep") as simulator:
        home = make_home(simulator)
        assert await home.set_up()
        assert issue_of(home, DeviceIssue.KEEPS_SETPOINT)
        await simulator.misbehave("setting", setting="on_loss", value=2507)
        await warp(61)
        await warp(6)
        assert issue_of(home, DeviceIssue.KEEPS_SETPOINT) is None
        await home.hass.config_entries.async_unload(home.entry.entry_id)


async def test_sma_that_does_not_say_so_has_an_issue_of_its_own(
    make_home: MakeHome, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text does not claim what is not known."""
    async with SmaSimulator(SmaSimulator.house(clock=clock)) as simulator:
        refuse_word(simulator, (3, 41193), monkeypatch)
        home = make_home(simulator)
        assert await home.set_up()
        assert issue_of(home, DeviceIssue.FALLBACK_UNKNOWN)
        assert issue_of(home, DeviceIssue.KEEPS_SETPOINT) is None
        await home.hass.config_entries.async_unload(home.entry.entry_id)


async def test_sunny_boy_storage_has_an_issue_and_no_setpoint(
    make_home: MakeHome, clock: ManualClock
) -> None:
    async with SmaSimulator(SmaSimulator.house(clock=clock), model=9356) as simulator:
        home = make_home(simulator)
        assert await home.set_up()
        assert issues(home) == {DeviceIssue.MODEL_READ_ONLY}
        assert home.find("power_setpoint") is None
        assert home.find("control_mode") is None
        assert home.state("battery_soc") == "50"
        await unload(home)
        assert issues(home) == set()


@pytest.mark.parametrize("simulator", ["deye_modbus"], indirect=True)
@pytest.mark.parametrize(
    ("address", "wrong"), [(CONTROL_MODE, BY_VOLTAGE), (CHEMISTRY, LEAD_ACID)]
)
async def test_deye_that_does_not_control_its_battery_by_capacity_has_an_issue(
    home: Home, simulator: DeyeModbusSimulator, warp: Warp, address: int, wrong: int
) -> None:
    """The issue follows the settings that are chosen on the inverter."""
    for word, expected in ((wrong, {DeviceIssue.NOT_BY_CAPACITY}), (1, set())):
        await simulator.misbehave("settings", address=address, words=[word])
        await warp(61)
        await warp(6)
        assert issues(home) == expected


@pytest.mark.parametrize("simulator", ["deye_modbus", "deye_solarman"], indirect=True)
async def test_deye_that_is_parallel_to_others_has_an_issue(
    make_home: MakeHome, simulator: DeyeModbusSimulator
) -> None:
    """A setpoint counts for each of them."""
    await simulator.misbehave("settings", address=PARALLEL, words=[0x0403])
    home = make_home(simulator)
    assert await home.set_up()
    assert issues(home) == {DeviceIssue.PARALLEL}
    texts = issue_of(home, DeviceIssue.PARALLEL)
    assert texts is not None
    assert texts.translation_placeholders == {"device": home.entry.title}
    assert not texts.is_fixable


@pytest.mark.parametrize("simulator", ["sun2000"], indirect=True)
async def test_huawei_whose_firmware_lacks_the_commands_has_an_issue(
    make_home: MakeHome, simulator: HuaweiSimulator
) -> None:
    await simulator.misbehave("absent", first=47100, last=47100)
    home = make_home(simulator)
    assert await home.set_up()
    assert issue_of(home, DeviceIssue.OLD_FIRMWARE)


@pytest.mark.parametrize("simulator", ["sun2000"], indirect=True)
async def test_huawei_whose_connection_another_program_takes_has_an_issue(
    home: Home, simulator: HuaweiSimulator, warp: Warp
) -> None:
    for _ in range(5):
        assert issue_of(home, DeviceIssue.CONNECTION_STOLEN) is None
        simulator.server.cut()
        for _ in range(3):  # the cut is noticed, and the new connection counted
            await warp(6)
    assert issue_of(home, DeviceIssue.CONNECTION_STOLEN)
    await warp(601)
    assert issue_of(home, DeviceIssue.CONNECTION_STOLEN) is None
