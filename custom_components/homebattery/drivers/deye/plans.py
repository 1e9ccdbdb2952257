"""The settings that hold a Deye three-phase hybrid at a power, and their order.

There is no register for a signed battery power (but see remote mode, below). What
there is: the time-of-use programme (TOU) with a target SOC, a power and flags in each
of six slots, the charge and discharge currents, grid charge, and the working mode. An
action is a picture of all of these ('image', address to word), made from the user's
settings ('snapshot'), and an order in which its blocks are written.

The order matters, because the connection may die between any two writes and nothing
on the inverter would notice. With selling first and time of use on, the slot power is
all that stands between the battery and full export: so the working mode leaves
selling first before the slot power rises, and enters it last, when power, SOC and
flags are in place. Charge flags go before current limits widen; limits are narrowed
before anything is enabled. Whatever is written, each state on the way is at most the
old setpoint, the new one, plain following of the load, or the user's own settings.

Uncertain, and arranged so that it does not matter: whether the charge current also
caps what comes from the grid (both are set), whether the inverter charges from the
grid while selling first (it never has to), whether slot power counts for more than
selling (without selling the discharge current limits as well).

Another order is needed for settings that sell first and have slots that would charge
from the grid at an SOC that is not far off. If the inverter does not heed them while it
sells, grid charge is latent, and leaving selling first would start it with the user's
full current: so grid charge is narrowed before selling ends, and restored after it has
begun.

All this is pure: words in, words out. Addresses are those of three-phase inverters;
of single-phase ones the conditions for it are not known well enough.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from ..modbus.register import WORD

type Image = Mapping[int, int]
"""Words by address."""

SETTINGS: Final = range(98, 192)
"""All registers below, and those they depend on, in one read."""
SETTINGS_AND_BMS: Final = range(98, 223)
"""Those, and the registers of the BMS behind them, in the longest read that there is."""
BMS: Final = range(212, 223)
"""The part of the BMS that a setpoint depends on. Other clients read the words in between,
too."""
MODE: Final = range(142, 143)
TOU: Final = range(146, 147)
CURRENTS: Final = range(108, 110)
GRID: Final = range(128, 131)
"""Grid charge current, generator charge, grid charge."""
POWERS: Final = range(154, 160)
TARGETS: Final = range(166, 178)
"""Target SOC and flags of the slots, which lie side by side."""
SOCS: Final = range(166, 172)
FLAGS: Final = range(172, 178)

BLOCKS: Final = (CURRENTS, GRID, MODE, TOU, POWERS, TARGETS)
SNAPSHOT: Final = tuple(sorted(address for block in BLOCKS for address in block))
"""The registers that an action may change."""

CHEMISTRY: Final = 98
LITHIUM: Final = 1
CONTROL_MODE: Final = 111
BY_VOLTAGE: Final = 0
BY_SOC: Final = 1
LOW_SOC: Final = 117
"""The minimum SOC, %."""
START_SOC: Final = 127
"""Below it the battery is charged from the grid while time of use is off."""
LATENT_DISTANCE: Final = 40
"""% of SOC, which a battery takes hours to lose [chosen here]."""
FULL_SOC: Final = 100
"""% at which charging ends. The stop SOC of some firmware (267) is in no public list of
registers, and bounds nothing here: the inverter heeds it by itself, if at all."""
MAX_SELL_POWER: Final = 143
SWITCHES: Final = 178
PEAK_SHAVING_BITS: Final = 0x30
PEAK_SHAVING_POWER: Final = 191

_CHARGE_CURRENT, _DISCHARGE_CURRENT = CURRENTS
_GRID_CURRENT, _, _GRID_CHARGE = GRID
_WORKING_MODE: Final = MODE.start
_TOU: Final = TOU.start

SELLING_FIRST: Final = 0
ZERO_EXPORT_TO_CT: Final = 2
EVERY_DAY: Final = 0x00FF
"""Time of use on, Monday to Sunday."""
GRID_FLAG: Final = 0x01
SELL_FLAG: Final = 0x20
"""A slot may sell; on newer firmware of three-phase inverters only."""


DECIDING: Final = (
    *(CHEMISTRY, CONTROL_MODE, LOW_SOC, START_SOC),
    *(MAX_SELL_POWER, SWITCHES, PEAK_SHAVING_POWER),
)
"""The registers that decide besides about an action."""


def goes_another_way(settings: Image) -> bool:
    """Return True when the battery is not controlled by capacity, as plans need it.

    False before that is known, and for an inverter that is set to no battery.
    """
    by = settings.get(CONTROL_MODE)
    another_kind = settings.get(CHEMISTRY, LITHIUM) != LITHIUM
    return by == BY_VOLTAGE or (by == BY_SOC and another_kind)


@dataclass(frozen=True, slots=True)
class Plan:
    """The settings to write, and the order of their blocks."""

    target: Image
    order: tuple[range, ...]

    def writes(self, known: Image) -> Iterator[tuple[int, list[int]]]:
        """Yield (address, words) of the blocks that differ from `known`."""
        for block in self.order:
            words = [self.target[address] for address in block]
            if words != [known[address] for address in block]:
                yield block.start, words


def is_grid_charge_latent(snapshot: Image, settings: Image, soc: float | None) -> bool:
    """Return True when the user's settings may charge once selling first ends.

    `soc` in %, None where it is not known. Nothing charges above all SOCs up to which
    the grid charges; a distance keeps that true while the connection is lost.
    """
    if not sells(snapshot) or not snapshot[_GRID_CHARGE]:
        return False
    if soc is None or settings[CONTROL_MODE] != BY_SOC:
        return True
    slots = zip(SOCS, FLAGS, strict=True)
    flagged = [snapshot[each] for each, flags in slots if snapshot[flags] & GRID_FLAG]
    return soc <= max([settings[START_SOC], *flagged]) + LATENT_DISTANCE


def charge(
    snapshot: Image,
    *,
    amps: int,
    words: int,
    grid_charge_latent: bool = False,
) -> Plan:
    """Return the plan to charge with `amps`, as far as the battery takes it.

    `words` is the power as slots count it; `grid_charge_latent`, here and below, the
    result of `is_grid_charge_latent`.
    """
    return Plan(
        {
            **snapshot,
            _CHARGE_CURRENT: amps,
            _GRID_CURRENT: amps,
            _GRID_CHARGE: 1,
            **dict.fromkeys(SOCS, FULL_SOC),
            **{flags: (snapshot[flags] | GRID_FLAG) & ~SELL_FLAG for flags in FLAGS},
            **{power: max(snapshot[power], words) for power in POWERS},
            _WORKING_MODE: _not_selling(snapshot),
            _TOU: EVERY_DAY,
        },
        (CURRENTS, GRID, MODE, TARGETS, POWERS, TOU)
        if grid_charge_latent
        else (MODE, CURRENTS, GRID, TARGETS, POWERS, TOU),
    )


def sell(
    snapshot: Image, *, words: int, min_soc: int, flag: bool, amps: int | None = None
) -> Plan:
    """Return the plan to discharge with `words`, into the grid too, to `min_soc` %.

    `flag`: the firmware wants the slot's own permission to sell. `amps` limits the
    discharge current besides.
    """
    return Plan(
        {
            **snapshot,
            _DISCHARGE_CURRENT: _at_most(amps, snapshot[_DISCHARGE_CURRENT]),
            _WORKING_MODE: SELLING_FIRST,
            **dict.fromkeys(POWERS, words),
            **dict.fromkeys(SOCS, min_soc),
            **{
                flags: snapshot[flags] & ~GRID_FLAG | (SELL_FLAG if flag else 0)
                for flags in FLAGS
            },
            _TOU: EVERY_DAY,
        },
        (POWERS, TARGETS, GRID, CURRENTS, TOU, MODE),
    )


def follow_load(
    snapshot: Image,
    *,
    words: int,
    amps: int,
    min_soc: int,
    grid_charge_latent: bool = False,
) -> Plan:
    """Return the plan to discharge into the house, with at most `words` and `amps`."""
    return Plan(
        {
            **snapshot,
            _DISCHARGE_CURRENT: _at_most(amps, snapshot[_DISCHARGE_CURRENT]),
            _GRID_CHARGE: 0 if grid_charge_latent else snapshot[_GRID_CHARGE],
            _WORKING_MODE: _not_selling(snapshot),
            **dict.fromkeys(POWERS, words),
            **dict.fromkeys(SOCS, min_soc),
            **{flags: snapshot[flags] & ~(GRID_FLAG | SELL_FLAG) for flags in FLAGS},
            _TOU: EVERY_DAY,
        },
        (GRID, MODE, POWERS, TARGETS, CURRENTS, TOU)
        if grid_charge_latent
        else (MODE, POWERS, TARGETS, GRID, CURRENTS, TOU),
    )


def hold(snapshot: Image) -> Plan:
    """Return the plan to hold: no current either way, no grid charge."""
    return Plan(
        {**snapshot, **dict.fromkeys(CURRENTS, 0), _GRID_CHARGE: 0},
        (CURRENTS, GRID, TOU, TARGETS, POWERS, MODE)
        if sells(snapshot)
        else (CURRENTS, GRID, MODE, TOU, TARGETS, POWERS),
    )


def hold_by_soc(snapshot: Image, *, grid_charge_latent: bool = False) -> Plan:
    """Return the plan to hold where 0 A is refused: the slots want a full battery.

    On grid the battery does not discharge below its slot's SOC; without the grid it
    still gives its full power.
    """
    return Plan(
        {
            **snapshot,
            _CHARGE_CURRENT: 0,
            _GRID_CHARGE: 0,
            **dict.fromkeys(SOCS, FULL_SOC),
            **{flags: snapshot[flags] & ~(GRID_FLAG | SELL_FLAG) for flags in FLAGS},
            _WORKING_MODE: _not_selling(snapshot),
            _TOU: EVERY_DAY,
        },
        (CURRENTS, GRID, MODE, TARGETS, TOU, POWERS)
        if grid_charge_latent
        else (MODE, TARGETS, GRID, CURRENTS, TOU, POWERS),
    )


def automatic(snapshot: Image, *, grid_charge_latent: bool = False) -> Plan:
    """Return the plan to restore; where latent, `stop_grid_charge` comes before it."""
    if grid_charge_latent:
        return Plan(snapshot, (TOU, TARGETS, POWERS, MODE, CURRENTS, GRID))
    if sells(snapshot):
        return Plan(snapshot, (TOU, TARGETS, POWERS, GRID, CURRENTS, MODE))
    return Plan(snapshot, (MODE, TOU, TARGETS, POWERS, GRID, CURRENTS))


def stop_grid_charge(snapshot: Image) -> Plan:
    """Return the plan to stop grid charge, before the user's slots are restored."""
    return Plan({**{each: snapshot[each] for each in GRID}, _GRID_CHARGE: 0}, (GRID,))


def restrict(snapshot: Image) -> Plan:
    """Return the plan to narrow only, the first one after a failed write."""
    return Plan(hold(snapshot).target, (CURRENTS, GRID))


def _not_selling(snapshot: Image) -> int:
    """Return the user's working mode; zero export where that is selling first."""
    return ZERO_EXPORT_TO_CT if sells(snapshot) else snapshot[_WORKING_MODE]


def sells(snapshot: Image) -> bool:
    """Return True for a snapshot that sells first."""
    return snapshot[_WORKING_MODE] == SELLING_FIRST


def replaces_import(settings: Image) -> bool:
    """Return True where a discharge serves the whole house, as a CT measures it.

    In the other mode without export, it serves what is behind the inverter.
    """
    return settings[_WORKING_MODE] == ZERO_EXPORT_TO_CT


def _at_most(amps: int | None, limit: int) -> int:
    return limit if amps is None else min(amps, limit)


# Remote mode -----------------------------------------------------------------
# Newer firmware takes a signed battery power directly, forgets it by a watchdog, and
# keeps none of this in flash. The sign is uncertain.

REMOTE: Final = range(1100, 1122)
REMOTE_MODE: Final = 1100
REMOTE_WATCHDOG: Final = 1101
REMOTE_SIDE: Final = range(1104, 1106)
REMOTE_POWER: Final = 1109

WATCHDOG_SECONDS: Final = 60
_NO_WATCHDOG: Final = WORD
_WATCHDOGS: Final = range(10, 18001)
_BATTERY_SIDE: Final = (1, 2)
"""The battery is controlled, by power; PV runs free."""


def knows_remote_mode(words: Image) -> bool:
    """Return True when registers 1100… have a watchdog, as remote mode does."""
    watchdog = words[REMOTE_WATCHDOG]
    return watchdog == _NO_WATCHDOG or watchdog in _WATCHDOGS


def remote_power(power: float, rated_power: float) -> int:
    """Return the word for a battery power, W, + = charging: tenths of % of rated.

    Charging is below zero there [uncertain].
    """
    return -int(1000 * power / rated_power) & WORD


def remote(power_word: int) -> Plan:
    """Return the plan to hold the battery in remote mode, the watchdog first."""
    side = dict(zip(REMOTE_SIDE, _BATTERY_SIDE, strict=True))
    return Plan(
        {
            REMOTE_MODE: 1,
            REMOTE_WATCHDOG: WATCHDOG_SECONDS,
            **side,
            REMOTE_POWER: power_word,
        },
        (
            _one(REMOTE_WATCHDOG),
            REMOTE_SIDE,
            _one(REMOTE_POWER),
            _one(REMOTE_MODE),
        ),
    )


def _one(address: int) -> range:
    return range(address, address + 1)
