"""Conditions that keep a battery from its setpoint: how they are shown and handled.

Each condition is brought about in the simulator of every device that knows it. It is
checked from both ends: by the status that the user sees, and by what the device really
does and was sent.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple, Protocol

from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import issue_registry as ir
import pytest

from custom_components.homebattery.const import DOMAIN
from custom_components.homebattery.control.keep_alive import RETRY
from custom_components.homebattery.control.status import SETTLE, TOLERANCE
from custom_components.homebattery.control.takeover import OF_LATE
from custom_components.homebattery.drivers import DRIVERS
from tests.control.lease_support import issues
from tests.home import LOAD, Home, Warp, one_of_each_protocol
from tests.in_process import InProcessDevice
from tests.simulators import (
    HuaweiSimulator,
    SessySimulator,
    Simulator,
    SmaSimulator,
    VictronSimulator,
)

pytestmark = pytest.mark.usefixtures("few_sensors")

KEEP_ALIVE: Final = 5.0
"""s between two renewals of a Victron, which has the shortest time between them."""
RENEWED: Final = ("victron", "sma", "sun2000", "simulated")
"""The devices that forget a setpoint in time, so that it is written again and again."""
SETTINGS_ALONE: Final = ("deye_modbus", "deye_solarman")
"""The devices whose setpoint is made of settings."""
CHARGE_CURRENT: Final = 108
"""The setting of a Deye for the current of charging, A."""
RESTS: Final = 20
"""W at most of a battery that neither charges nor discharges."""

MIN_SOC: Final = {
    "victron": 10,
    "sessy": 0,
    "sma": 2,
    "sun2000": 5,
    "simulated": 10,
    **dict.fromkeys(SETTINGS_ALONE, 15),
}
"""% down to which each device discharges at a setpoint, as it is simulated."""


class Wait(Protocol):
    """Lets time pass in steps, s."""

    async def __call__(self, seconds: float, step: float = 10) -> None: ...


@pytest.fixture
def wait(warp: Warp) -> Wait:
    """Return a coroutine that lets time pass in steps, with all polls and renewals."""

    async def steps(seconds: float, step: float = 10) -> None:
        passed = 0.0
        while passed < seconds:
            await warp(step)
            passed += step

    return steps


def status(home: Home) -> tuple[str, str | None]:
    """Return the control status that the user sees, and the reason of it."""
    state = home.state_of("control_status")
    return state.state, state.attributes["reason"]


def power(home: Home) -> float:
    """Return the power that the battery really has, W."""
    return float(home.simulator.state()["battery_power"])


def written(home: Home) -> list[Any]:
    """Return all writes that the device was sent, the oldest first."""
    if isinstance(home.simulator, InProcessDevice):
        return list(home.simulator.device.written)
    server: Any = home.simulator.server
    return list(
        server.posts if home.simulator.type == "sessy" else server.traffic.writes
    )


async def refuse_writes(home: Home, on: bool = True) -> None:
    """Let the device refuse all that is written, or take it again."""
    if home.simulator.type == "sessy":
        count = 100 if on else 0
        await home.simulator.misbehave("error", status=500, count=count, path="set")
    else:
        await home.simulator.misbehave("refuse_writes", code=4 if on else 0)


# Full, empty, derated


async def test_a_full_battery_is_not_charged(home: Home, wait: Wait) -> None:
    """It rests, except a SUN2000: that ends the charge and serves the house instead."""
    home.simulator.plant.soc = 100
    await home.set_power(2000)
    await wait(SETTLE + 10)
    assert status(home) == ("limited", "full")
    if home.simulator.type == "sun2000":
        assert home.simulator.mode == "automatic"
        assert power(home) == pytest.approx(-LOAD, rel=0.1)
    else:
        assert power(home) == pytest.approx(0, abs=RESTS)


async def test_a_battery_that_becomes_full_is_limited(home: Home, wait: Wait) -> None:
    """Once there is room again it goes on, where the device has not ended it."""
    await home.set_power(1000)
    await wait(10)
    assert status(home) == ("following", None)
    home.simulator.plant.soc = 100
    await wait(40)
    assert status(home) == ("limited", "full")
    before = len(written(home))
    home.simulator.plant.soc = 80
    await wait(40)
    if home.simulator.type == "sun2000":
        # It has ended the charge. To begin again would be a loop around 100 %.
        assert status(home) == ("limited", "full")
        assert len(written(home)) == before
    else:
        assert status(home) == ("following", None)
        assert power(home) == pytest.approx(1000, rel=0.1)


@pytest.mark.parametrize("at_first", [True, False])
async def test_an_empty_battery_is_not_discharged(
    home: Home, wait: Wait, at_first: bool
) -> None:
    """Whether it is empty already, or becomes so."""
    empty = MIN_SOC[home.simulator.type]
    home.simulator.plant.soc = empty if at_first else 50
    await home.set_power(-500)
    await wait(SETTLE + 10)
    if not at_first:
        assert status(home) == ("following", None)
        home.simulator.plant.soc = empty
        await wait(30)
    assert status(home) == ("limited", "empty")
    assert power(home) == pytest.approx(0, abs=RESTS)


@pytest.mark.parametrize("simulator", ["sun2000"], indirect=True)
@pytest.mark.parametrize("at_first", [True, False])
async def test_a_battery_at_a_floor_of_its_own_is_not_discharged(
    home: Home, simulator: HuaweiSimulator, wait: Wait, at_first: bool
) -> None:
    """The device ends the discharge there, though a lower minimum SOC is set.

    No other controller is to blame. What it does then, by its working mode, is its own.
    """
    simulator.device.own_floor = 15
    simulator.plant.soc = 15 if at_first else 50
    await home.set_power(-2000)
    if not at_first:
        await wait(SETTLE + 10)
        assert status(home) == ("following", None)
        simulator.plant.soc = 15
        await wait(60)
    assert status(home) == ("limited", "empty")
    before = written(home)
    await wait(180)
    assert status(home) == ("limited", "empty")
    assert written(home) == before
    assert issues(home) == set()
    await home.choose("automatic")
    assert home.state("control_mode") == "automatic"


@pytest.mark.parametrize("simulator", ["sun2000"], indirect=True)
async def test_a_discharge_that_rests_at_such_a_floor_is_limited(
    home: Home, simulator: HuaweiSimulator, wait: Wait
) -> None:
    """Some firmware keeps the command, and does not show the floor as the minimum."""
    simulator.plant.soc = 20
    await simulator.misbehave("setting", setting="min_soc", value=20)
    await simulator.misbehave("unknown", address=47082)
    await home.set_power(-2000)
    await wait(SETTLE + 10)
    assert power(home) == pytest.approx(0, abs=RESTS)
    assert status(home) == ("limited", "empty")


async def derate(home: Home, amps: int, watts: float) -> None:
    """Let the battery take no more than this."""
    if home.simulator.type in ("victron", *SETTINGS_ALONE):
        await home.simulator.misbehave("bms", charge=amps, discharge=amps)
    else:
        home.simulator.plant.max_charge = watts


@pytest.mark.parametrize("at_first", [True, False])
async def test_a_derated_battery_takes_what_it_can(
    home: Home, wait: Wait, at_first: bool
) -> None:
    """Whether it is derated already, or becomes so."""
    if at_first:
        await derate(home, amps=10, watts=520)
    await home.set_power(2000)
    if not at_first:
        await wait(10)
        assert status(home) == ("following", None)
        await derate(home, amps=10, watts=520)
    await wait(SETTLE + 30)
    assert status(home) == ("limited", "battery")
    assert power(home) == pytest.approx(520, rel=0.1)


@pytest.mark.parametrize("simulator", SETTINGS_ALONE, indirect=True)
@pytest.mark.parametrize("load", [LOAD, 60])
async def test_a_discharge_that_may_not_feed_in_ends_at_the_load(
    home: Home, wait: Wait, load: float
) -> None:
    """The usual option of a Deye."""
    home.simulator.plant.fixed_load = load
    await home.set_power(-3000)
    await wait(SETTLE + 30)
    assert status(home) == ("limited", "load")
    assert power(home) == pytest.approx(-load, abs=RESTS)
    home.simulator.plant.fixed_pv = 2000
    await wait(30)
    assert power(home) > TOLERANCE
    assert status(home) == ("limited", "load")


@pytest.mark.parametrize("simulator", SETTINGS_ALONE, indirect=True)
async def test_a_discharge_without_effect_is_no_house_that_takes_no_more(
    home: Home, wait: Wait
) -> None:
    """The grid serves the house instead."""
    home.simulator.plant.max_discharge = 0
    await home.set_power(-3000)
    await wait(SETTLE + 30)
    assert status(home) == ("not_following", "no_effect")
    home.simulator.plant.max_discharge = 12_000
    await wait(30)
    assert status(home) == ("limited", "load")


@pytest.mark.parametrize("simulator", SETTINGS_ALONE, indirect=True)
async def test_a_discharge_for_what_is_behind_the_inverter_leaves_the_rest_to_the_grid(
    home: Home, wait: Wait
) -> None:
    """A Deye that may not export to its load serves that alone."""
    zero_export_to_load = 1
    await home.simulator.misbehave("settings", address=142, words=[zero_export_to_load])
    await home.set_power(-3000)
    home.simulator.plant.max_discharge = 50
    await wait(SETTLE + 30)
    assert status(home) == ("limited", "load")


@pytest.mark.parametrize("simulator", SETTINGS_ALONE, indirect=True)
async def test_a_hold_without_the_grid_is_limited(home: Home, wait: Wait) -> None:
    """The battery serves what is behind it meanwhile."""
    await home.set_power(0)
    await wait(SETTLE + 10)
    await home.simulator.misbehave("grid_lost")
    await wait(SETTLE + 30)
    assert power(home) < -TOLERANCE
    assert status(home) == ("limited", "no_grid")


@pytest.mark.parametrize("simulator", ["sma"], indirect=True)
async def test_a_setpoint_that_is_set_without_the_grid_waits_for_it(
    home: Home, wait: Wait
) -> None:
    """It is as one that was held before: limited, then followed."""
    await home.simulator.misbehave("grid_lost")
    await wait(90)
    await home.set_power(1500)
    assert status(home) == ("limited", "no_grid")
    await wait(SETTLE + 30)
    assert status(home) == ("limited", "no_grid")
    without_grid = home.simulator.mode

    await home.simulator.misbehave("grid_lost", on=False)
    await wait(SETTLE + 90)
    assert (without_grid, home.simulator.mode) == ("automatic", "controlled")
    assert status(home) == ("following", None)


# Writes refused


async def test_a_first_setpoint_that_is_refused_changes_nothing(
    home: Home, wait: Wait
) -> None:
    """The caller gets an error, and the battery stays under its own control."""
    before = home.simulator.settings_words()
    await refuse_writes(home)
    with pytest.raises(HomeAssistantError, match="refuses this"):
        await home.set_power(1000)
    assert home.state("power_setpoint") != "1000"
    assert home.simulator.mode == "automatic"
    assert home.simulator.settings_words() == before
    await refuse_writes(home, on=False)
    await wait(2 * RETRY)
    assert status(home) == ("automatic", None)
    assert home.simulator.settings_words() == before


async def test_a_first_setpoint_while_writing_is_switched_off_begins_no_lease(
    victron_home: Home, wait: Wait
) -> None:
    """The device was not changed, so it is never shown as held."""
    await victron_home.simulator.misbehave("refuse_writes", code=2)
    with pytest.raises(HomeAssistantError, match="refuses this"):
        await victron_home.set_power(1000)
    await wait(3 * RETRY)

    assert status(victron_home) == ("automatic", None)
    assert victron_home.state("control_mode") == "automatic"
    issues = ir.async_get(victron_home.hass).issues
    assert [issue for _, issue in issues] == [
        f"writes_off_{victron_home.entry.unique_id}"
    ]


async def test_after_a_refused_change_the_former_setpoint_is_held(
    home: Home, wait: Wait
) -> None:
    """The former setpoint stays in force, and is sent again."""
    await home.set_power(1000)
    # A Huawei is sent another power not before that.
    await wait(20)
    await refuse_writes(home)
    with pytest.raises(HomeAssistantError, match="refuses this"):
        await home.set_power(2000)
    await wait(30)
    # Settings that are still there are not written again, so they are not refused.
    again = home.simulator.type not in SETTINGS_ALONE
    assert status(home) == (("pending", "refused") if again else ("following", None))
    assert home.data.control.requested_power == 1000
    assert power(home) == pytest.approx(1000, rel=0.1)
    await refuse_writes(home, on=False)
    await wait(2 * RETRY)
    assert status(home) == ("following", None)
    assert power(home) == pytest.approx(1000, rel=0.1)


@pytest.mark.parametrize("simulator", RENEWED, indirect=True)
async def test_refused_renewals_are_shown_and_go_on(home: Home, wait: Wait) -> None:
    """They are shown at once, before the device forgets; they go on and on."""
    await home.set_power(1000)
    await wait(10)
    await refuse_writes(home)
    await wait(30)
    assert status(home) == ("pending", "refused")
    assert power(home) == pytest.approx(1000, rel=0.1)
    await wait(630, step=30)
    assert status(home) == ("not_following", "refused")
    assert power(home) <= 0
    await refuse_writes(home, on=False)
    await wait(40)
    assert status(home) == ("following", None)
    assert power(home) == pytest.approx(1000, rel=0.1)


# Writes without effect

type Case = tuple[str, int, str, dict[str, Any]]

IN_VAIN: Final[list[Case]] = [
    ("victron", 1000, "idle", {}),
    ("sessy", 1000, "stuck", {}),
    ("sma", 1000, "ignore_setpoint", {}),
    ("sun2000", 0, "ignore_limits", {}),
]
"""A device, a setpoint, and the fault by which an accepted setpoint has no effect."""


@pytest.mark.parametrize(
    ("simulator", "setpoint", "fault", "arguments"), IN_VAIN, indirect=["simulator"]
)
async def test_a_setpoint_without_effect_is_not_followed(
    home: Home, wait: Wait, setpoint: int, fault: str, arguments: dict[str, Any]
) -> None:
    """A device may need a while, so it is shown after that."""
    await home.simulator.misbehave(fault, **arguments)
    await home.set_power(setpoint)
    await wait(SETTLE - 10)
    assert status(home) == ("pending", None)
    assert home.simulator.mode == "controlled"
    await wait(20)
    assert status(home) == ("not_following", "no_effect")
    assert power(home) != pytest.approx(setpoint, abs=RESTS)
    await home.simulator.misbehave(fault, on=False)
    await wait(20)
    assert status(home) == ("following", None)
    assert power(home) == pytest.approx(setpoint, rel=0.1, abs=RESTS)


@pytest.mark.parametrize("simulator", [*SETTINGS_ALONE, "sun2000"], indirect=True)
async def test_writes_without_effect_are_an_error(home: Home, wait: Wait) -> None:
    """These devices are read back at once, so the caller gets the error."""
    before = home.simulator.settings_words()
    await home.simulator.misbehave("ignore_writes")
    with pytest.raises(HomeAssistantError, match="does not show it"):
        await home.set_power(1000)
    await wait(2 * RETRY)
    assert status(home) == ("automatic", None)
    assert home.simulator.settings_words() == before


@pytest.mark.parametrize("simulator", ["victron", "sma"], indirect=True)
async def test_writes_without_effect_are_shown(home: Home, wait: Wait) -> None:
    """A device that never took its setpoint is not said to be taken over."""
    await home.simulator.misbehave("ignore_writes")
    await home.set_power(1000)
    await wait(SETTLE + 10)
    assert status(home) == ("not_following", "no_effect")
    assert home.simulator.mode == "automatic"
    await home.simulator.misbehave("ignore_writes", on=False)
    await home.set_power(1000)
    await wait(10)
    assert status(home) == ("following", None)


# Rebooted


async def reboot(simulator: Simulator, wait: Wait, **arguments: Any) -> None:
    """Let the device restart, and be away for half a minute meanwhile."""
    restart = "power_cycle" if simulator.type == "sma" else "restart"
    await simulator.misbehave(restart, **arguments)
    await simulator.misbehave("away")
    await wait(30)
    await simulator.misbehave("away", on=False)


@pytest.mark.parametrize("simulator", ["victron", "sma"], indirect=True)
async def test_a_setpoint_that_a_reboot_forgets_is_renewed(
    home: Home, wait: Wait
) -> None:
    """It is renewed anyhow, so that it is there again."""
    await home.set_power(1000)
    await wait(10)
    await reboot(home.simulator, wait)
    assert power(home) <= 0
    await wait(80)
    assert status(home) == ("following", None)
    assert power(home) == pytest.approx(1000, rel=0.1)


@pytest.mark.parametrize("simulator", ["sma"], indirect=True)
async def test_a_reboot_between_two_renewals_is_no_takeover(
    home: Home, simulator: SmaSimulator, wait: Wait
) -> None:
    """All polls in between show external control off, as another controller would."""
    await home.set_power(1000)
    await wait(30, step=KEEP_ALIVE)
    await simulator.misbehave("power_cycle")
    await wait(60, step=KEEP_ALIVE)
    assert status(home) == ("following", None)
    assert power(home) == pytest.approx(1000, rel=0.1)


@pytest.mark.parametrize("simulator", SETTINGS_ALONE, indirect=True)
async def test_a_reboot_that_forgets_nothing_needs_no_writes(
    home: Home, wait: Wait
) -> None:
    """Settings survive it, and flash is not written for it."""
    await home.set_power(1000)
    await wait(10)
    before = written(home)
    await reboot(home.simulator, wait)
    await wait(80)
    assert status(home) == ("following", None)
    assert power(home) == pytest.approx(1000, rel=0.1)
    assert written(home) == before


@pytest.mark.parametrize("forgets", [True, False])
async def test_a_sessy_gets_its_setpoint_again_only_if_a_reboot_forgot_it(
    sessy_home: Home, sessy: SessySimulator, wait: Wait, forgets: bool
) -> None:
    """Whether it forgets its setpoint is not known: it is read, and posted once."""
    await sessy_home.set_power(1000)
    await wait(10)
    before = len(written(sessy_home))
    await reboot(sessy, wait, forgets=forgets)
    await wait(80)
    assert status(sessy_home) == ("following", None)
    assert power(sessy_home) == pytest.approx(1000, rel=0.1)
    assert [post.body for post in written(sessy_home)[before:]] == (
        [{"setpoint": -1000}] if forgets else []
    )


@pytest.mark.parametrize("simulator", ["sun2000"], indirect=True)
async def test_a_command_that_a_reboot_ends_is_not_begun_again(
    home: Home, wait: Wait
) -> None:
    """The user may have ended it as well, so that is shown and not undone."""
    await home.set_power(1000)
    await wait(10)
    before = written(home)
    await reboot(home.simulator, wait)
    await wait(80)
    assert status(home) == ("not_following", "ended")
    assert power(home) == pytest.approx(-LOAD, rel=0.1)
    assert written(home) == before
    await home.set_power(1000)
    await wait(10)
    assert status(home) == ("following", None)


# Another controller


class Takeover(NamedTuple):
    """A change that another controller makes on a battery that is held."""

    battery_type: str
    fault: str
    arguments: dict[str, Any]
    setpoint: int = 1000
    """The setpoint at which it is held then, W."""


TAKEOVERS: Final = {
    "ESS mode": Takeover("victron", "ess_mode", {"mode": 2}),
    "command": Takeover("sun2000", "other_controller", {"power": -800}),
    "power": Takeover("sun2000", "other_controller", {"power": 500}),
    "limits": Takeover("sun2000", "limits", {"power": 3000}, setpoint=0),
    **{
        f"setting by {way}": Takeover(
            way, "settings", {"address": CHARGE_CURRENT, "words": [50]}
        )
        for way in SETTINGS_ALONE
    },
    "strategy": Takeover("sessy", "strategy", {"strategy": "IDLE"}),
    "setpoint": Takeover("sma", "other_controller", {"power": 700}),
    "working mode": Takeover("simulated", "other_controller", {}),
}


async def take_over(home: Home, takeover: Takeover, wait: Wait) -> None:
    """Let another controller make a change, and repeat it until it is noticed."""
    for _ in range(6):
        await home.simulator.misbehave(takeover.fault, **takeover.arguments)
        await wait(10)


@pytest.mark.parametrize(
    ("simulator", "takeover"),
    [(each.battery_type, each) for each in TAKEOVERS.values()],
    ids=list(TAKEOVERS),
    indirect=["simulator"],
)
async def test_another_controller_is_not_fought(
    home: Home, wait: Wait, takeover: Takeover
) -> None:
    """The takeover is shown, and nothing is written until the user asks for it."""
    charge_current = home.simulator.state()["device"].get("charge_current")
    await home.set_power(takeover.setpoint)
    await wait(10)
    assert status(home) == ("following", None)

    await take_over(home, takeover, wait)
    assert status(home) == ("not_following", "other_controller")
    foreign, before = home.simulator.settings_words(), written(home)
    await wait(180, step=30)
    assert status(home) == ("not_following", "other_controller")
    assert written(home) == before
    assert home.simulator.settings_words() == foreign

    await home.set_power(1200)
    await wait(10)
    assert status(home) == ("following", None)
    assert power(home) == pytest.approx(1200, rel=0.1)

    await home.set_power(takeover.setpoint)
    await wait(10)
    await take_over(home, takeover, wait)
    assert status(home) == ("not_following", "other_controller")
    foreign = home.simulator.settings_words()
    await home.choose("automatic")
    assert status(home) == ("automatic", None)
    if takeover.battery_type in SETTINGS_ALONE:
        # Which settings the other one wrote is not known: the snapshot is restored.
        device = home.simulator.state()["device"]
        assert device["charge_current"] == charge_current
    else:
        assert home.simulator.settings_words() == foreign


async def test_a_second_controller_of_a_victron_gets_it_after_three_setpoints(
    victron_home: Home, victron: VictronSimulator, wait: Wait
) -> None:
    """After three setpoints of its own in external control it is not fought."""
    await victron_home.set_power(1000)
    await wait(10)
    for _ in range(8):
        await victron.misbehave("other_controller", power=-500)
        await wait(3, step=3)
    assert status(victron_home) == ("not_following", "other_controller")
    before = written(victron_home)
    await victron.misbehave("other_controller", power=-500)
    await wait(50)
    assert written(victron_home) == before
    assert victron.state()["device"]["setpoints"] == [-500]

    await victron_home.choose("automatic")
    # The mode is restored; the other controller's setpoint is not cleared.
    assert [(each.address, each.words) for each in written(victron_home)] == [
        *((each.address, each.words) for each in before),
        (2902, [1]),
    ]
    await victron_home.set_power(1200)
    await wait(10)
    assert status(victron_home) == ("following", None)


async def test_one_foreign_setpoint_of_a_victron_is_no_takeover(
    victron_home: Home, victron: VictronSimulator, wait: Wait
) -> None:
    """It may be the last one of the GX's own loop."""
    await victron_home.set_power(1000)
    await wait(10)
    await victron.misbehave("other_controller", power=-500)
    await wait(60, step=KEEP_ALIVE)
    assert status(victron_home) == ("following", None)
    assert power(victron_home) == pytest.approx(1000, rel=0.1)


async def test_a_sessy_gets_a_changed_setpoint_back_only_once(
    sessy_home: Home, sessy: SessySimulator, wait: Wait
) -> None:
    """The second change is no accident, so it stays."""
    await sessy_home.set_power(1000)
    await wait(10)
    before = len(written(sessy_home))
    await sessy.misbehave("setpoint", power=300)
    await wait(40)
    assert status(sessy_home) == ("following", None)
    assert len(written(sessy_home)) == before + 1
    await sessy.misbehave("setpoint", power=300)
    await wait(180)
    assert status(sessy_home) == ("not_following", "other_controller")
    assert len(written(sessy_home)) == before + 1
    assert power(sessy_home) == -300


async def test_a_setpoint_that_a_supplier_overrides_is_followed_afterwards(
    sessy_home: Home, sessy: SessySimulator, wait: Wait
) -> None:
    """The device has kept the setpoint, so nothing is written."""
    await sessy_home.set_power(1000)
    await wait(10)
    before = written(sessy_home)
    await sessy.misbehave("override", power=500)
    await wait(180)
    assert status(sessy_home) == ("not_following", "other_controller")
    assert power(sessy_home) == -500
    await sessy.misbehave("override", power=None)
    await wait(40)
    assert status(sessy_home) == ("following", None)
    assert written(sessy_home) == before


@pytest.mark.parametrize("simulator", ["sma"], indirect=True)
async def test_an_sma_that_is_switched_off_twice_is_taken_over(
    home: Home, simulator: SmaSimulator, wait: Wait
) -> None:
    """Once may be a restart; twice in ten minutes is another controller."""
    await home.set_power(1000)
    await wait(10)
    await simulator.misbehave("other_controller", power=0, on=False)
    await wait(60)
    assert status(home) == ("following", None)
    await simulator.misbehave("other_controller", power=0, on=False)
    await wait(60)
    assert status(home) == ("not_following", "other_controller")
    before = written(home)
    await wait(180)
    await home.choose("automatic")
    assert written(home) == before
    assert simulator.mode == "automatic"


@pytest.mark.parametrize("simulator", ["sun2000"], indirect=True)
async def test_a_command_that_another_controller_stops_is_not_begun_again(
    home: Home, simulator: HuaweiSimulator, wait: Wait
) -> None:
    """The device does not show what has ended it."""
    await home.set_power(1000)
    await wait(10)
    before = written(home)
    await simulator.misbehave("other_controller", power=0)
    await wait(180)
    assert status(home) == ("not_following", "ended")
    assert written(home) == before
    await home.choose("automatic")
    assert written(home) == before


# … again and again


def issue_of(home: Home) -> ir.IssueEntry | None:
    """Return the issue about another controller."""
    issue = f"other_controller_{home.entry.unique_id}"
    return ir.async_get(home.hass).async_get_issue(DOMAIN, issue)


ONE_EACH: Final = {
    each.battery_type: each for each in TAKEOVERS.values() if each.setpoint
}


@one_of_each_protocol
async def test_repeated_takeovers_raise_an_issue(home: Home, wait: Wait) -> None:
    """The third one within a day does."""
    assert ONE_EACH.keys() == set(DRIVERS)
    takeover = ONE_EACH[home.simulator.type]
    for count in range(1, 4):
        await home.set_power(1000)
        await wait(10)
        await take_over(home, takeover, wait)
        assert status(home) == ("not_following", "other_controller")
        assert (issue_of(home) is not None) == (count == 3)


async def test_one_takeover_counts_once_however_long_it_lasts(
    sessy_home: Home, wait: Wait
) -> None:
    await sessy_home.set_power(1000)
    await take_over(sessy_home, TAKEOVERS["strategy"], wait)
    await wait(600, step=30)
    assert status(sessy_home) == ("not_following", "other_controller")
    assert issue_of(sessy_home) is None


async def test_takeovers_on_different_days_raise_no_issue(
    sessy_home: Home, wait: Wait
) -> None:
    for _ in range(3):
        await sessy_home.set_power(1000)
        await take_over(sessy_home, TAKEOVERS["strategy"], wait)
        await wait(OF_LATE / 2, step=OF_LATE / 2)
        await sessy_home.choose("automatic")
    assert issue_of(sessy_home) is None


# Bad states that a Victron itself does not handle in external control

type Bring = Callable[[VictronSimulator, bool], Awaitable[None]]


async def below_min_soc(victron: VictronSimulator, on: bool) -> None:
    victron.plant.soc = 9 if on else 50


async def no_discharge_current(victron: VictronSimulator, on: bool) -> None:
    await victron.misbehave("bms", charge=100, discharge=0 if on else 100)


@pytest.mark.parametrize(
    ("bring", "reason"), [(below_min_soc, "empty"), (no_discharge_current, "battery")]
)
async def test_discharging_a_victron_stops_in_a_bad_state(
    victron_home: Home,
    victron: VictronSimulator,
    wait: Wait,
    bring: Bring,
    reason: str,
) -> None:
    """The next renewal holds it with both flags; when all is well it goes on."""
    await victron_home.set_power(-1000)
    await wait(10)
    assert status(victron_home) == ("following", None)

    await bring(victron, True)
    await wait(2 * KEEP_ALIVE, step=KEEP_ALIVE)
    last = written(victron_home)[-1]
    assert (last.address, last.words) == (37, [0, 1, 1])
    device = victron.state()["device"]
    assert device["disable_charge"] == device["disable_feed_in"] == 1
    assert power(victron_home) == pytest.approx(0, abs=RESTS)
    assert status(victron_home) == ("limited", reason)

    await bring(victron, False)
    await wait(2 * KEEP_ALIVE, step=KEEP_ALIVE)
    device = victron.state()["device"]
    assert device["disable_charge"] == device["disable_feed_in"] == 0
    assert power(victron_home) == pytest.approx(-1000, rel=0.1)
    assert status(victron_home) == ("following", None)


async def test_discharging_a_victron_goes_on_only_well_above_its_minimum(
    victron_home: Home, victron: VictronSimulator, wait: Wait
) -> None:
    """Three percent, lest it goes on and off at the minimum."""
    await victron_home.set_power(-1000)
    victron.plant.soc = 10
    await wait(10)
    assert status(victron_home) == ("limited", "empty")
    victron.plant.soc = 12
    await wait(10)
    assert status(victron_home) == ("limited", "empty")
    assert victron.state()["device"]["passthru"]
    victron.plant.soc = 13
    await wait(10)
    assert status(victron_home) == ("following", None)
