"""The base classes of all entities."""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from itertools import batched
import re
from typing import Any, ClassVar, Concatenate, Final, override

from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import EntityCategory
from homeassistant.core import callback
from homeassistant.helpers.entity import Entity, EntityDescription
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from homeassistant.helpers.update_coordinator import CoordinatorEntity
from homeassistant.util.hass_dict import HassKey

from .const import BATTERY_POWER, BATTERY_SOC, DOMAIN, POWER_SETPOINT, ControlMode
from .coordinator import BatteryCoordinator
from .data import HomeBatteryConfigEntry
from .device import device_info
from .drivers.measurements import MEASUREMENTS, Value
from .drivers.modbus.priority_lock import high_priority
from .errors import translating

ATTR_KEY: Final = "key"
_PORTION: Final = 10
"""Number of entities that are added in one turn of the event loop."""
_IN_USE: Final = (ConfigEntryState.SETUP_IN_PROGRESS, ConfigEntryState.LOADED)
"""The states of an entry to which entities may be added."""
_TURN: Final = HassKey[asyncio.Lock](f"{DOMAIN}_adding_entities")
"""Held by the one battery that adds a portion of its entities."""
KEYS_FOR_TEMPLATES: Final = frozenset({BATTERY_POWER, BATTERY_SOC, POWER_SETPOINT})
"""The keys of the entities that have theirs as an attribute.

By it, a template finds them among those of a device: it sees no more of an entity than
its state. Ids, names and units are the user's, and many share a device class.
"""


def _in_key(numbered: str) -> re.Pattern[str]:
    """Return the pattern of whole words of a key."""
    return re.compile(rf"(?<![a-z0-9]){numbered}(?![a-z0-9])")


_FAMILIES: Final[Mapping[re.Pattern[str], str]] = {
    _in_key(r"battery(?P<unit>\d+)"): "battery_unit",
    _in_key(r"pack(?P<pack>\d+)"): "pack",
    _in_key(r"pv(?P<string>\d+)"): "pv_string",
    _in_key(r"mppt(?P<mppt>\d+)"): "mppt",
    _in_key(r"(?P<phase>l\d)_(?P<other_phase>l\d)"): "phases",
    _in_key(r"(?P<phase>l\d)"): "phase",
    _in_key(r"tou_(?P<slot>\d+)"): "tou_slot",
    _in_key(r"tariff_(?P<tariff>\d+)"): "tariff",
    _in_key(r"ac_in(?:put)?_(?P<input>\d+)"): "ac_input",
    _in_key(r"relay_(?P<relay>\d+)"): "relay",
}
"""The numbered words of a key, and the words for them in the translation key.

A group is a placeholder of the text. `battery_2` is no family: it is the battery at the
second connector of a Deye, and that at the first has no number.
"""


def translation_of(key: str) -> tuple[str, dict[str, str]]:
    """Return the translation key of an entity's key, and its placeholders.

    A numbered family shares one: of `pack7_soc` it is `pack_soc`, with the pack "7".
    """
    placeholders: dict[str, str] = {}
    for numbered, name in _FAMILIES.items():
        if match := numbered.search(key):
            placeholders |= {
                placeholder: number.upper()
                for placeholder, number in match.groupdict().items()
            }
            key = f"{key[: match.start()]}{name}{key[match.end() :]}"
    return key, placeholders


@dataclass(frozen=True, kw_only=True)
class HomeBatteryEntityDescription(EntityDescription):
    """Describe an entity of a battery.

    `key` ends its unique id, and its texts are named by it; see `translation_of`.
    """

    reads: tuple[str, ...] = ()
    """The measurements that it needs, its own first: polled while it is enabled."""


def measured[DescriptionT: HomeBatteryEntityDescription](
    description: DescriptionT,
) -> DescriptionT:
    """Return the description of the entity that shows the measurement of its key."""
    measurement = MEASUREMENTS[description.key]
    return replace(
        description,
        reads=(description.key,),
        entity_category=EntityCategory.DIAGNOSTIC if measurement.diagnostic else None,
        entity_registry_enabled_default=measurement.enabled,
    )


class HomeBatteryEntity(CoordinatorEntity[BatteryCoordinator]):
    """Show readings of a battery, usually one.

    It is unavailable when one of those it needs cannot be read, and unknown when the
    device does not know its value.
    """

    _attr_has_entity_name = True
    _unrecorded_attributes = frozenset({ATTR_KEY})
    _shows_readings_only: ClassVar = True
    """Whether its state follows from its readings, so that it stays while they do."""

    def __init__(
        self, entry: HomeBatteryConfigEntry, description: HomeBatteryEntityDescription
    ) -> None:
        """Take the description, and the objects that an entry's entities share."""
        self._keys = description.reads
        super().__init__(entry.runtime_data.coordinator, self._keys)
        self.entity_description = description
        self._battery = entry.runtime_data.battery
        self._control = entry.runtime_data.control
        self._key = self._keys[0] if self._keys else description.key
        self._written: object = None
        self._attr_translation_key, self._attr_translation_placeholders = (
            translation_of(description.key)
        )
        self._attr_unique_id = (
            f"{self._battery.identity.serial_number}_{description.key}"
        )
        self._attr_device_info = device_info(entry)
        if description.key in KEYS_FOR_TEMPLATES:
            self._attr_extra_state_attributes = {ATTR_KEY: description.key}

    @property
    def _value(self) -> Value:
        """The reading of the entity's own measurement."""
        return self.coordinator.data.values_by_key.get(self._key)

    @property
    @override
    def available(self) -> bool:
        failures = self.coordinator.data.failures
        return super().available and failures.keys().isdisjoint(self._keys)

    @property
    def _shown(self) -> object:
        """The values that make the state: while they are equal, the state is, too."""
        return self._value

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        """Write the state if there is anything new in it."""
        if self._shows_readings_only and not self.coordinator.has_changed(self._keys):
            return
        now = (self.available, self._shown)
        if now != self._written:
            self._written = now
            super()._handle_coordinator_update()


async def async_add(
    entry: HomeBatteryConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
    entities_of: Callable[[Collection[str]], Sequence[Entity]],
    others: Sequence[Entity] = (),
) -> None:
    """Add the entities of one platform: those of measurements, and `others`.

    At once those of what has been read, as soon as everything was read the rest.
    `entities_of` returns the entities of measurements by their keys.
    """
    coordinator = entry.runtime_data.coordinator
    hass, known = coordinator.hass, coordinator.known

    @callback
    def add_rest() -> None:
        if not coordinator.has_read_all or entry.state not in _IN_USE:
            return
        stop_listening()
        rest = entities_of(coordinator.known - known)
        entry.async_create_background_task(
            hass,
            _async_add_in_portions(entry, async_add_entities, rest),
            f"{entry.title} further entities",
        )

    stop_listening = coordinator.async_add_listener(add_rest)
    now = [*others, *entities_of(known)]
    await _async_add_in_portions(entry, async_add_entities, now)


async def _async_add_in_portions(
    entry: HomeBatteryConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
    entities: Sequence[Entity],
) -> None:
    """Add entities, a few in each turn of the event loop.

    Each takes Home Assistant half a millisecond, and a battery has a hundred. Batteries
    that start together take turns. No more once the entry is being unloaded.
    """
    turn = entry.runtime_data.coordinator.hass.data.setdefault(_TURN, asyncio.Lock())
    for portion in batched(entities, _PORTION, strict=False):
        async with turn:
            if entry.state not in _IN_USE:
                return
            async_add_entities(portion)
            await asyncio.sleep(0)


def battery_action[EntityT: HomeBatteryEntity, **P](
    action: Callable[Concatenate[EntityT, P], Coroutine[Any, Any, None]],
) -> Callable[Concatenate[EntityT, P], Coroutine[Any, Any, None]]:
    """Decorate an entity's action: errors of the device are translated."""

    @wraps(action)
    async def translate(self: EntityT, /, *args: P.args, **kwargs: P.kwargs) -> None:
        with translating(self.hass, self.coordinator.config_entry):
            await action(self, *args, **kwargs)

    return translate


class SettingEntity(HomeBatteryEntity):
    """Change a setting that stays on the device."""

    # Also where the measurement is diagnostic: here it can be changed.
    _attr_entity_category = EntityCategory.CONFIG

    @battery_action
    async def _async_set(self, value: Value) -> None:
        """Change the setting, and read all settings back."""
        try:
            # High priority, as setpoints have: a setpoint that waits for a lock which
            # this write holds must not keep it from the device.
            with high_priority():
                await self._battery.set_value(self._key, value)
        finally:
            await self._control.async_save()
        # One setting may change another.
        await self.coordinator.async_read_now(
            self.coordinator.subscribed.intersection(self._battery.settings)
        )


class ControlEntity(HomeBatteryEntity):
    """Show or change the control of a battery: its mode, or its setpoint."""

    _shows_readings_only = False

    @property
    @override
    def available(self) -> bool:
        # While a battery is held, or could not be released, the user must see that
        # even if the device does not answer just now.
        return super().available or self._control.mode is ControlMode.MANUAL

    @property
    @override
    def _shown(self) -> object:
        control = self._control
        return (
            control.mode,
            control.requested_power,
            control.requested_current,
            control.granted_power,
            control.status,
            control.reason,
            control.expires,
        )
