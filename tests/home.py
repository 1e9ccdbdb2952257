"""A simulated battery in Home Assistant, for the tests of control and integration."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant, State
from homeassistant.helpers import entity_registry as er
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.homebattery.const import DOMAIN, WORKING_MODE
from custom_components.homebattery.data import HomeBatteryData
from custom_components.homebattery.drivers import DRIVERS
from custom_components.homebattery.drivers.battery.base import SetupField
from tests.in_process import SERIAL, InProcessDevice
from tests.simulators import (
    SIMULATORS,
    DeyeModbusSimulator,
    DeyeSolarmanSimulator,
    HuaweiSimulator,
    ManualClock,
    Plant,
    SessySimulator,
    Simulator,
    VictronSimulator,
)
from tests.simulators.modbus import ILLEGAL_ADDRESS, Refused


@dataclass(frozen=True, kw_only=True)
class Kind:
    """The properties in which the kinds of simulated devices differ.

    `number` is a setting and a value that a user may choose, `shown_as` its name in the
    simulator's state; `select` is a setting with options.
    """

    serial: str
    title: str
    number: tuple[str, int] = ("min_soc", 25)
    shown_as: str = "min_soc"
    select: str = "working_mode"
    requests: int
    """Largest number of requests to read the live values of the simulated device."""
    missing: tuple[int, int] | None = None
    """A register that old firmware lacks (unit id, address); None without Modbus."""


_DEYE: Final = Kind(
    serial="2207112233",
    title="Deye",
    shown_as="low_soc",
    requests=2,
    missing=(1, 586),
)
KINDS: Final = {
    "victron": Kind(
        serial="c0619a000001", title="MultiPlus-II", requests=5, missing=(225, 262)
    ),
    "sessy": Kind(serial="AABC1234", title="Sessy", requests=2),
    "sma": Kind(
        serial="3012345678",
        title="SI8.0H-13",
        number=("charge_power_limit", 3000),
        shown_as="bms_max_charge",
        select="operation",
        requests=6,
        missing=(3, 30849),
    ),
    "sun2000": Kind(
        serial="HV2250123456",
        title="SUN2000-6KTL-M1",
        number=("min_soc", 12),
        requests=3,
        missing=(1, 37022),
    ),
    "deye_modbus": _DEYE,
    "deye_solarman": replace(_DEYE, serial="2305112244"),
    "simulated": Kind(serial=SERIAL, title="Simulated battery", requests=0),
}
DEVICES: Final[Mapping[str, type[Simulator]]] = {
    **SIMULATORS,
    InProcessDevice.type: InProcessDevice,
}
"""The device of each driver: those on a socket, and the simulated battery."""
ON_A_SOCKET: Final = tuple(
    battery_type for battery_type in DRIVERS if battery_type in SIMULATORS
)
"""The drivers whose device is on a socket, in the order of the registry."""
_OTHER_SERIALS: Final[dict[str, Any]] = {
    "victron": "c0619a000002",
    "sun2000": "HV2250999999",
    "deye_modbus": "2207119999",
    "deye_solarman": "2305119999",
    "sessy": "XYZ9999",
    "sma": 3012349999,
    "simulated": "SIM-9999",
}
"""The serial numbers of other devices, as the simulators take them."""
OTHER_LOGGER: Final = 2799999999
WITH_WORKING_MODE: Final = [
    battery_type
    for battery_type in DRIVERS
    if KINDS[battery_type].select == WORKING_MODE
]


def plain_with(
    *plain: str, of: Iterable[str] = ON_A_SOCKET, fixture: str = "simulator"
) -> pytest.MarkDecorator:
    """Return a mark that gives a test each of these devices in turn.

    With those that are not `plain` it is marked `long`: they show the same.
    """
    return pytest.mark.parametrize(
        fixture,
        [
            pytest.param(name, marks=[] if name in plain else pytest.mark.long)
            for name in of
        ],
        indirect=True,
    )


each_on_a_socket: Final = pytest.mark.parametrize(
    "simulator", ON_A_SOCKET, indirect=True
)
"""A mark for tests of what a simulated battery lacks: a host, requests, flash."""
one_of_each_protocol: Final = plain_with("victron", "sessy")
"""A mark for tests above the drivers: one device by Modbus and one by REST are enough."""

CONTROL_KEYS: Final = (
    "battery_power",
    "battery_soc",
    "battery_voltage",
    "power_setpoint",
)
"""The measurements that tests of control use."""

LOAD: Final = 600.0
"""Power that the simulated house consumes, W; it has no sun."""

_PLATFORMS: Final = ("binary_sensor", "number", "select", "sensor", "switch")


@dataclass
class Home:
    """One battery in Home Assistant, and the device behind it."""

    hass: HomeAssistant
    simulator: Simulator
    entry: MockConfigEntry

    def entry_is(self, state: ConfigEntryState) -> bool:
        return bool(self.entry.state is state)

    @property
    def data(self) -> HomeBatteryData:
        data: HomeBatteryData = self.entry.runtime_data
        return data

    async def set_up(self) -> bool:
        """Set the entry up, and wait until its entities are there."""
        done = await self.hass.config_entries.async_setup(self.entry.entry_id)
        await self.hass.async_block_till_done(wait_background_tasks=True)
        return done

    def find(self, key: str) -> str | None:
        """Return the entity id of a key, on any platform; None if there is none."""
        registry = er.async_get(self.hass)
        unique_id = f"{self.entry.unique_id}_{key}"
        for platform in _PLATFORMS:
            if entity_id := registry.async_get_entity_id(platform, DOMAIN, unique_id):
                return entity_id
        return None

    def entity_id(self, key: str) -> str:
        entity_id = self.find(key)
        assert entity_id is not None, key
        return entity_id

    def state_of(self, key: str) -> State:
        state = self.hass.states.get(self.entity_id(key))
        assert state is not None, key
        return state

    def state(self, key: str) -> str:
        return self.state_of(key).state

    async def call(self, service: str, key: str, **data: Any) -> None:
        """Call a service on the entity of a key."""
        domain, name = service.split(".")
        await self.hass.services.async_call(
            domain, name, {"entity_id": self.entity_id(key), **data}, blocking=True
        )
        await self.hass.async_block_till_done()

    async def enable(self, *keys: str) -> None:
        """Enable entities that are disabled at first."""
        registry = er.async_get(self.hass)
        for key in keys:
            registry.async_update_entity(self.entity_id(key), disabled_by=None)
        await self.hass.config_entries.async_reload(self.entry.entry_id)
        await self.hass.async_block_till_done(wait_background_tasks=True)

    async def set_power(self, power: float) -> None:
        await self.call("number.set_value", "power_setpoint", value=power)

    async def choose(self, mode: str) -> None:
        await self.call("select.select_option", "control_mode", option=mode)


def house_of(device: type[Simulator], clock: ManualClock) -> Plant:
    """Return a house for a device, with its load and without sun."""
    house = device.house(clock=clock)
    house.fixed_pv, house.fixed_load = 0.0, LOAD
    return house


def another(
    device: Simulator, clock: ManualClock, *, same_logger: bool = False
) -> Simulator:
    """Return a device of the same kind with another serial number.

    Where a data logger is in front of it, that is another one, too, unless the device
    is behind the `same_logger`.
    """
    kind: Any = type(device)
    options: dict[str, Any] = {"serial": _OTHER_SERIALS[device.type]}
    if isinstance(device, DeyeSolarmanSimulator) and not same_logger:
        options["logger_serial"] = OTHER_LOGGER
    other: Simulator = kind(house_of(kind, clock), **options)
    if isinstance(device, SessySimulator) and isinstance(other, SessySimulator):
        # With another log-in it would refuse whatever is asked.
        other.server.username = device.server.username
    return other


def refuse_word(
    simulator: Any, refused: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refuse reads of a word, by its unit and address."""
    units = simulator.server.units
    read = units.read

    def answer(unit: int, address: int, count: int) -> Sequence[int]:
        if unit == refused[0] and address <= refused[1] < address + count:
            raise Refused(ILLEGAL_ADDRESS)
        answered: Sequence[int] = read(unit, address, count)
        return answered

    monkeypatch.setattr(units, "read", answer)


def another_value(field: SetupField) -> Any:
    """Return a value of a driver's option that is not its default."""
    if field.choices:
        return next(each for each in field.choices if each != field.default)
    return not field.default


OTHERS: Final[dict[str, tuple[Any, dict[str, Any]]]] = {
    "sessy_p1_meter": (SessySimulator, {"device": "p1"}),
    "sessy_ct_meter": (SessySimulator, {"device": "ct"}),
    "victron_without_ess": (VictronSimulator, {"ess": False}),
    "huawei_with_two_battery_units": (HuaweiSimulator, {"battery_units": 2}),
    "deye_with_two_packs": (DeyeModbusSimulator, {"packs": 2}),
}
"""Devices that have more, or less, than the usual device of their kind."""


type MakeHome = Callable[..., Home]


type Warp = Callable[[float], Awaitable[None]]
