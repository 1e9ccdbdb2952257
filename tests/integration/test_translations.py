"""Every text that can be shown exists in every language, and no other."""

from collections.abc import AsyncIterator, Iterator
from itertools import groupby, pairwise
import json
from pathlib import Path
import re
from typing import Any, Final

from homeassistant.components.sensor import SensorDeviceClass
from homeassistant.const import CONF_NAME, Platform
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.selector import SelectSelector
from homeassistant.util import slugify
from homeassistant.util.yaml import load_yaml_dict
import pytest

from custom_components.homebattery import errors
from custom_components.homebattery.const import (
    BATTERY_CHARGING,
    CONTROL_MODE,
    CONTROL_STATUS,
    CURRENT_SETPOINT,
    DEVICE_SETPOINT,
    FLASH_WRITES_TODAY,
    LAST_FRESH,
    POWER_SETPOINT,
    SETPOINT_DURATION,
    SETPOINT_ENDS,
    ControlMode,
    ControlStatus,
    Issue,
)
from custom_components.homebattery.device import device_name
from custom_components.homebattery.drivers import DRIVERS, SessyInverter
from custom_components.homebattery.drivers.battery.controller import (
    DeviceIssue,
    LimitReason,
)
from custom_components.homebattery.drivers.errors import WrongUnitError
from custom_components.homebattery.drivers.measurements import MEASUREMENTS, Quantity
from custom_components.homebattery.drivers.sun2000.registers import (
    MAX_MPPTS,
    MAX_STRINGS,
    MODES_OF_OTHERS,
    PEAK_SHAVING,
)
from custom_components.homebattery.drivers.victron.registers import SWITCH_POSITION
from custom_components.homebattery.entity import (
    ATTR_KEY,
    KEYS_FOR_TEMPLATES,
    translation_of,
)
from custom_components.homebattery.forms import SECTION_ADVANCED, SELECTORS
from custom_components.homebattery.number import (
    ATTR_AT_ZERO,
    ATTR_CHARGES,
    ATTR_DISCHARGES,
    HOLDS,
    KINDS as NUMBERS,
)
from custom_components.homebattery.options_flow import OPTIONS
from custom_components.homebattery.repairs import (
    FIXES,
    AcceptFlow,
    AddressFlow,
    ForgetFlow,
    ReleaseFlow,
    ReloadFlow,
    SunshineFlow,
)
from custom_components.homebattery.sensor import ATTR_EXPIRES, ATTR_REASON, KINDS
from tests.home import Home, MakeHome
from tests.simulators import (
    DeyeModbusSimulator,
    DeyeSolarmanSimulator,
    HuaweiSimulator,
    ManualClock,
    SessySimulator,
    Simulator,
    SmaSimulator,
    VictronSimulator,
)
from tests.simulators.image import HttpImage

FOLDER: Final = Path(errors.__file__).parent
SOURCES: Final = "\n".join(
    path.read_text("utf-8")
    for folder in (FOLDER, FOLDER / "control")
    for path in sorted(folder.glob("*.py"))
)

type Texts = dict[str, Any]

EN: Final[Texts] = json.loads((FOLDER / "translations/en.json").read_text("utf-8"))
ICONS: Final[Texts] = json.loads((FOLDER / "icons.json").read_text("utf-8"))


def placeholders(text: str) -> set[str]:
    return set(re.findall(r"{(\w+)}", text))


# The flow


def test_each_kind_of_battery_has_its_step() -> None:
    steps = EN["config"]["step"]
    others = {"user", "detect", "detected", "discovery_confirm", "reauth_confirm"}
    assert steps.keys() == {*others, "new_address", "choose", *DRIVERS}
    assert steps["user"]["menu_options"].keys() == {"detect", *DRIVERS}
    for texts in ("menu_options", "menu_option_descriptions"):
        of_kinds = dict(steps["user"][texts])
        del of_kinds["detect"]
        assert of_kinds.keys() == DRIVERS.keys()
        assert steps["detected"][texts] == {
            kind: of_kinds[kind] for kind, driver in DRIVERS.items() if driver.ports
        }
    for battery_type in DRIVERS:
        name = steps["user"]["menu_options"][battery_type]
        assert steps[battery_type]["title"] == name
    choose = steps["choose"]
    unit_ids = {field.name for field in DRIVERS["victron"].fields if field.advanced}
    assert choose["data"].keys() == choose["data_description"].keys() == unit_ids
    confirm = steps["discovery_confirm"]
    assert confirm["data"].keys() == confirm["data_description"].keys() == {CONF_NAME}
    detect = steps["detect"]
    assert detect["title"] == steps["user"]["menu_options"]["detect"]
    assert detect["data"].keys() == detect["data_description"].keys() == {"host"}


@pytest.mark.parametrize("battery_type", DRIVERS)
def test_each_field_is_named_and_explained(battery_type: str) -> None:
    step = EN["config"]["step"][battery_type]
    fields = [each for each in DRIVERS[battery_type].fields if not each.generated]
    usual = {field.name for field in fields if not field.advanced} | {CONF_NAME}
    advanced = {field.name for field in fields if field.advanced}
    assert step["data"].keys() == usual
    assert step["data_description"].keys() == usual
    if advanced:
        section = step["sections"][SECTION_ADVANCED]
        assert section["data"].keys() == advanced
        assert section["data_description"].keys() == advanced
    else:
        assert "sections" not in step


def test_each_option_is_named_and_explained() -> None:
    step = EN["options"]["step"]["init"]
    of_drivers = [
        field for driver in DRIVERS.values() for field in driver.option_fields
    ]
    for advanced, texts in ((False, step), (True, step["sections"][SECTION_ADVANCED])):
        names = {
            field.name
            for field in (*OPTIONS, *of_drivers)
            if field.advanced == advanced
        }
        assert texts["data"].keys() == texts["data_description"].keys() == names


def test_each_choice_on_a_form_has_a_text() -> None:
    options = {
        selector.config["translation_key"]: set(selector.config["options"])
        for selector in SELECTORS.values()
        if isinstance(selector, SelectSelector)
    }
    texts = {key: set(texts["options"]) for key, texts in EN["selector"].items()}
    assert texts == options


def error_keys() -> set[str]:
    return {words.key for words in errors._WORDS} | {errors.UNKNOWN}


def test_each_error_of_the_flow_has_a_text() -> None:
    by_flow = set(re.findall(r'errors\[[A-Z_]+\] = "(\w+)"', SOURCES))
    by_flow.update(errors._IF_OPTIONAL.values())
    # A flow never writes to a device.
    of_writing = {"flash_budget", "not_kept", "taken_over"}
    assert EN["config"]["error"].keys() == (error_keys() | by_flow) - of_writing


def test_each_error_of_the_flow_names_only_what_was_tried() -> None:
    """The frontend would show an error for a placeholder without a value."""
    always = {"host", "port"}
    of_kind = {
        "wrong_logger_serial": {"logger_serial", "actual_serial"},
        "logger_serial_refused": {"logger_serial"},
        "solarman_spoken": {"actual_port"},
        "modbus_spoken": {"actual_port"},
    }
    for key, text in EN["config"]["error"].items():
        assert placeholders(text) <= always | of_kind.get(key, set()), key


@pytest.mark.parametrize("language", ["en", "nl", "de", "fr"])
def test_other_kind_of_deye_is_called_as_on_the_menu(language: str) -> None:
    texts = json.loads((FOLDER / f"translations/{language}.json").read_text("utf-8"))
    menu = texts["config"]["step"]["user"]["menu_options"]
    for key, battery_type in (
        ("solarman_spoken", "deye_solarman"),
        ("modbus_spoken", "deye_modbus"),
    ):
        assert menu[battery_type] in texts["config"]["error"][key]
        assert menu[battery_type] in texts["exceptions"][key]["message"]


@pytest.mark.parametrize("battery_type", DRIVERS)
def test_text_asks_to_empty_the_unit_id_only_where_that_is_possible(
    battery_type: str,
) -> None:
    fields = DRIVERS[battery_type].fields
    optional = any(field.name == "unit_id" and not field.required for field in fields)
    _, key = errors.form_error(WrongUnitError("x"), fields)
    assert ("Leave the unit IDs empty" in EN["config"]["error"][key]) == optional


def test_each_reason_to_abort_has_a_text() -> None:
    named = set(re.findall(r'reason="(\w+)"', SOURCES))
    by_home_assistant = {"already_configured", "reauth_successful"}
    assert EN["config"]["abort"].keys() == named | by_home_assistant


def test_each_exception_has_a_text_with_its_placeholders() -> None:
    raised = set(re.findall(r'(?:translation_key=|_refusal\()"(\w+)"', SOURCES))
    raised -= set(EN["selector"])
    assert EN["exceptions"].keys() == raised | error_keys()
    for key in error_keys():
        assert placeholders(EN["exceptions"][key]["message"]) == {"device", "error"}
    for key in raised - {"no_battery"}:
        assert "device" in placeholders(EN["exceptions"][key]["message"])


FIX_ENDINGS: Final = {
    ReleaseFlow: {"error": {"not_released"}, "abort": {"not_loaded"}},
    ReloadFlow: {"error": {"not_found"}, "abort": {"not_loaded"}},
    AddressFlow: {"error": {"not_there"}, "abort": {"not_loaded"}},
    ForgetFlow: {"abort": {"settled"}},
    AcceptFlow: {"abort": {"not_loaded"}},
    SunshineFlow: {"abort": {"not_loaded"}},
}
"""The ways in which the fix of an issue can fail."""


def test_each_issue_has_its_texts() -> None:
    assert EN["issues"].keys() == {each.value for each in (*Issue, *DeviceIssue)}
    for issue, texts in EN["issues"].items():
        if issue in FIXES:
            assert texts.keys() == {"title", "fix_flow"}
            flow = dict(texts["fix_flow"])
            described = flow.pop("step")["confirm"]
            endings = {name: set(ending) for name, ending in flow.items()}
            assert endings == FIX_ENDINGS[FIXES[issue]]
            assert placeholders(described["title"]) == {"device"}
        else:
            assert texts.keys() == {"title", "description"}
            described = texts
        assert placeholders(texts["title"]) == {"device"}
        of_issue = {"unknown"} if issue == Issue.LEASE_DAMAGED else set()
        assert placeholders(described["description"]) == {"device"} | of_issue


def test_each_action_is_explained() -> None:
    actions = load_yaml_dict(FOLDER / "services.yaml")
    assert EN["services"].keys() == ICONS["services"].keys() == actions.keys()
    for name, action in actions.items():
        texts = EN["services"][name]
        assert texts["name"] and texts["description"]
        fields = texts.get("fields", {})
        assert fields.keys() == action.get("fields", {}).keys()
        assert all(field["name"] and field["description"] for field in fields.values())


# Entities


def entities(platform: Platform) -> Texts:
    texts: Texts = EN["entity"][platform]
    return texts


SETPOINTS: Final = {
    POWER_SETPOINT,
    CURRENT_SETPOINT,
    *(f"{POWER_SETPOINT}_l{phase}" for phase in (1, 2, 3)),
}


KEYS: Final = (
    MEASUREMENTS.keys()
    | SETPOINTS
    | {
        BATTERY_CHARGING,
        CONTROL_MODE,
        CONTROL_STATUS,
        DEVICE_SETPOINT,
        FLASH_WRITES_TODAY,
        LAST_FRESH,
        SETPOINT_DURATION,
        SETPOINT_ENDS,
    }
)
"""The keys of all possible entities."""

FAMILIES: Final[dict[str, list[str]]] = {
    translation_key: list(keys)
    for translation_key, keys in groupby(
        sorted(KEYS, key=lambda key: (translation_of(key)[0], key)),
        lambda key: translation_of(key)[0],
    )
}
"""The keys by translation key; most keys have one of their own."""


@pytest.mark.parametrize(
    ("key", "translation_key", "numbers"),
    [
        ("pack7_soc", "pack_soc", {"pack": "7"}),
        ("battery1_soc", "battery_unit_soc", {"unit": "1"}),
        ("battery2_pack3_soc", "battery_unit_pack_soc", {"unit": "2", "pack": "3"}),
        ("pv24_voltage", "pv_string_voltage", {"string": "24"}),
        ("mppt10_energy_total", "mppt_energy_total", {"mppt": "10"}),
        ("grid_voltage_l2", "grid_voltage_phase", {"phase": "L2"}),
        ("power_setpoint_l3", "power_setpoint_phase", {"phase": "L3"}),
        (
            "line_voltage_l3_l1",
            "line_voltage_phases",
            {"phase": "L3", "other_phase": "L1"},
        ),
        ("tou_6_power", "tou_slot_power", {"slot": "6"}),
        ("grid_import_tariff_2", "grid_import_tariff", {"tariff": "2"}),
        ("ac_input_1_type", "ac_input_type", {"input": "1"}),
        ("energy_ac_in_2_to_ac_out", "energy_ac_input_to_ac_out", {"input": "2"}),
        ("relay_1", "relay", {"relay": "1"}),
    ],
)
def test_a_numbered_family_shares_a_translation(
    key: str, translation_key: str, numbers: dict[str, str]
) -> None:
    assert key in KEYS
    assert translation_of(key) == (translation_key, numbers)


@pytest.mark.parametrize(
    "key",
    [
        # Single keys beside a family.
        *("battery_soc", "pv_power", "grid_power", "power_setpoint", "mppt_scan"),
        # The number is part of the name: there is no battery 1.
        "battery_2_soc",
        # Words that only resemble those of a family.
        *("limit_pack_temperature", "absorption_phase", "tou_enabled", "phases"),
    ],
)
def test_key_outside_a_family_has_a_translation_of_its_own(key: str) -> None:
    assert FAMILIES[key] == [key]
    assert translation_of(key) == (key, {})


def test_those_of_a_family_differ_in_their_numbers_only() -> None:
    """No two families share a text, and no family has two texts."""
    for keys in FAMILIES.values():
        assert len({re.sub(r"\d+", "#", key) for key in keys}) == 1, keys
        numbers = {tuple(translation_of(key)[1].items()) for key in keys}
        assert len(numbers) == len(keys), keys
    numbered = {key for key in FAMILIES if re.search(r"\d", key)}
    assert {key[: len("battery_2_")] for key in numbered} == {"battery_2_"}


def test_names_have_the_numbers_of_their_family_as_placeholders() -> None:
    """Only names have them: Home Assistant fills in no other text of an entity."""
    for place, text in leaves(EN["entity"]):
        _, translation_key, what = place.split(".", 2)
        for key in FAMILIES[translation_key]:
            numbers = translation_of(key)[1] if what == "name" else {}
            assert placeholders(text) == numbers.keys(), place


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        (
            "en",
            {
                "pack3_soc": "Battery pack 3 state of charge",
                "pv2_power": "PV2 power",
                "load_voltage_l3": "Load voltage L3",
                "tou_6_charge": "Time of use 6 charge from",
            },
        ),
        (
            "nl",
            {
                "pack3_soc": "Batterijpack 3: laadniveau",
                "pv2_power": "PV2-vermogen",
                "load_voltage_l3": "Belastingsspanning L3",
                "tou_6_charge": "Laadbron tijdvak 6",
            },
        ),
        (
            "de",
            {
                "pack3_soc": "Batteriepack 3: Ladezustand",
                "pv2_power": "PV2-Leistung",
                "load_voltage_l3": "Lastspannung L3",
                "tou_6_charge": "Ladequelle Zeitfenster 6",
            },
        ),
        (
            "fr",
            {
                "pack3_soc": "Pack de batterie 3\N{NO-BREAK SPACE}: état de charge",
                "pv2_power": "Puissance PV2",
                "load_voltage_l3": "Tension consommateurs L3",
                "tou_6_charge": "Plage horaire 6\N{NO-BREAK SPACE}: charge depuis",
            },
        ),
    ],
)
async def test_each_of_a_family_is_named_by_its_number(
    hass: HomeAssistant,
    make_home: MakeHome,
    clock: ManualClock,
    language: str,
    expected: dict[str, str],
) -> None:
    hass.config.language = language
    house = DeyeModbusSimulator.house(clock=clock, phases=3)
    async with DeyeModbusSimulator(house, packs=3) as simulator:
        home = make_home(simulator)
        assert await home.set_up()
    registry = er.async_get(hass)
    shown = {key: registry.async_get(home.entity_id(key)) for key in expected}
    assert {
        key: entity and entity.original_name for key, entity in shown.items()
    } == expected


@pytest.mark.parametrize("key", sorted(SETPOINTS))
def test_setpoints_have_texts_for_their_attributes(key: str) -> None:
    translation_key, _ = translation_of(key)
    attributes = entities(Platform.NUMBER)[translation_key]["state_attributes"]
    own = {ATTR_KEY} if key in KEYS_FOR_TEMPLATES else set()
    assert attributes.keys() == {ATTR_CHARGES, ATTR_DISCHARGES, ATTR_AT_ZERO} | own
    assert attributes[ATTR_AT_ZERO]["state"].keys() == {HOLDS}


@pytest.mark.parametrize("key", sorted(KEYS_FOR_TEMPLATES - SETPOINTS))
def test_sensors_for_templates_have_a_text_for_their_key(key: str) -> None:
    assert entities(Platform.SENSOR)[key]["state_attributes"].keys() == {ATTR_KEY}


def test_each_measurement_has_a_name() -> None:
    """It has a name on at least one platform; other tests check which."""
    named = {key for names in EN["entity"].values() for key in names}
    assert named == FAMILIES.keys()
    binary = (Quantity.FLAG, Quantity.PROBLEMS)
    assert KINDS.keys() == set(Quantity) - set(binary)


def test_modes_of_control_have_names() -> None:
    modes = entities(Platform.SELECT)["control_mode"]["state"]
    assert modes.keys() == {mode.value for mode in ControlMode}
    status = entities(Platform.SENSOR)["control_status"]["state"]
    assert status.keys() == {status.value for status in ControlStatus}
    attributes = entities(Platform.SENSOR)[CONTROL_STATUS]["state_attributes"]
    assert attributes.keys() == {ATTR_REASON, ATTR_EXPIRES}
    reasons = attributes[ATTR_REASON]["state"]
    assert reasons.keys() == {reason.value for reason in LimitReason}


def names(of_platform: Texts) -> list[str]:
    """Return the names of all entities of a platform, families with each number."""
    return [
        entity["name"].format(**translation_of(key)[1])
        for translation_key, entity in of_platform.items()
        for key in FAMILIES[translation_key]
    ]


@pytest.mark.parametrize("platform", EN["entity"])
def test_names_of_a_platform_differ(platform: str) -> None:
    all_names = names(entities(Platform(platform)))
    assert len(all_names) == len(set(all_names))


FULLY_EQUIPPED: Final[list[tuple[Any, Texts, Texts]]] = [
    (VictronSimulator, {"phases": 3}, {}),
    (SessySimulator, {}, {}),
    (SessySimulator, {}, {"device": "p1"}),
    (SessySimulator, {}, {"device": "ct"}),
    (SmaSimulator, {"phases": 3}, {}),
    (HuaweiSimulator, {"phases": 3}, {"battery_units": 2, "packs": 3}),
    (
        DeyeModbusSimulator,
        {"phases": 3},
        {"packs": 20, "remote": True, "more_strings": True},
    ),
    (DeyeSolarmanSimulator, {"phases": 3}, {"packs": 20}),
]
"""Devices with options of their houses and their own, fully equipped for their kind."""

SUNNY_BOY_STORAGE: Final = 9356
"""SBS3.7-10, by its type."""

ONLY_SHOWN: Final[list[tuple[Any, Texts, Texts]]] = [
    (VictronSimulator, {"phases": 3}, {"ess": False}),
    (DeyeModbusSimulator, {"phases": 1}, {"variant": "single"}),
    # A Sunny Boy Storage takes no setpoint, and its settings are those of another.
    (SmaSimulator, {"phases": 3}, {"model": SUNNY_BOY_STORAGE}),
]
"""The same of devices that show settings which others let a user change."""

NOT_SIMULATED: Final[dict[Platform, dict[str, set[str]]]] = {
    Platform.NUMBER: {"peak_shaving_soc": set()},
    Platform.SELECT: {
        "peak_shaving_mode": set(PEAK_SHAVING.values()),
        # A SUN2000 with a battery of another make.
        "working_mode": set(MODES_OF_OTHERS.values()),
    },
    Platform.SENSOR: {
        # A SUN2000 without a battery: settings of a battery, kept by the inverter.
        "peak_shaving_soc": set(),
        "peak_shaving_mode": set(PEAK_SHAVING.values()),
        # A Multi RS is only read.
        "switch_position": set(SWITCH_POSITION.values()),
        # A SUN2000 for a business; those for a house have fewer.
        **{
            f"pv{string}_{quantity}": set()
            for string in range(1, MAX_STRINGS + 1)
            for quantity in ("voltage", "current")
        },
        **{f"mppt{mppt}_energy_total": set() for mppt in range(1, MAX_MPPTS + 1)},
    },
}
"""The keys of no simulated device, with their options."""


async def devices(clock: ManualClock) -> list[Simulator]:
    """Return devices that together have every key that can be simulated."""
    made: list[Simulator] = [
        device(device.house(clock=clock, **house), **options)
        for device, house, options in (*FULLY_EQUIPPED, *ONLY_SHOWN)
        if device.type in DRIVERS
    ]
    # Settings that a Sessy does not report during set-up are shown, not set.
    house = SessySimulator.house
    battery = SessySimulator(house(clock=clock))
    await battery.misbehave("unsaved_settings")
    await battery.misbehave("error", count=1000, path="strategy")
    meter = SessySimulator(house(clock=clock), device="p1")
    await meter.misbehave("error", count=1000, path="grid_target")
    return [*made, battery, meter]


async def modbus_meter_states() -> tuple[str, ...]:
    """Return the states of a Modbus meter, which has no simulator, only answers."""
    details = {"status": "ok", "state": "MODBUS_OK", "total_power": 0}
    answers = {"responses": {"GET /api/v1/modbus/details": details}}
    async with HttpImage(answers) as image:
        setup = {**image.setup, "username": "P0000001"}
        image.username = setup["username"]
        async with SessyInverter.from_setup(setup) as meter:
            return meter.options("meter_status")


async def serial_number(simulator: Simulator) -> str:
    driver = DRIVERS[simulator.type]
    async with driver.from_setup(simulator.setup) as battery:
        return battery.identity.serial_number


async def each_home(
    hass: HomeAssistant, make_home: MakeHome, clock: ManualClock
) -> AsyncIterator[Home]:
    """Yield each of the devices in turn, set up alone."""
    for simulator in await devices(clock):
        async with simulator:
            home = make_home(simulator)
            serial = await serial_number(simulator)
            hass.config_entries.async_update_entry(home.entry, unique_id=serial)
            assert await home.set_up(), serial
            yield home
            await hass.config_entries.async_remove(home.entry.entry_id)


def entries_of(home: Home) -> list[er.RegistryEntry]:
    return er.async_entries_for_config_entry(
        er.async_get(home.hass), home.entry.entry_id
    )


def key_of(home: Home, entity: er.RegistryEntry) -> str:
    return entity.unique_id.removeprefix(f"{home.entry.unique_id}_")


async def test_entities_of_all_devices_are_named_and_no_others(
    hass: HomeAssistant, make_home: MakeHome, clock: ManualClock
) -> None:
    """The same holds for the states of selects and sensors."""
    seen: dict[str, dict[str, set[str]]] = {platform: {} for platform in EN["entity"]}
    async for home in each_home(hass, make_home, clock):
        for entity in entries_of(home):
            options = (entity.capabilities or {}).get("options") or ()
            seen[entity.domain].setdefault(key_of(home, entity), set()).update(options)
    seen[Platform.SENSOR]["meter_status"].update(await modbus_meter_states())
    for platform, unseen in NOT_SIMULATED.items():
        for key, states in unseen.items():
            seen[platform].setdefault(key, set()).update(states)
    for domain, keys in seen.items():
        texts = entities(Platform(domain))
        assert texts.keys() == {translation_of(key)[0] for key in keys}, domain
        if domain in (Platform.SELECT, Platform.SENSOR):
            for key, states in keys.items():
                named = texts[translation_of(key)[0]].get("state", {})
                assert named.keys() == states, (domain, key)
    assert {key for keys in seen.values() for key in keys} == KEYS


BATTERY: Final = {"battery", "batterij", "batterie"}


def doubled_words(text: str) -> list[str]:
    """Return the words that are doubled, and 'battery' if it is repeated anywhere."""
    in_order = slugify(text).split("_")
    doubled = [word for word, following in pairwise(in_order) if word == following]
    return [*doubled, *(word for word in BATTERY if in_order.count(word) > 1)]


async def test_no_word_of_a_name_is_doubled(
    hass: HomeAssistant, make_home: MakeHome, clock: ManualClock
) -> None:
    """Entity ids and displayed names consist of the device's name and the entity's.

    This holds for enabled and disabled entities, in each language.
    """
    doubled = []
    async for home in each_home(hass, make_home, clock):
        device = device_name(home.data.battery.identity)
        for entity in entries_of(home):
            shown = [entity.entity_id.partition(".")[2]]
            translation_key, numbers = translation_of(key_of(home, entity))
            for texts in (EN, *LANGUAGES.values()):
                name = texts["entity"][entity.domain][translation_key]["name"]
                shown.append(f"{device} {name.format(**numbers)}")
            doubled += [text for text in shown if doubled_words(text)]
    assert doubled == []


def test_icons_are_of_entities_that_exist() -> None:
    for platform, icons in ICONS["entity"].items():
        assert icons.keys() <= EN["entity"][platform].keys()
        for key, icon in icons.items():
            states = EN["entity"][platform][key].get("state", {})
            assert icon.get("state", {}).keys() <= states.keys()


CLASSES: Final = {
    Platform.BINARY_SENSOR: {Quantity.PROBLEMS},
    Platform.NUMBER: {
        quantity for quantity, kind in NUMBERS.items() if kind.device_class
    },
    # The icon of an enum is a general one.
    Platform.SENSOR: {
        quantity
        for quantity, kind in KINDS.items()
        if kind.device_class not in (None, SensorDeviceClass.ENUM)
    },
}
"""The quantities with a device class that has an icon."""


@pytest.mark.parametrize("platform", EN["entity"])
def test_entity_without_a_device_class_has_an_icon(platform: str) -> None:
    classes = CLASSES.get(Platform(platform), set())
    without = entities(Platform(platform)).keys() - ICONS["entity"][platform].keys()
    for translation_key in without - {BATTERY_CHARGING}:
        for key in FAMILIES[translation_key]:
            assert MEASUREMENTS[key].quantity in classes, key


def test_icons_of_a_range_are_in_order() -> None:
    """The frontend takes the highest limit not above the state.

    Limits are keys, written as JavaScript writes numbers.
    """
    for icons in ICONS["entity"].values():
        for key, icon in icons.items():
            limits = list(icon.get("range", {}))
            assert limits == [f"{float(each):.7g}" for each in limits], key
            assert limits == sorted(limits, key=float), key


def test_no_text_stands_in_the_code() -> None:
    """Names come from translations; errors for users have a translation key."""
    assert "_attr_name" not in SOURCES
    assert not re.search(r"raise (HomeAssistant|ServiceValidation)Error\(f?\"", SOURCES)


# The other languages

LANGUAGES: Final[dict[str, Texts]] = {
    path.stem: json.loads(path.read_text("utf-8"))
    for path in sorted((FOLDER / "translations").glob("*.json"))
    if path.stem != "en"
}

# A text may be the English one only if it consists of these words (and numbers).
SAME_EVERYWHERE: Final[dict[str, str]] = {
    "Huawei SUN2000": "a maker and its product",
    "Sessy Connect": "a maker and its service",
    "Open API Eco Sustain": "modes and states, as their makers call them",
    "SMA Sunny Island": "a maker and its product",
    "Deye Victron VRM": "makers, and a service",
    "Modbus TCP RTU": "protocols",
    "AC-in AC-out": "as printed beside the terminals",
    "AC DC PV SOC SOH BMS CT ESS GX MPPT": "abbreviations of the trade",
    "IP OK": "abbreviations of everybody",
    "W kW Wh kWh V A Ah Hz var %": "units",
}
SAME_IN: Final[dict[str, dict[str, str]]] = {
    "nl": {
        "Alarm Generator Lithium Lithium-ion Model": "Dutch words as well",
        "AI Bulk Firmware Host Offline Peak shaving": "words of users",
    },
    "de": {
        "Absorption Alarm Generator Lithium Name Normal Port Problem": (
            "German words as well"
        ),
        "Bulk Firmware Host Offline Standby": "words of users",
    },
    "fr": {
        "Absorption Lithium Lithium-ion Local Normal Options Port": (
            "French words as well"
        ),
        "Bulk": "words of users",
    },
}
"""The same for the words of one language; each is needed."""


def leaves(texts: Texts, *path: str) -> Iterator[tuple[str, str]]:
    """Yield each text with its place."""
    for key, value in texts.items():
        if isinstance(value, dict):
            yield from leaves(value, *path, key)
        else:
            yield ".".join((*path, key)), value


ENGLISH: Final[dict[str, str]] = dict(leaves(EN))


def words(text: str) -> set[str]:
    """Return the words to be translated, without placeholders, numbers and marks."""
    unstripped = re.sub(r"{\w+}", " ", text).split()
    stripped = {word.strip("(),.:;!?") for word in unstripped}
    return {word for word in stripped if word and not re.fullmatch(r"[\d.]+", word)}


def allowed(reasons: dict[str, str]) -> set[str]:
    """Return the words that have a reason to be the same."""
    return {word for group in reasons for word in group.split()}


def test_there_are_other_languages() -> None:
    assert LANGUAGES.keys() >= {"de", "fr", "nl"}
    assert LANGUAGES.keys() == SAME_IN.keys()


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_text_is_in_each_language(language: str) -> None:
    texts = dict(leaves(LANGUAGES[language]))
    assert texts.keys() == ENGLISH.keys()
    assert all(isinstance(text, str) and text for text in texts.values())


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_translation_has_the_placeholders(language: str) -> None:
    for key, text in leaves(LANGUAGES[language]):
        assert placeholders(text) == placeholders(ENGLISH[key]), key


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_text_is_translated(language: str) -> None:
    """Words that may be the same as in English are each needed."""
    of_language = allowed(SAME_IN[language])
    needed: set[str] = set()
    for key, text in leaves(LANGUAGES[language]):
        if text == ENGLISH[key]:
            special = words(text) - allowed(SAME_EVERYWHERE)
            assert special <= of_language, (key, text)
            needed |= special
    assert needed == of_language


@pytest.mark.parametrize("language", ["en", *LANGUAGES])
def test_each_text_is_plain(language: str) -> None:
    """Home Assistant permits no markup and no addresses of pages.

    An apostrophe before a brace would make a placeholder plain text.
    """
    for key, text in leaves({"en": EN, **LANGUAGES}[language]):
        assert text == text.strip(), key
        assert not re.search(r"</?\w|://|\[.*\]\(|'\{|\}'", text), key


def test_french_marks_stand_apart() -> None:
    """A no-break space separates them."""
    for key, text in leaves(LANGUAGES["fr"]):
        assert not re.search("[^\N{NO-BREAK SPACE}][:;?!]", text), key


@pytest.mark.parametrize("language", LANGUAGES)
def test_names_and_states_that_differ_in_english_differ(language: str) -> None:
    """The names within a platform differ, and the states of an entity."""
    for platform, of_platform in LANGUAGES[language]["entity"].items():
        all_names = names(of_platform)
        assert len(all_names) == len(set(all_names)), platform
        for key, entity in of_platform.items():
            english = entities(platform)[key].get("state", {})
            states = entity.get("state", {})
            assert len(set(states.values())) == len(set(english.values())), key


# Texts that could be misread


@pytest.mark.parametrize("language", ["en", *LANGUAGES])
def test_a_victron_that_is_automatic_is_controlled_by_ess(language: str) -> None:
    """Victron calls its own ESS 'External control', at rest as well."""
    texts = {"en": EN, **LANGUAGES}[language]["entity"]
    status = texts[Platform.SENSOR]["device_status"]["state"]["external_control"]
    mode = texts[Platform.SELECT]["working_mode"]["state"]["external_control"]
    assert "ESS" in status
    assert status != mode


MISREAD: Final[dict[str, str]] = {
    "nl": r"laadstatus|instelpunt|\bze (aanstaat|vol)|niet geladen|instandhouding|\bverzend\b",
    "de": "aufrechterh",
    "fr": "maintien (actif|de la batterie)",
}
"""Words, as patterns, that users of a battery misread.

'Laadstatus' means whether it charges, 'niet geladen' that it is empty, 'instandhouding'
its repair, 'maintien' its float charge.
"""


@pytest.mark.parametrize("language", MISREAD)
def test_no_text_is_misread(language: str) -> None:
    for key, text in leaves(LANGUAGES[language]):
        assert not re.search(MISREAD[language], text, re.IGNORECASE), key


MAKERS_NAMES: Final[dict[str, str]] = {
    "select.working_mode.state.api": "Open API",
    "select.working_mode.state.nom": "NOM",
    "select.working_mode.state.roi": "ROI",
    "select.working_mode.state.eco": "Eco",
    "select.working_mode.state.sessy_connect": "Sessy Connect",
    "select.working_mode.state.selling_first": "Selling first",
    "select.working_mode.state.zero_export_to_load": "Zero export to load",
    "select.working_mode.state.zero_export_to_ct": "Zero export to CT",
    "binary_sensor.dynamic_ess_active.name": "Dynamic ESS",
    "sensor.dynamic_ess_strategy.name": "Dynamic ESS",
    "sensor.device_status.state.sustain": "Sustain",
    "binary_sensor.sustain_active.name": "Sustain",
}
"""Names on the devices' own displays and in their apps, the same in each language."""


@pytest.mark.parametrize("language", ["en", *LANGUAGES])
def test_names_of_the_makers_are_kept(language: str) -> None:
    texts = dict(leaves({"en": EN, **LANGUAGES}[language]["entity"]))
    for key, name in MAKERS_NAMES.items():
        assert name in texts[key], key
