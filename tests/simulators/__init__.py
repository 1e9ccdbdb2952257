"""Simulated devices: real protocols on real sockets, and one house behind them all.

    async with SIMULATORS["victron"]() as simulator:
        simulator.setup        # what a user would enter to reach it
        simulator.state()      # how things really are
        await simulator.misbehave("hang")

They are written from documents and recordings of the devices, and use no code of the
integration, so that a mistake made there is not made here too; but for the house, which
is that of the simulated battery. From the command line:

    python -m tests.simulators --help
"""

from collections.abc import Mapping
from pathlib import Path
import sys
from typing import Final

# The library by itself: a simulator starts without Home Assistant.
sys.path.append(str(Path(__file__).parents[2] / "library"))

from homebattery.simulated.plant import Plant

from .clock import ManualClock
from .deye import DeyeModbusSimulator
from .deye_solarman import DeyeSolarmanSimulator
from .huawei import HuaweiSimulator
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
