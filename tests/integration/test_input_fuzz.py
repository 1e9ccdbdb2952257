"""Any input to flows, entities and actions: a form's error or a refusal, no other."""

from contextlib import suppress
from ipaddress import ip_address
from typing import Any, Final

from homeassistant.config_entries import (
    SOURCE_DHCP,
    SOURCE_INTEGRATION_DISCOVERY,
    SOURCE_USER,
    SOURCE_ZEROCONF,
)
from homeassistant.const import CONF_HOST, CONF_MAC
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType, InvalidData
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.service_info.dhcp import DhcpServiceInfo
from homeassistant.helpers.service_info.zeroconf import ZeroconfServiceInfo
from hypothesis import HealthCheck, given, settings, strategies as st
import probatio as vol
import pytest

from custom_components.homebattery import setup_flow
from custom_components.homebattery.const import DOMAIN
from custom_components.homebattery.drivers import DRIVERS
from custom_components.homebattery.drivers.battery.base import Battery
from custom_components.homebattery.drivers.errors import (
    BatteryError,
    CannotConnectError,
)
from custom_components.homebattery.forms import (
    NAME_FIELD,
    SECTION_ADVANCED,
    flatten,
    form_schema,
    parse_setup,
)
from tests.home import Home, one_of_each_protocol
from tests.strategies import JSON, LEAVES, NUMBERS, TEXTS, share_of_examples

reusing_fixtures: Final = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture]
)
each_type: Final = pytest.mark.parametrize("battery_type", DRIVERS)
HOSTS: Final = st.sampled_from(["192.0.2.1", "home.local", "fe80::1%eth0"]) | TEXTS


def inputs(battery_type: str) -> st.SearchStrategy[dict[str, Any]]:
    """Return any input that a user, or a script, may send for a form."""
    fields = (*DRIVERS[battery_type].fields, NAME_FIELD)

    def values(*, advanced: bool) -> st.SearchStrategy[dict[str, Any]]:
        return st.fixed_dictionaries(
            {},
            optional={
                field.name: HOSTS
                if field.name == CONF_HOST
                else st.sampled_from([field.default, 1, 255, "1", 502.0]) | LEAVES
                for field in fields
                if field.advanced == advanced
            },
        )

    return st.builds(
        lambda plain, advanced, odd: {
            **plain,
            **({SECTION_ADVANCED: advanced} if advanced else {}),
            **odd,
        },
        values(advanced=False),
        values(advanced=True) | JSON,
        st.just({}) | st.dictionaries(TEXTS, LEAVES, max_size=1),
    )


# Forms ------------------------------------------------------------------------


@each_type
@share_of_examples(1 / 2)
@given(data=st.data())
def test_any_values_of_a_form_are_a_battery_or_refused(
    battery_type: str, data: st.DataObject
) -> None:
    driver = DRIVERS[battery_type]
    fields = (*driver.fields, NAME_FIELD)
    errors: dict[str, str] = {}
    try:
        typed = form_schema(fields, {})(data.draw(inputs(battery_type)))
    except vol.Invalid:
        return
    setup = parse_setup(flatten(typed, fields, {}), errors)
    if errors:
        return
    try:
        battery = driver.from_setup(setup)
    except BatteryError:
        return
    assert battery.address == setup.get(CONF_HOST, battery.address)
    # The form is shown again with what was typed.
    form_schema(fields, setup, errors=errors)


@pytest.fixture
def _out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no battery be reached: connecting sends nothing."""

    async def connect(battery: Battery) -> None:
        raise CannotConnectError(battery.address)

    async def explain(_: Battery, err: BatteryError) -> BatteryError:
        return err

    async def detect(*_: object, **__: object) -> list[object]:
        return []

    for driver in DRIVERS.values():
        monkeypatch.setattr(driver, "connect", connect)
        monkeypatch.setattr(driver, "explain", explain)
    monkeypatch.setattr(setup_flow, "detect", detect)
    for module in ("config_flow", "discovery"):
        name = f"custom_components.homebattery.{module}.detect_at"
        monkeypatch.setattr(name, detect)


@each_type
@pytest.mark.usefixtures("_out_of_reach")
@share_of_examples(1 / 10, reusing_fixtures)
@given(data=st.data())
async def test_any_input_to_a_flow_is_a_form_again(
    hass: HomeAssistant, battery_type: str, data: st.DataObject
) -> None:
    flow = hass.config_entries.flow
    for step in (battery_type, "detect"):
        result: Any = await flow.async_init(DOMAIN, context={"source": SOURCE_USER})
        await flow.async_configure(result["flow_id"], {"next_step_id": step})
        with suppress(InvalidData):
            result = await flow.async_configure(
                result["flow_id"], data.draw(inputs(battery_type))
            )
            assert result["type"] is FlowResultType.FORM
            assert "unknown" not in result["errors"].values()
        flow.async_abort(result["flow_id"])


@one_of_each_protocol
@share_of_examples(1 / 4, reusing_fixtures)
@given(data=st.data())
async def test_any_options_are_within_their_bounds_or_refused(
    home: Home, data: st.DataObject
) -> None:
    """With those that are taken the battery can be set up again."""
    options = home.hass.config_entries.options
    result: Any = await options.async_init(home.entry.entry_id)
    names = ["max_charge_power", "max_discharge_power", "scan_interval"]
    fields = home.data.battery.option_fields
    choices = {field.name: field.choices for field in fields if field.choices}
    sections = ["setpoint_timeout", "capacity", *choices, "odd"]
    chosen = st.sampled_from([*sum(choices.values(), ()), "never"])
    typed: dict[str, Any] = data.draw(
        st.dictionaries(st.sampled_from(names), NUMBERS | LEAVES)
    )
    typed[SECTION_ADVANCED] = data.draw(
        st.dictionaries(st.sampled_from(sections), NUMBERS | LEAVES | chosen)
    )
    try:
        await options.async_configure(result["flow_id"], typed)
    except InvalidData:
        options.async_abort(result["flow_id"])
        return
    await home.hass.async_block_till_done()
    for name, value in home.entry.options.items():
        if name in choices:
            assert value in choices[name]
            continue
        assert isinstance(value, int)
        assert 0 <= value <= 10_000_000
    assert home.state("control_mode") == "automatic"


# Entities and actions -----------------------------------------------------------


@one_of_each_protocol
@share_of_examples(1 / 2, reusing_fixtures)
@given(data=st.data())
async def test_any_value_is_set_or_refused(home: Home, data: st.DataObject) -> None:
    """A number, an option, a power with a duration: each entity in turn."""
    entity_ids = home.hass.states.async_entity_ids(("number", "select", "switch"))
    entity_id = data.draw(st.sampled_from(entity_ids))
    action, field = {
        "number": ("set_value", "value"),
        "select": ("select_option", "option"),
        "switch": ("turn_on", "odd"),
    }[entity_id.partition(".")[0]]
    value = data.draw(NUMBERS | LEAVES)
    with suppress(vol.Invalid, HomeAssistantError):
        await home.hass.services.async_call(
            entity_id.partition(".")[0],
            action,
            {"entity_id": entity_id, field: value},
            blocking=True,
        )
    state = home.hass.states.get(entity_id)
    assert state is not None
    assert state.state not in ("nan", "inf", "-inf")


DURATIONS: Final = st.one_of(
    LEAVES,
    st.from_regex(r"-?[0-9]{1,30}:[0-9]{1,3}(:[0-9]{1,3})?", fullmatch=True),
    st.dictionaries(
        st.sampled_from(["days", "hours", "minutes", "seconds", "milliseconds"]), LEAVES
    ),
)


@one_of_each_protocol
@share_of_examples(1 / 4, reusing_fixtures)
@given(
    power=st.integers(-2000, 2000) | LEAVES,
    duration=DURATIONS,
    odd=st.just({}) | st.dictionaries(TEXTS, LEAVES, max_size=1),
)
async def test_any_power_and_duration_are_taken_or_refused(
    home: Home, power: Any, duration: Any, odd: dict[str, Any]
) -> None:
    control = home.data.control
    data = {"entity_id": home.entity_id("control_mode"), "power": power, **odd}
    if duration is not None:
        data["duration"] = duration
    with suppress(vol.Invalid, HomeAssistantError):
        await home.hass.services.async_call(DOMAIN, "set_power", data, blocking=True)
        assert control.requested_power == round(float(power))
    await control.async_release()
    assert home.state("control_mode") == "automatic"


# Discovery ----------------------------------------------------------------------


IPS: Final = st.one_of(st.ip_addresses(), st.just(ip_address("fe80::1%eth0")))


@pytest.mark.usefixtures("_out_of_reach")
@share_of_examples(1 / 2, reusing_fixtures)
@given(
    ips=st.lists(IPS, min_size=1, max_size=3),
    port=st.none() | st.integers(),
    properties=st.dictionaries(
        st.sampled_from(["serial", "version", "odd"]),
        st.none() | TEXTS | st.binary(max_size=20) | st.from_regex(r"D[A-Z0-9]{7}"),
    ),
    name=TEXTS,
)
async def test_any_announcement_is_offered_or_refused(
    hass: HomeAssistant,
    ips: list[Any],
    port: int | None,
    properties: dict[str, Any],
    name: str,
) -> None:
    flow = hass.config_entries.flow
    result: Any = await flow.async_init(
        DOMAIN,
        context={"source": SOURCE_ZEROCONF},
        data=ZeroconfServiceInfo(
            ip_address=ips[0],
            ip_addresses=ips,
            port=port,
            hostname=name,
            type="_http._tcp.local.",
            name=name,
            properties=properties,
        ),
    )
    if result["type"] is FlowResultType.FORM:
        # The user need not see that the address makes no sense: it is said then.
        with suppress(InvalidData):
            result = await flow.async_configure(
                result["flow_id"], {"host": str(ips[0]), "password": "x"}
            )
            assert result["type"] is FlowResultType.FORM
            assert "unknown" not in result["errors"].values()
        flow.async_abort(result["flow_id"])
        return
    assert result["type"] is FlowResultType.ABORT


@pytest.mark.usefixtures("_out_of_reach")
@share_of_examples(1 / 2, reusing_fixtures)
@given(
    ip=st.ip_addresses().map(str) | TEXTS,
    mac=st.text("0123456789abcdef", min_size=12, max_size=12),
    odd_mac=TEXTS,
    name=TEXTS,
)
async def test_any_lease_of_an_address_and_any_logger_are_no_error(
    hass: HomeAssistant, ip: str, mac: str, odd_mac: str, name: str
) -> None:
    flow = hass.config_entries.flow
    result: Any = await flow.async_init(
        DOMAIN,
        context={"source": SOURCE_DHCP},
        data=DhcpServiceInfo(ip=ip, macaddress=mac, hostname=name),
    )
    assert result["type"] is FlowResultType.ABORT
    result = await flow.async_init(
        DOMAIN,
        context={"source": SOURCE_INTEGRATION_DISCOVERY},
        data={CONF_HOST: ip, CONF_MAC: odd_mac},
    )
    assert result["type"] is FlowResultType.ABORT
