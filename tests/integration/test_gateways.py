"""Inverters behind one gateway in Home Assistant: its device, and the house once."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from homeassistant.config_entries import (
    SOURCE_USER,
    ConfigEntryDisabler,
    ConfigEntryState,
)
from homeassistant.const import EVENT_STATE_CHANGED
from homeassistant.core import Event, HomeAssistant, callback
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers import device_registry as dr, issue_registry as ir
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.homebattery import setup_flow
from custom_components.homebattery.const import CONF_BATTERY_TYPE, DOMAIN
from custom_components.homebattery.drivers.battery.base import SCAN_INTERVAL
from custom_components.homebattery.drivers.detection import detect
from tests.home import Home, MakeHome, Warp, house_of
from tests.simulators import HuaweiSimulator, ManualClock
from tests.simulators.huawei_registers import Setting
from tests.simulators.words import Value

FIRST, SECOND = "HV2250123456", "HV2250654321"


@pytest.fixture
async def site(clock: ManualClock) -> AsyncIterator[HuaweiSimulator]:
    """Return an EMMA with two inverters behind it, of which one has a battery."""
    house = house_of(HuaweiSimulator, clock)
    async with HuaweiSimulator(house, access="emma", second_unit=16) as simulator:
        yield simulator


@pytest.fixture
async def first(make_home: MakeHome, site: HuaweiSimulator) -> Home:
    made = make_home(site)
    assert await made.set_up()
    return made


@pytest.fixture
async def second(hass: HomeAssistant, site: HuaweiSimulator, first: Home) -> Home:
    """Return the other inverter, added after the first."""
    entry = MockConfigEntry(
        domain=DOMAIN,
        title="Shed",
        unique_id=SECOND,
        data={CONF_BATTERY_TYPE: "sun2000", **site.setup, "unit_id": 16},
    )
    entry.add_to_hass(hass)
    made = Home(hass, site, entry)
    assert await made.set_up()
    return made


def shows_house(home: Home) -> bool:
    """Return whether a battery shows values of the whole house now."""
    entity_id = home.find("grid_power")
    state = None if entity_id is None else home.hass.states.get(entity_id)
    return state is not None and state.state not in ("unavailable", "unknown")


def gateway_of(home: Home) -> dr.DeviceEntry | None:
    """Return the device that the page of a battery names as its gateway."""
    devices = dr.async_get(home.hass)
    device = devices.async_get(home.data.device_id)
    assert isinstance(device, dr.DeviceEntry)
    via = device.via_device_id
    gateway = None if via is None else devices.async_get(via)
    assert gateway is None or isinstance(gateway, dr.DeviceEntry)
    return gateway


async def test_the_page_of_a_battery_names_its_gateway(first: Home) -> None:
    gateway = gateway_of(first)

    assert gateway is not None
    assert (gateway.name, gateway.model) == ("EMMA", "EMMA-A02")
    assert gateway.manufacturer == "Huawei"
    assert gateway.serial_number == "EM2250000001"


async def test_an_action_for_the_gateway_is_for_the_battery(first: Home) -> None:
    gateway = gateway_of(first)
    assert gateway is not None
    answer = await first.hass.services.async_call(
        DOMAIN,
        "set_power",
        {"device_id": gateway.id, "power": 1000},
        blocking=True,
        return_response=True,
    )
    assert answer is not None
    batteries: Any = answer["batteries"]
    assert batteries[first.data.device_id]["granted"] == 1000


async def test_the_house_is_shown_with_its_totals(first: Home) -> None:
    assert float(first.state("grid_power")) == pytest.approx(0, abs=40)
    assert float(first.state("load_power")) == pytest.approx(600, abs=5)
    assert first.state("grid_import_total") == "1000.0"
    assert first.state("grid_export_total") == "1000.0"


async def test_only_the_first_of_several_shows_the_house(
    first: Home, second: Home
) -> None:
    """The energy dashboard must not count it twice. Both name the gateway."""
    assert shows_house(first)
    assert not shows_house(second)
    assert second.find("grid_import_total") is None
    assert second.state("active_power") == "0"
    assert gateway_of(second) is not None


async def test_it_is_the_same_one_after_a_restart(
    hass: HomeAssistant, first: Home, second: Home
) -> None:
    """Whichever answers first."""
    for home in (first, second):
        await hass.config_entries.async_unload(home.entry.entry_id)
    for home in (second, first):
        assert await home.set_up()

    assert shows_house(first)
    assert not shows_house(second)


async def test_the_next_one_shows_the_house_when_the_first_is_removed(
    hass: HomeAssistant, first: Home, second: Home
) -> None:
    await hass.config_entries.async_remove(first.entry.entry_id)
    await hass.async_block_till_done()

    assert shows_house(second)


async def test_the_next_one_shows_the_house_while_the_first_is_disabled(
    hass: HomeAssistant, first: Home, second: Home
) -> None:
    await hass.config_entries.async_set_disabled_by(
        first.entry.entry_id, ConfigEntryDisabler.USER
    )
    await hass.async_block_till_done()
    assert shows_house(second)

    await hass.config_entries.async_set_disabled_by(first.entry.entry_id, None)
    await hass.async_block_till_done()
    assert shows_house(first)
    assert not shows_house(second)


async def test_the_house_is_shown_once_behind_a_gateway_that_is_exchanged(
    hass: HomeAssistant, site: HuaweiSimulator, first: Home, warp: Warp
) -> None:
    """From the next scan on: an entry that is added meanwhile knows the new one."""
    emma = site.units.listeners[0]
    site.units.listeners[0] = emma._replace(
        values=lambda: {**emma.values(), "serial": "EM2250000002"}
    )
    second = behind(hass, site, 16)
    await set_up_all(hass, second)

    await warp(SCAN_INTERVAL + 1)
    await hass.async_block_till_done()
    assert [shows_house(home) for home in (first, second)] == [True, False]
    await unload_all(hass, second)


async def test_an_inverter_at_night_behind_a_new_connection_shows_the_house(
    hass: HomeAssistant, site: HuaweiSimulator, warp: Warp
) -> None:
    """It refuses even its serial number; the gateway is awake."""
    home = behind(hass, site, 16)
    await set_up_all(hass, home)
    await site.misbehave("sleep", unit=16)
    await site.misbehave("cut")
    for _ in range(3):
        await warp(31)

    assert shows_house(home)
    await unload_all(hass, home)


async def test_a_battery_that_is_held_is_not_set_up_again_for_that(
    hass: HomeAssistant, first: Home, second: Home, warp: Warp
) -> None:
    """It would lose its setpoint; when it is released, within the hour."""
    await hass.config_entries.async_set_disabled_by(
        second.entry.entry_id, ConfigEntryDisabler.USER
    )
    await hass.async_block_till_done()
    await first.set_power(1000)
    # As if another entry had been there before.
    first.data.battery.shows_house = False
    await hass.config_entries.async_set_disabled_by(second.entry.entry_id, None)
    await hass.async_block_till_done()
    assert first.state("control_mode") == "manual"
    battery = first.data.battery

    await first.choose("automatic")
    await warp(SCAN_INTERVAL + 1)
    await hass.async_block_till_done()
    assert first.data.battery is not battery


def behind(
    hass: HomeAssistant, site: HuaweiSimulator, unit_id: int, **setup: Any
) -> Home:
    """Return an entry that is not set up yet, of an inverter behind the gateway."""
    entry = MockConfigEntry(
        domain=DOMAIN,
        title=f"Unit {unit_id}",
        unique_id={1: FIRST, 16: SECOND}[unit_id],
        data={
            CONF_BATTERY_TYPE: "sun2000",
            **site.setup,
            "unit_id": unit_id,
            **setup,
        },
    )
    entry.add_to_hass(hass)
    return Home(hass, site, entry)


async def set_up_all(hass: HomeAssistant, *homes: Home) -> None:
    """Set up entries, as when Home Assistant starts."""
    for home in homes:
        if home.entry.state is ConfigEntryState.NOT_LOADED:
            await hass.config_entries.async_setup(home.entry.entry_id)
    await hass.async_block_till_done(wait_background_tasks=True)


async def unload_all(hass: HomeAssistant, *homes: Home) -> None:
    for home in homes:
        if home.entry.state is ConfigEntryState.LOADED:
            await hass.config_entries.async_unload(home.entry.entry_id)
    await hass.async_block_till_done()


class Counted:
    """Watches how many batteries show the house, at each change of any state."""

    def __init__(self, hass: HomeAssistant, *homes: Home) -> None:
        self.most = 0

        @callback
        def count(_event: Event[Any]) -> None:
            self.most = max(self.most, sum(shows_house(home) for home in homes))

        hass.bus.async_listen(EVENT_STATE_CHANGED, count)


async def test_the_house_is_counted_once_whatever_the_gateway_is_called(
    hass: HomeAssistant, site: HuaweiSimulator
) -> None:
    """It is known by its serial number, not by the address that was typed."""
    site.server.set_faults(one_client=False)
    first, second = behind(hass, site, 1), behind(hass, site, 16, host="localhost")
    await set_up_all(hass, first, second)

    assert shows_house(first)
    assert not shows_house(second)
    counted = Counted(hass, first, second)
    await unload_all(hass, first, second)
    await set_up_all(hass, second, first)
    assert shows_house(first)
    assert counted.most == 1
    await unload_all(hass, first, second)


async def test_the_next_one_shows_the_house_while_the_first_is_away_at_night(
    hass: HomeAssistant, site: HuaweiSimulator
) -> None:
    """As after a restart at night; by day the first shows it again, never both."""
    sleeper, hybrid = behind(hass, site, 16), behind(hass, site, 1)
    counted = Counted(hass, sleeper, hybrid)
    await site.misbehave("sleep", unit=16)
    await set_up_all(hass, sleeper, hybrid)
    assert sleeper.entry.state is ConfigEntryState.SETUP_RETRY
    assert shows_house(hybrid)

    await site.misbehave("sleep", unit=16, on=False)
    await hass.config_entries.async_reload(sleeper.entry.entry_id)
    await hass.async_block_till_done()
    assert shows_house(sleeper)
    assert not shows_house(hybrid)

    await unload_all(hass, hybrid, sleeper)
    await site.misbehave("sleep", unit=16)
    await set_up_all(hass, hybrid, sleeper)
    assert shows_house(hybrid)
    assert counted.most == 1
    await unload_all(hass, hybrid)


async def test_a_try_of_the_first_that_fails_takes_the_house_from_no_one(
    hass: HomeAssistant, site: HuaweiSimulator
) -> None:
    """Else each try would set up the one that shows it again."""
    sleeper, hybrid = behind(hass, site, 16), behind(hass, site, 1)
    await set_up_all(hass, sleeper, hybrid)
    await unload_all(hass, sleeper)
    await site.misbehave("sleep", unit=16)
    await set_up_all(hass, sleeper)
    battery = hybrid.data.battery
    assert shows_house(hybrid)

    for _ in range(2):
        await hass.config_entries.async_reload(sleeper.entry.entry_id)
        await hass.async_block_till_done()
        assert hybrid.data.battery is battery
    await unload_all(hass, hybrid)


async def test_a_battery_that_is_held_keeps_the_house_until_it_is_released(
    hass: HomeAssistant, site: HuaweiSimulator, warp: Warp
) -> None:
    """Setting it up again would end its setpoint."""
    sleeper, hybrid = behind(hass, site, 16), behind(hass, site, 1)
    await site.misbehave("sleep", unit=16)
    await set_up_all(hass, sleeper, hybrid)
    await hybrid.set_power(1000)
    await site.misbehave("sleep", unit=16, on=False)
    await hass.config_entries.async_reload(sleeper.entry.entry_id)
    await hass.async_block_till_done()
    assert hybrid.state("control_mode") == "manual"
    assert (shows_house(sleeper), shows_house(hybrid)) == (False, True)

    await hybrid.choose("automatic")
    await warp(SCAN_INTERVAL + 1)
    await hass.async_block_till_done()
    assert (shows_house(sleeper), shows_house(hybrid)) == (True, False)
    await unload_all(hass, hybrid, sleeper)


async def test_an_inverter_with_its_own_meter_leaves_the_house_to_others(
    hass: HomeAssistant, site: HuaweiSimulator
) -> None:
    """It names the gateway, and shows what its own meter measures."""
    site.device.meter = "present"
    metered, other = behind(hass, site, 1), behind(hass, site, 16)
    await set_up_all(hass, metered, other)

    assert gateway_of(metered) is not None
    assert metered.find("meter_status") is not None
    assert shows_house(other)
    assert other.find("meter_status") is None
    await unload_all(hass, metered, other)


async def test_an_emma_is_said_to_overrule_settings(first: Home) -> None:
    issues = ir.async_get(first.hass)
    issue = issues.async_get_issue(DOMAIN, f"gateway_overrules_{FIRST}")

    assert issue is not None
    assert issue.severity is ir.IssueSeverity.WARNING


async def test_a_hold_that_an_emma_refuses_is_released_cleanly(first: Home) -> None:
    """The error says it; nothing is held, and nothing has to be restored."""
    assert isinstance(first.simulator, HuaweiSimulator)
    await first.set_power(1000)
    await first.simulator.misbehave("ignore_writes")
    with pytest.raises(Exception, match="does not show it"):
        await first.set_power(0)
    await first.simulator.misbehave("ignore_writes", on=False)
    await first.choose("automatic")

    assert first.state("control_status") == "automatic"
    assert first.simulator.mode == "automatic"
    assert first.simulator.device.number("charge_limit") == 5000


async def test_the_setpoint_before_a_hold_that_an_emma_refuses_goes_on(
    first: Home, monkeypatch: pytest.MonkeyPatch, warp: Warp
) -> None:
    """It answers the writes of the limits, and keeps its own; commands go past it."""
    assert isinstance(first.simulator, HuaweiSimulator)
    device = first.simulator.device
    write = device.write

    def keep_limits(row: Setting, value: Value) -> None:
        if row.name not in ("charge_limit", "discharge_limit"):
            write(row, value)

    monkeypatch.setattr(device, "write", keep_limits)
    await first.set_power(1000)
    with pytest.raises(Exception, match="does not show it"):
        await first.set_power(0)
    await warp(31)

    assert first.state("power_setpoint") == "1000"
    assert (device.forcible.name, device.forcible_power) == ("CHARGE", 1000)
    await first.choose("automatic")
    assert first.state("control_status") == "automatic"
    assert device.number("charge_limit") == 5000


# Adding them


@pytest.fixture
def listening(
    site: HuaweiSimulator, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> HuaweiSimulator:
    """Return the site, at the usual port of an inverter."""
    ports = {502: site.port, **dict.fromkeys((6607, 8899, 80), closed_port)}
    monkeypatch.setattr(setup_flow, "detect", partial(detect, ports=ports))
    return site


async def begin_to_detect(hass: HomeAssistant, site: HuaweiSimulator) -> Any:
    """Return the form of what is detected at a site."""
    flow = hass.config_entries.flow
    menu = await flow.async_init(DOMAIN, context={"source": SOURCE_USER})
    form = await flow.async_configure(menu["flow_id"], {"next_step_id": "detect"})
    return await flow.async_configure(form["flow_id"], {"host": site.host})


async def submit(hass: HomeAssistant, form: Any, values: dict[str, Any]) -> Any:
    return await hass.config_entries.flow.async_configure(form["flow_id"], values)


async def test_each_inverter_that_is_detected_is_offered(
    hass: HomeAssistant, listening: HuaweiSimulator
) -> None:
    """In a list with their present values; the next time, the one that remains."""
    form = await begin_to_detect(hass, listening)
    assert form["step_id"] == "sun2000"
    where = {"host": listening.host, "port": listening.port}
    form = await submit(hass, form, {**where, "advanced": {}})
    assert form["step_id"] == "choose"
    (selector,) = form["data_schema"].schema.values()
    labels = [option["label"] for option in selector.config["options"]]
    assert [label.split(",")[:2] for label in labels] == [
        ["1: SUN2000-6KTL-M1", f" {FIRST}"],
        ["16: SUN2000-6KTL-M1", f" {SECOND}"],
    ]
    created = await submit(hass, form, {"unit_id": "16"})
    assert created["type"] is FlowResultType.CREATE_ENTRY
    assert created["result"].unique_id == SECOND

    form = await begin_to_detect(hass, listening)
    created = await submit(hass, form, {**where, "advanced": {"unit_id": 1}})
    assert created["type"] is FlowResultType.CREATE_ENTRY
    assert created["result"].unique_id == FIRST

    form = await begin_to_detect(hass, listening)
    assert form["step_id"] == "sun2000"


async def test_one_of_two_is_taken_without_a_question_when_the_other_has_an_entry(
    hass: HomeAssistant, first: Home, site: HuaweiSimulator
) -> None:
    """Also where its unit id is not typed."""
    flow = hass.config_entries.flow
    menu = await flow.async_init(DOMAIN, context={"source": SOURCE_USER})
    form = await flow.async_configure(menu["flow_id"], {"next_step_id": "sun2000"})
    created = await submit(
        hass, form, {"host": site.host, "port": site.port, "advanced": {}}
    )

    assert created["type"] is FlowResultType.CREATE_ENTRY
    assert created["result"].unique_id == SECOND


async def test_an_inverter_at_night_is_offered_and_added_by_daylight(
    hass: HomeAssistant, listening: HuaweiSimulator
) -> None:
    """The gateway lists it; choosing it says what to wait for."""
    await listening.misbehave("sleep", unit=16)
    form = await begin_to_detect(hass, listening)
    where = {"host": listening.host, "port": listening.port, "advanced": {}}
    form = await submit(hass, form, where)
    assert form["step_id"] == "choose"
    form = await submit(hass, form, {"unit_id": "16"})
    assert (form["step_id"], form["errors"]) == ("choose", {"base": "device_failure"})

    await listening.misbehave("sleep", unit=16, on=False)
    created = await submit(hass, form, {"unit_id": "16"})
    assert created["type"] is FlowResultType.CREATE_ENTRY
    assert created["result"].unique_id == SECOND
