"""PV and the setpoints of a Huawei, as its user meets them."""

from collections.abc import AsyncIterator
from typing import Any, Final

from homeassistant.components.repairs import DOMAIN as REPAIRS
from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.homebattery.const import DOMAIN
from custom_components.homebattery.drivers.battery.controller import DeviceIssue
from custom_components.homebattery.drivers.sun2000.controller import SPARED_FOR
from tests.control.lease_support import after_a_crash, changed, issues
from tests.home import Home, MakeHome, Warp, house_of
from tests.simulators import HuaweiSimulator, ManualClock

pytestmark = pytest.mark.usefixtures("few_sensors")

SUN: Final = 1839.0
"""W, as on the roof where the ceiling was measured."""


@pytest.fixture
async def huawei(clock: ManualClock) -> AsyncIterator[HuaweiSimulator]:
    """Yield a device whose panels are in the sun."""
    house = house_of(HuaweiSimulator, clock)
    house.fixed_pv = SUN
    async with HuaweiSimulator(house) as simulator:
        yield simulator


@pytest.fixture
async def sunny_home(
    request: pytest.FixtureRequest, huawei: HuaweiSimulator, make_home: MakeHome
) -> Home:
    """Return it in Home Assistant, with the choice that is the parameter, if any."""
    choice = getattr(request, "param", None)
    home = make_home(huawei, **({} if choice is None else {"sunshine": choice}))
    assert await home.set_up()
    return home


keeping_pv: Final = pytest.mark.parametrize("sunny_home", ["keep_pv"], indirect=True)
keeping_setpoint: Final = pytest.mark.parametrize(
    "sunny_home", ["keep_setpoint"], indirect=True
)


def status(home: Home) -> tuple[str, Any]:
    """Return the control status and its reason."""
    state = home.state_of("control_status")
    return state.state, state.attributes["reason"]


def sunlight(home: Home) -> float:
    """Return the PV power of the house, W."""
    return float(home.simulator.state()["pv_power"])


def battery_power(home: Home) -> float:
    return float(home.simulator.state()["battery_power"])


async def settle(warp: Warp) -> None:
    """Let the device follow, and its strings be read again."""
    for _ in range(9):
        await warp(10)


@pytest.mark.parametrize(("power", "harvest"), [(400, 363), (-500, 0)])
async def test_a_setpoint_that_costs_pv_says_so(
    sunny_home: Home, warp: Warp, power: int, harvest: float
) -> None:
    await sunny_home.set_power(power)
    await settle(warp)

    assert battery_power(sunny_home) == pytest.approx(power, abs=5)
    assert sunlight(sunny_home) == pytest.approx(harvest, abs=1)
    assert status(sunny_home) == ("following", "pv_curtailed")
    assert issues(sunny_home) == {DeviceIssue.PV_CURTAILED}


@pytest.mark.parametrize("power", [400, -500])
async def test_firmware_that_curtails_nothing_raises_no_question(
    sunny_home: Home, huawei: HuaweiSimulator, warp: Warp, power: int
) -> None:
    huawei.device.curtails = False
    await sunny_home.set_power(power)
    await settle(warp)

    assert battery_power(sunny_home) == pytest.approx(power, abs=5)
    assert sunlight(sunny_home) == SUN
    assert status(sunny_home) == ("following", None)
    assert issues(sunny_home) == set()


async def test_dawn_raises_no_question(
    sunny_home: Home, huawei: HuaweiSimulator, warp: Warp
) -> None:
    """The strings have a voltage long before there is anything to harvest."""
    huawei.plant.fixed_pv = 0.0
    huawei.device.curtails = False
    await settle(warp)
    await sunny_home.set_power(-500)
    huawei.plant.fixed_pv = 20.0
    for _ in range(3):
        await settle(warp)

    assert status(sunny_home) == ("following", None)
    assert issues(sunny_home) == set()


@pytest.mark.parametrize("power", [3000, 0])
async def test_a_setpoint_that_costs_no_pv_says_nothing(
    sunny_home: Home, warp: Warp, power: int
) -> None:
    await sunny_home.set_power(power)
    await settle(warp)

    assert status(sunny_home) == ("following", None)
    assert sunlight(sunny_home) == SUN
    assert issues(sunny_home) == set()


async def test_the_question_is_raised_once(sunny_home: Home, warp: Warp) -> None:
    """It does not go and come with the sun, and one that is ignored stays so."""
    await sunny_home.set_power(400)
    await settle(warp)
    issue_id = f"{DeviceIssue.PV_CURTAILED}_{sunny_home.entry.unique_id}"
    ir.async_ignore_issue(sunny_home.hass, DOMAIN, issue_id, True)
    for power in (-400, 3000, -500):
        await sunny_home.set_power(power)
        await settle(warp)
        await sunny_home.choose("automatic")
        await settle(warp)

    issue = ir.async_get(sunny_home.hass).async_get_issue(DOMAIN, issue_id)
    assert issue is not None and issue.dismissed_version is not None


@keeping_setpoint
async def test_there_is_no_question_after_the_choice(
    sunny_home: Home, warp: Warp
) -> None:
    await sunny_home.set_power(400)
    await settle(warp)

    assert status(sunny_home) == ("following", "pv_curtailed")
    assert issues(sunny_home) == set()


@pytest.mark.parametrize(
    ("choice", "harvest"), [("keep_setpoint", 363), ("keep_pv", SUN)]
)
async def test_the_answer_is_an_option(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    sunny_home: Home,
    warp: Warp,
    choice: str,
    harvest: float,
) -> None:
    """Before the answer comes the battery is released."""
    original = sunny_home.simulator.settings_words()
    assert await async_setup_component(hass, REPAIRS, {})
    client = await hass_client()
    await sunny_home.set_power(400)
    await settle(warp)
    begun = await client.post(
        "/api/repairs/issues/fix",
        json={
            "handler": DOMAIN,
            "issue_id": f"{DeviceIssue.PV_CURTAILED}_{sunny_home.entry.unique_id}",
        },
    )
    question = await begun.json()
    assert question["data_schema"][0]["default"] == "keep_setpoint"
    done = await client.post(
        f"/api/repairs/issues/fix/{question['flow_id']}", json={"sunshine": choice}
    )

    assert (await done.json())["type"] == "create_entry"
    assert sunny_home.entry.options["sunshine"] == choice
    assert changed(original, sunny_home.simulator) == {}
    await sunny_home.set_power(400)
    await settle(warp)
    assert sunlight(sunny_home) == pytest.approx(harvest, abs=1)
    assert issues(sunny_home) == set()


@keeping_pv
async def test_pv_is_kept_beside_a_charge(sunny_home: Home, warp: Warp) -> None:
    await sunny_home.set_power(400)
    await settle(warp)

    assert sunlight(sunny_home) == SUN
    assert battery_power(sunny_home) == pytest.approx(400, abs=5)
    assert float(sunny_home.state("power_setpoint")) == 400
    assert status(sunny_home) == ("following", None)


@keeping_pv
async def test_a_charge_for_which_the_house_leaves_nothing_is_limited(
    sunny_home: Home, huawei: HuaweiSimulator, warp: Warp
) -> None:
    huawei.plant.fixed_load = 3000.0
    await sunny_home.set_power(400)
    for _ in range(12):
        await warp(6)

    assert battery_power(sunny_home) == 0
    assert status(sunny_home) == ("limited", "pv_curtailed")


@keeping_pv
@pytest.mark.parametrize("load", [600.0, 3000.0])
async def test_a_discharge_in_light_is_limited(
    sunny_home: Home, huawei: HuaweiSimulator, warp: Warp, load: float
) -> None:
    huawei.plant.fixed_load = load
    await sunny_home.set_power(-2000)
    await settle(warp)

    assert sunlight(sunny_home) == SUN
    assert status(sunny_home) == ("limited", "pv_curtailed")
    assert float(sunny_home.simulator.state()["grid_power"]) <= 10


@keeping_pv
async def test_a_discharge_begins_when_it_is_dark(
    sunny_home: Home, huawei: HuaweiSimulator, warp: Warp
) -> None:
    original = huawei.settings_words()
    await sunny_home.set_power(-2000)
    huawei.plant.fixed_pv = 0.0
    for _ in range(round(SPARED_FOR / 30) + 3):
        await warp(30)

    assert battery_power(sunny_home) == pytest.approx(-2000, abs=10)
    assert status(sunny_home) == ("following", None)
    await sunny_home.choose("automatic")
    assert changed(original, huawei) == {}


@keeping_pv
@pytest.mark.parametrize("power", [400, -500])
async def test_where_limits_do_not_stay_the_setpoint_goes_on(
    sunny_home: Home, huawei: HuaweiSimulator, warp: Warp, power: int
) -> None:
    """The status says that it costs PV, and flash is not written again and again."""
    huawei.plant.fixed_pv = 0.0
    await huawei.misbehave("keep_limits")
    await sunny_home.set_power(power)
    await settle(warp)
    huawei.plant.fixed_pv = SUN
    for _ in range(3):
        await settle(warp)

    assert battery_power(sunny_home) == pytest.approx(power, abs=5)
    assert status(sunny_home) == ("following", "pv_curtailed")
    assert sum(huawei.device.flash_writes.values()) <= 2
    await sunny_home.choose("automatic")
    assert huawei.mode == "automatic"


@keeping_pv
@pytest.mark.parametrize("power", [400, -500])
async def test_limits_come_back_after_a_crash(
    sunny_home: Home,
    make_home: MakeHome,
    hass_storage: dict[str, Any],
    power: int,
) -> None:
    original = sunny_home.simulator.settings_words()
    await sunny_home.set_power(power)
    assert changed(original, sunny_home.simulator) != {}
    alive = await after_a_crash(sunny_home, make_home, hass_storage, sunshine="keep_pv")
    assert await alive.set_up()

    assert changed(original, alive.simulator) == {}
    assert alive.state("control_mode") == "automatic"
