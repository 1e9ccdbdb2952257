"""A Deye hybrid inverter behind a Solarman data logger."""

from typing import Annotated, Any

from .deye import DeyeSimulator
from .plant import Plant
from .simulator import MODBUS_FAULTS
from .solarman import SERIAL, SolarmanLogger


class DeyeSolarmanSimulator(DeyeSimulator):
    """A Deye hybrid inverter behind a Solarman data logger (V5 frames on TCP)."""

    type = "deye_solarman"
    server_faults = {
        name: fault
        for name, fault in MODBUS_FAULTS.items()
        if name != "wrong_transaction"
    }
    server: SolarmanLogger

    def __init__(
        self,
        plant: Plant | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        logger_serial: Annotated[int, "serial of the data logger"] = SERIAL,
        double_crc: Annotated[bool, "two zeros follow each answer's CRC"] = False,
        **inverter: Any,
    ) -> None:
        """Plug the logger in; `inverter` are the options of `DeyeSimulator`."""
        super().__init__(plant, **inverter)
        self.server = SolarmanLogger(
            self.units, host, port, serial=logger_serial, clock=self.plant.clock
        )
        self.server.double_crc = double_crc

    @property
    def setup(self) -> dict[str, Any]:
        """What a user would enter."""
        return {**super().setup, "logger_serial": self.server.serial}

    # Misbehaviour of the logger.

    def fault_double_crc(self, on: bool = True) -> None:
        """Put two zeros after each answer's CRC."""
        self.server.double_crc = on
