"""The real state of simulated devices, and their power in other situations.

It is read from the simulators, not from the registers that a client can read: the house
behind a device has the power that a battery and a grid meter would show in the end.
"""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from itertools import product
from typing import Any, Final, NamedTuple, override

from tests.simulators import HuaweiSimulator, Simulator
from tests.simulators.deye import DeyeSimulator
from tests.simulators.deye_control import REMOTE_MODE, REMOTE_WATCHDOG
from tests.simulators.deye_registers import TOU_EVERY_DAY, ZERO_EXPORT_TO_CT
from tests.simulators.huawei_inverter import Step

SOC: Final = 60.0
"""% at which everything happens."""
NOON: Final = 13.0
"""The hour when it begins."""
LONG: Final = 660.0
"""Seconds; more than any watchdog of these devices waits."""


class Flow(NamedTuple):
    """Powers in W: of the battery, + = charging, and of the grid, + = import."""

    battery: float
    grid: float


class Watched[State](ABC):
    """A simulated device, read from its simulator."""

    situations: Sequence[Any]
    """The situations that may arise while it is out of reach."""

    def __init__(self) -> None:
        self._flows: dict[Hashable, list[Flow]] = {}

    @property
    @abstractmethod
    def state(self) -> State:
        """The settings of the device now."""

    @property
    @abstractmethod
    def trail(self) -> Sequence[State]:
        """The settings after each write so far."""

    @property
    def harmless(self) -> Sequence[State]:
        """The states that may be met besides setpoints and the user's settings."""
        return ()

    @abstractmethod
    def key(self, state: State) -> Hashable:
        """Return a key that states with the same power have in common."""

    @abstractmethod
    def what_if(self, state: State, situation: Any) -> Flow:
        """Return the powers of a state in a situation."""

    @abstractmethod
    def here(self, state: State, later: float) -> Flow:
        """Return the powers of a state here and now, `later` seconds after a write."""

    def flows(self, state: State) -> Sequence[Flow]:
        """Return the powers of a state in each of the situations."""
        key = self.key(state)
        if key not in self._flows:
            self._flows[key] = [
                self.what_if(state, situation) for situation in self.situations
            ]
        return self._flows[key]


def watched(simulator: Simulator) -> Watched[Any]:
    """Return the real device behind a simulator."""
    if isinstance(simulator, HuaweiSimulator):
        return WatchedHuawei(simulator)
    assert isinstance(simulator, DeyeSimulator)
    return WatchedDeye(simulator)


class HuaweiSituation(NamedTuple):
    soc: float
    pv: float
    load: float
    later: float
    """Seconds after the last write; the device ends a command after 10 minutes."""


class WatchedHuawei(Watched[Step]):
    situations = tuple(
        HuaweiSituation(*values)
        for values in product(
            (5, 6.5, SOC, 100), (0, 1500, 7000), (200, 1000, 4000), (0, LONG)
        )
    )

    def __init__(self, simulator: HuaweiSimulator) -> None:
        super().__init__()
        self._device = simulator.device

    @property
    @override
    def state(self) -> Step:
        self._device.update()
        return self._device.step

    @property
    @override
    def trail(self) -> Sequence[Step]:
        return self._device.trail

    @override
    def key(self, state: Step) -> Hashable:
        return tuple(state.settings.values()), state.remaining > 0

    @override
    def what_if(self, state: Step, situation: HuaweiSituation) -> Flow:
        return Flow(*self._device.what_if(state, **situation._asdict()))

    @override
    def here(self, state: Step, later: float) -> Flow:
        return Flow(*self._device.what_if(state, later=later))


class DeyeState(NamedTuple):
    words: Mapping[int, int]
    remote: Mapping[int, int]
    """The words of remote mode; empty where it has none."""


class DeyeSituation(NamedTuple):
    soc: float
    pv: float
    load: float
    hour: float
    """Of the day: each slot has settings of its own."""
    later: float
    """Seconds after the last write; only remote mode has a watchdog."""


class WatchedDeye(Watched[DeyeState]):
    def __init__(self, simulator: DeyeSimulator) -> None:
        super().__init__()
        self._inverter = simulator.inverter
        self._original = self.state
        # The battery's voltage makes a power of every current.
        self._voltage = self._inverter.voltage
        self.situations = tuple(
            DeyeSituation(*values)
            for values in product(
                (10, 18, 35, SOC, 95),
                (0, 1500, 7000),
                (200, 1000, 4000),
                (1.0, NOON),
                (0, LONG) if self._original.remote else (0,),
            )
        )

    @property
    @override
    def state(self) -> DeyeState:
        self._inverter.update()
        return DeyeState(dict(self._inverter.words), dict(self._inverter.remote or {}))

    @property
    @override
    def trail(self) -> Sequence[DeyeState]:
        return [
            DeyeState(step.words, step.remote or {}) for step in self._inverter.trail
        ]

    @property
    @override
    def harmless(self) -> Sequence[DeyeState]:
        """Return plain self-consumption: surplus PV charges, the load is served.

        Settings are written block by block, and between selling and not selling there
        is a step that leads to this.
        """
        words = dict(self._original.words)
        words |= {108: 240, 109: 240, 142: ZERO_EXPORT_TO_CT, 146: TOU_EVERY_DAY}
        words |= dict.fromkeys(range(154, 160), 12_000)
        words |= dict.fromkeys(range(166, 172), words[117])
        words |= dict.fromkeys(range(172, 178), 0)
        return (DeyeState(words, self._original.remote),)

    @override
    def key(self, state: DeyeState) -> Hashable:
        return tuple(state.words.values()), tuple(state.remote.values())

    @override
    def what_if(self, state: DeyeState, situation: DeyeSituation) -> Flow:
        soc, pv, load, hour, later = situation
        return self._asked(
            state,
            later,
            soc=soc,
            voltage=self._voltage,
            pv=pv,
            load=load,
            backup=load * self._inverter.backup_share,
            minute=round(60 * hour),
        )

    @override
    def here(self, state: DeyeState, later: float) -> Flow:
        return self._asked(state, later)

    def _asked(self, state: DeyeState, later: float, **situation: Any) -> Flow:
        remote = dict(state.remote)
        if remote and remote[REMOTE_WATCHDOG] <= later:
            remote[REMOTE_MODE] = 0
        decision = self._inverter.what_if(
            dict(state.words), remote or None, **situation
        )
        return Flow(decision.battery, decision.grid)
