"""Simulated devices: real protocols on real sockets, and one house behind them all.

    async with SIMULATORS["victron"]() as simulator:
        simulator.setup        # what a user would enter to reach it
        simulator.state()      # how things really are
        await simulator.misbehave("hang")

They are written from documents and recordings of the devices, and use no code of the
integration, so that a mistake made there is not made here too. From the command line:

    python -m tests.simulators --help
"""

from collections.abc import Mapping
from typing import Final

from .deye import DeyeModbusSimulator
from .deye_solarman import DeyeSolarmanSimulator
from .huawei import HuaweiSimulator
from .plant import ManualClock, Plant
from .sessy import SessySimulator
from .simulator import Simulator
from .sma import SmaSimulator
from .victron import VictronSimulator

SIMULATORS: Final[Mapping[str, type[Simulator]]] = {
    simulator.type: simulator
    for simulator in (
        VictronSimulator,
        HuaweiSimulator,
        DeyeModbusSimulator,
        DeyeSolarmanSimulator,
        SessySimulator,
        SmaSimulator,
    )
}

__all__ = [
    "SIMULATORS",
    "DeyeModbusSimulator",
    "DeyeSolarmanSimulator",
    "HuaweiSimulator",
    "ManualClock",
    "Plant",
    "SessySimulator",
    "SmaSimulator",
    "Simulator",
    "VictronSimulator",
]
