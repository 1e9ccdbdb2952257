"""Tests of flash wear: flash is written seldom, counted, and bounded each day."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from homeassistant.exceptions import HomeAssistantError
from homeassistant.util import dt as dt_util
import pytest

from custom_components.homebattery.control.flash_spacing import (
    FLASH_BURST,
    FLASH_WINDOW,
)
from custom_components.homebattery.control.keep_alive import SETTLED
from custom_components.homebattery.drivers.battery.controller import Grant
from custom_components.homebattery.drivers.flash import DAILY_BUDGET
from tests.home import (
    KINDS,
    Home,
    MakeHome,
    Warp,
    each_on_a_socket,
    house_of,
    one_of_each_protocol,
)
from tests.simulators import HuaweiSimulator, ManualClock, SessySimulator, Simulator
from tests.simulators.deye import DeyeSimulator

from .lease_support import after_a_crash, changed, file_of, stored

pytestmark = pytest.mark.usefixtures("few_sensors")

DEYE: Final = ("deye_modbus", "deye_solarman")
BY_SETTINGS: Final = (*DEYE, "victron", "sessy")
"""The devices whose first setpoint changes flash."""
POWERS: Final = (600, -500, 700, -600, 800, -700, 900, -800, 1000, -900)
CHARGES: Final = (600, 1100, 700, 1200, 800, 1300, 900, 1400, 1000, 1500)
"""W."""
SESSY_FLASH: Final = ("/api/v1/power/active_strategy", "/api/v1/system/settings")

BUS_VOLTAGE: Final = 37763
"""The register of a Huawei from which the power of a current is computed."""


def flash_writes(simulator: Simulator) -> int:
    """Return the number of write requests to a device's flash."""
    server: Any = simulator.server
    if isinstance(simulator, SessySimulator):
        return sum(path in SESSY_FLASH for _, path, _ in server.posts)
    if isinstance(simulator, DeyeSimulator):
        # It counts words, and a request may write several. All its memory is flash.
        return len(server.traffic.writes)
    return int(simulator.state()["device"]["flash_writes"])


def counted(home: Home) -> int:
    return int(home.state("flash_writes_today"))


def status(home: Home) -> tuple[str, str | None]:
    """Return the control status that the user sees, and the reason of it."""
    state = home.state_of("control_status")
    return state.state, state.attributes["reason"]


def use_up(home: Home) -> None:
    """Use up the device's budget of writes for today."""
    wear = home.data.battery.wear
    wear.restore(wear.today(), DAILY_BUDGET - wear.writes_today)


def power(home: Home) -> float:
    return float(home.simulator.state()["battery_power"])


def is_held(home: Home) -> bool:
    return bool(home.simulator.state()["mode"] == "controlled")


def of(*types: str) -> pytest.MarkDecorator:
    """Return the mark of a test that is for these kinds of battery."""
    return pytest.mark.parametrize("simulator", types, indirect=True)


# Unchanged values are not written


@each_on_a_socket
async def test_same_setpoint_again_writes_no_flash(home: Home) -> None:
    for each in (600, 0):
        await home.set_power(each)
        before = flash_writes(home.simulator)
        await home.set_power(each)
        assert flash_writes(home.simulator) == before


@each_on_a_socket
async def test_same_setting_again_writes_nothing(home: Home) -> None:
    key, value = KINDS[home.simulator.type].number
    await home.call("number.set_value", key, value=value)
    before = flash_writes(home.simulator)
    assert before == 1
    await home.call("number.set_value", key, value=value)
    assert flash_writes(home.simulator) == before


@each_on_a_socket
async def test_held_setpoint_writes_no_flash(home: Home, warp: Warp) -> None:
    for each in (600, 0):
        await home.set_power(each)
        before = flash_writes(home.simulator)
        for _ in range(4):
            await warp(45)
        assert flash_writes(home.simulator) == before
        assert power(home) == pytest.approx(each, rel=0.1, abs=20)


# A burst is spaced


@of(*DEYE)
async def test_burst_of_setpoints_waits_and_ends_with_the_last(
    home: Home, warp: Warp, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = home.simulator.settings_words()
    for each in CHARGES[:FLASH_BURST]:
        await home.set_power(each)
    assert power(home) == pytest.approx(CHARGES[FLASH_BURST - 1], rel=0.15)
    before = flash_writes(home.simulator)

    for each in CHARGES[FLASH_BURST:]:
        await home.set_power(each)
    await warp(FLASH_WINDOW / 2)

    # The device follows the setpoint before, and the user sees that.
    assert flash_writes(home.simulator) == before
    assert power(home) == pytest.approx(CHARGES[FLASH_BURST - 1], rel=0.15)
    assert home.data.control.requested_power == CHARGES[-1]
    assert home.data.control.granted_power is None
    assert status(home) == ("pending", "flash")
    assert home.state("power_setpoint") == str(CHARGES[-1])

    # When its turn comes only the last one is sent.
    sent = []
    set_power = home.data.battery.set_power_setpoint

    async def note(power: float) -> Grant:
        sent.append(power)
        return await set_power(power)

    monkeypatch.setattr(home.data.battery, "set_power_setpoint", note)
    await warp(FLASH_WINDOW / 2)
    await warp(20)
    assert sent == [CHARGES[-1]]
    assert power(home) == pytest.approx(CHARGES[-1], rel=0.15)
    await warp(6)
    assert status(home) == ("following", None)

    await home.choose("automatic")
    assert changed(original, home.simulator) == {}


@of("deye_modbus")
async def test_a_setpoint_that_waits_is_sent_as_soon_as_its_time_is_over(
    home: Home, warp: Warp
) -> None:
    """Not only with the next renewal."""
    await home.set_power(CHARGES[0])
    await warp(FLASH_WINDOW - 5)
    for each in CHARGES[1 : FLASH_BURST + 1]:
        await home.set_power(each)
    assert status(home) == ("pending", "flash")
    await warp(3)
    assert status(home) == ("pending", "flash")
    await warp(2 + SETTLED)
    assert status(home) != ("pending", "flash")
    assert home.data.control.granted_power == CHARGES[FLASH_BURST]


@of("deye_modbus")
async def test_a_setpoint_that_waits_is_logged(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    """With the seconds, since the action that set it does not wait for it."""
    caplog.set_level("INFO")
    for each in CHARGES[:FLASH_BURST]:
        await home.set_power(each)
    assert "waits" not in caplog.text
    await home.set_power(CHARGES[FLASH_BURST])
    [line] = [each.message for each in caplog.records if "waits" in each.message]
    text, seconds = line.removesuffix(" s").rsplit(maxsplit=1)
    assert text == (
        "Deye: flash was written often just now, so its setpoint of "
        f"{CHARGES[FLASH_BURST]} W waits for"
    )
    assert FLASH_WINDOW / 2 < int(seconds) <= FLASH_WINDOW


@of(*DEYE)
async def test_battery_that_waits_can_be_released_at_once(home: Home) -> None:
    original = home.simulator.settings_words()
    for each in CHARGES:
        await home.set_power(each)
    await home.choose("automatic")
    assert changed(original, home.simulator) == {}
    assert home.state("control_status") == "automatic"


@of(*DEYE)
async def test_setpoints_with_time_between_them_do_not_wait(
    home: Home, warp: Warp
) -> None:
    for each in CHARGES[:5]:
        await home.set_power(each)
        assert home.data.control.granted_power is not None
        await warp(FLASH_WINDOW / FLASH_BURST)


@of("sun2000")
async def test_hold_and_charge_in_turn_wait(home: Home, warp: Warp) -> None:
    """A hold of a SUN2000 is made of limits in flash; a charge is not."""
    for each in (0, 500, 0):
        await home.set_power(each)
        assert home.data.control.granted_power == each
    before = flash_writes(home.simulator)

    await home.set_power(500)
    assert status(home) == ("pending", "flash")
    await home.set_power(0)  # as it is, so there is nothing to wait for
    assert home.data.control.granted_power == 0
    await home.set_power(500)
    assert flash_writes(home.simulator) == before
    assert power(home) == pytest.approx(0, abs=20)

    await warp(FLASH_WINDOW)
    await warp(30)
    assert power(home) == pytest.approx(500, rel=0.1)


@of("victron", "sma", "sun2000", "sessy")
async def test_setpoints_that_write_no_flash_do_not_wait(home: Home) -> None:
    await home.set_power(POWERS[0])
    before = flash_writes(home.simulator)
    for each in POWERS[1:]:
        await home.set_power(each)
        assert home.data.control.granted_power == each
        assert power(home) == pytest.approx(each, rel=0.1)
    assert flash_writes(home.simulator) == before


@of("victron", "sma")
async def test_hold_and_charge_in_turn_do_not_wait_where_neither_writes_flash(
    home: Home,
) -> None:
    for each in (0, 500) * 4:
        await home.set_power(each)
        assert home.data.control.granted_power == each


@of(*BY_SETTINGS)
async def test_setpoints_that_are_released_each_time_wait_too(
    home: Home, warp: Warp
) -> None:
    """Each first setpoint writes flash of the device."""
    original = home.simulator.settings_words()
    for _ in range(FLASH_BURST):
        await home.set_power(600)
        await home.choose("automatic")
    before = flash_writes(home.simulator)

    await home.set_power(600)
    await warp(5)
    assert flash_writes(home.simulator) == before
    assert not is_held(home)
    assert status(home) == ("pending", "flash")

    await warp(FLASH_WINDOW)
    await warp(30)
    assert is_held(home)
    assert power(home) == pytest.approx(600, rel=0.1)
    await home.choose("automatic")
    assert changed(original, home.simulator) == {}


# The count


@each_on_a_socket
async def test_count_is_that_of_the_device(home: Home) -> None:
    assert counted(home) == 0
    key, value = KINDS[home.simulator.type].number
    await home.call("number.set_value", key, value=value)
    assert counted(home) == flash_writes(home.simulator) == 1
    for each in (600, 0, 700):
        await home.set_power(each)
        assert counted(home) == flash_writes(home.simulator)
    await home.choose("automatic")
    assert counted(home) == flash_writes(home.simulator)


@of(*DEYE)
async def test_no_register_was_written_more_often_than_is_counted(home: Home) -> None:
    """Of a Deye requests are counted; its registers are written in blocks."""
    for each in (600, -500, 0):
        await home.set_power(each)
    await home.choose("automatic")
    assert isinstance(home.simulator, DeyeSimulator)
    worn = home.simulator.inverter.flash_writes
    assert max(worn.values()) <= counted(home) <= sum(worn.values())


@one_of_each_protocol
async def test_count_survives_a_restart(home: Home) -> None:
    await home.set_power(0)
    await home.hass.config_entries.async_reload(home.entry.entry_id)
    await home.hass.async_block_till_done()
    assert counted(home) == flash_writes(home.simulator)


@one_of_each_protocol
async def test_count_survives_a_crash(
    home: Home, make_home: MakeHome, hass_storage: dict[str, Any]
) -> None:
    await home.set_power(0)
    alive = await after_a_crash(home, make_home, hass_storage)
    assert await alive.set_up()
    assert counted(alive) == flash_writes(alive.simulator)


@of(*DEYE)
async def test_what_a_renewal_writes_is_kept_too(
    home: Home, warp: Warp, hass_storage: dict[str, Any]
) -> None:
    """Without the grid a Deye's setpoint is suspended, and resumed when it is back."""
    await home.set_power(600)
    before = flash_writes(home.simulator)
    await home.simulator.misbehave("grid_lost")
    await warp(25)
    await warp(25)
    assert flash_writes(home.simulator) > before
    kept = hass_storage[file_of(home)]["data"]["flash_writes"]
    assert kept == flash_writes(home.simulator)


@pytest.fixture
def next_day(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function that makes it tomorrow, by the calendar."""
    now = dt_util.now

    def tomorrow(time_zone: Any = None) -> datetime:
        return now(time_zone) + timedelta(days=1)

    return lambda: monkeypatch.setattr(dt_util, "now", tomorrow)


@of("sun2000", "deye_modbus")
async def test_count_begins_again_at_midnight(
    home: Home, warp: Warp, next_day: Callable[[], None]
) -> None:
    await home.set_power(0)
    yesterday = flash_writes(home.simulator)
    assert counted(home) == yesterday > 0

    next_day()
    await warp(6)
    assert counted(home) == 0

    await home.choose("automatic")
    today = flash_writes(home.simulator) - yesterday
    assert counted(home) == today > 0
    await home.hass.config_entries.async_reload(home.entry.entry_id)
    await home.hass.async_block_till_done()
    assert counted(home) == today


# The budget


@of(*BY_SETTINGS)
async def test_first_setpoint_beyond_the_budget_is_refused(
    home: Home, warp: Warp, hass_storage: dict[str, Any]
) -> None:
    original, before = home.simulator.settings_words(), flash_writes(home.simulator)
    use_up(home)

    with pytest.raises(HomeAssistantError) as refusal:
        await home.set_power(600)
    await warp(31)

    assert refusal.value.translation_key == "flash_budget"
    assert "would wear it out" in str(refusal.value)
    assert flash_writes(home.simulator) == before
    assert changed(original, home.simulator) == {}
    assert home.state("control_status") == "automatic"
    assert stored(hass_storage, home) is None


@of(*DEYE, "sun2000")
async def test_held_setpoint_stays_and_can_be_released_beyond_the_budget(
    home: Home, warp: Warp
) -> None:
    original = home.simulator.settings_words()
    await home.set_power(600)
    use_up(home)
    before = flash_writes(home.simulator)

    with pytest.raises(HomeAssistantError) as refusal:
        await home.set_power(0)
    await warp(31)

    assert refusal.value.translation_key == "flash_budget"
    assert flash_writes(home.simulator) == before
    assert home.data.control.requested_power == 600
    assert home.state("control_status") == "following"
    assert power(home) == pytest.approx(600, rel=0.1)

    await home.choose("automatic")
    assert changed(original, home.simulator) == {}


@of("victron", "sma", "sun2000", "sessy")
async def test_setpoints_that_write_no_flash_are_taken_beyond_the_budget(
    home: Home,
) -> None:
    await home.set_power(600)
    use_up(home)
    await home.set_power(-500)
    assert power(home) == pytest.approx(-500, rel=0.1)


@of(*DEYE)
async def test_setpoint_that_waits_until_the_budget_is_gone_is_not_followed(
    home: Home, warp: Warp
) -> None:
    for each in CHARGES[: FLASH_BURST + 1]:
        await home.set_power(each)
    use_up(home)
    before = flash_writes(home.simulator)

    await warp(FLASH_WINDOW)
    await warp(20)

    assert flash_writes(home.simulator) == before
    assert status(home) == ("not_following", "flash")


@each_on_a_socket
async def test_settings_obey_the_budget(
    home: Home, next_day: Callable[[], None]
) -> None:
    key, value = KINDS[home.simulator.type].number
    use_up(home)
    original = home.simulator.settings_words()

    with pytest.raises(HomeAssistantError) as refusal:
        await home.call("number.set_value", key, value=value)
    assert refusal.value.translation_key == "flash_budget"
    assert changed(original, home.simulator) == {}

    # A new day, a new budget.
    next_day()
    await home.call("number.set_value", key, value=value)
    assert float(home.state(key)) == value


@pytest.mark.parametrize("current", [5, -3])
async def test_current_held_by_limits_follows_only_large_changes_of_voltage(
    make_home: MakeHome,
    clock: ManualClock,
    warp: Warp,
    monkeypatch: pytest.MonkeyPatch,
    current: float,
) -> None:
    """A Huawei that keeps the PV: its limits are in flash, and its bus is restless."""
    house = house_of(HuaweiSimulator, clock)
    house.fixed_pv = 5000.0
    async with HuaweiSimulator(house) as simulator:
        home = make_home(simulator, sunshine="keep_pv")
        assert await home.set_up()
        await home.enable("current_setpoint")
        await warp(40)
        await home.call("number.set_value", "current_setpoint", value=current)
        asked, writes = home.data.control.requested_power, flash_writes(simulator)
        read, volts = simulator.units.read, 0

        def shown(unit: int, address: int, count: int) -> list[int]:
            words = list(read(unit, address, count))
            if address <= BUS_VOLTAGE < address + count:
                words[BUS_VOLTAGE - address] += 10 * volts
            return words

        monkeypatch.setattr(simulator.units, "read", shown)

        async def move(by: int) -> None:
            nonlocal volts
            volts = by
            await warp(40)

        for by in (12, -12, 6, -10, 11, 0):
            await move(by)
        assert flash_writes(simulator) == writes
        await move(60)

        assert flash_writes(simulator) > writes
        assert asked is not None
        assert home.data.control.requested_power == pytest.approx(
            1.14 * asked, rel=0.02
        )
