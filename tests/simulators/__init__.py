"""Simulated devices: real protocols on real sockets, one house behind all of them.

    async with SIMULATORS["victron"]() as simulator:
        simulator.setup        # what a user would enter to reach it
        simulator.state()      # how things really are
        await simulator.misbehave("hang")

They are written from what is known about the devices, and know nothing of the integration, so
that a mistake made there is not made here too. From the command line:

    python -m tests.simulators --help
"""

from collections.abc import Mapping
from typing import Final

from .deye import DeyeModbusSimulator
from .deye_solarman import DeyeSolarmanSimulator
from .plant import ManualClock, Plant
from .sessy import SessySimulator
from .simulator import Simulator
from .victron import VictronSimulator

SIMULATORS: Final[Mapping[str, type[Simulator]]] = {
    simulator.type: simulator
    for simulator in (
        VictronSimulator,
        DeyeModbusSimulator,
        DeyeSolarmanSimulator,
        SessySimulator,
    )
}

__all__ = [
    "SIMULATORS",
    "DeyeModbusSimulator",
    "DeyeSolarmanSimulator",
    "ManualClock",
    "Plant",
    "SessySimulator",
    "Simulator",
    "VictronSimulator",
]
