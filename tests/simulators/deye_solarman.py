"""A Deye hybrid inverter behind a Solarman data logger."""

from typing import Annotated, Any, Final, Literal

from homebattery.simulated.plant import Plant

from .deye import DeyeSimulator
from .simulator import State
from .solarman import MAC, SERIAL, Discovery, EthernetLogger, SolarmanLogger
from .solarman_faults import SOLARMAN_FAULTS

type Logger = Literal["stick", "ethernet", "closed"]

NO_DISCOVERY: Final = -1


class DeyeSolarmanSimulator(DeyeSimulator):
    """A Deye hybrid inverter behind a Solarman data logger (V5 frames on TCP)."""

    type = "deye_solarman"
    server_faults = SOLARMAN_FAULTS
    server: SolarmanLogger | EthernetLogger

    def __init__(
        self,
        plant: Plant | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        logger: Annotated[
            Logger,
            "stick with V5 frames; ethernet: one that speaks Modbus TCP instead; "
            "closed: a stick whose port is closed, as those with a D serial",
        ] = "stick",
        logger_serial: Annotated[int, "serial of the data logger"] = SERIAL,
        double_crc: Annotated[bool, "two zeros follow each answer's CRC"] = False,
        sockets: Annotated[int, "so many clients are served"] = 3,
        idle_timeout: Annotated[float, "seconds until a silent client is cut"] = 300.0,
        discovery_port: Annotated[
            int, "UDP port for discovery, 48899 in reality; 0: any free one; -1: none"
        ] = 0,
        serial: Annotated[str, "of the inverter, 10 characters"] = "2305112244",
        **inverter: Any,
    ) -> None:
        """Plug the logger in; `inverter` are the options of `DeyeSimulator`."""
        super().__init__(plant, serial=serial, **inverter)
        clock = self.plant.clock
        self.logger = logger
        if logger == "ethernet":
            self.server = EthernetLogger(
                self.units, host, port, serial=logger_serial, clock=clock
            )
        else:
            self.server = SolarmanLogger(
                self.units, host, port, serial=logger_serial, clock=clock
            )
            self.server.set_faults(
                double_crc=double_crc, sockets=sockets, idle_timeout=idle_timeout
            )
        self.discovery_port = discovery_port
        letter = "D" if logger == "closed" else ""
        self.discovery_answer: str | None = f"{host},{MAC},{letter}{logger_serial}"
        self._discovery = Discovery(lambda: self.discovery_answer)

    @property
    def setup(self) -> dict[str, Any]:
        """Settings that a user would enter to reach this device."""
        return {**super().setup, "logger_serial": self.server.serial}

    async def start(self) -> None:
        """Listen, and answer discovery."""
        await super().start()
        if self.logger == "closed":
            await self.server.stop()  # its port is known, and no longer in use
        if self.discovery_port != NO_DISCOVERY:
            self.discovery_port = await self._discovery.start(
                self.host, self.discovery_port
            )

    async def stop(self) -> None:
        """Stop listening, close all connections."""
        self._discovery.stop()
        await super().stop()

    def device_state(self) -> State:
        """Return the inverter's state, and the logger's counts."""
        logger = {"discovery_port": self.discovery_port, "clients": self.server.clients}
        if isinstance(self.server, SolarmanLogger):
            logger["acknowledged_heartbeats"] = self.server.acknowledged
        return {**super().device_state(), "logger": logger}

    # Misbehaviour of the logger.

    def fault_heartbeat_now(self) -> None:
        """Send a heartbeat to every client now."""
        if isinstance(self.server, SolarmanLogger):
            self.server.send_heartbeat()

    def fault_idle_close(self) -> None:
        """Close every connection in an orderly way, as after a long silence."""
        if isinstance(self.server, SolarmanLogger):
            self.server.close_idle()

    def fault_discovery(self, answer: str | None = None) -> None:
        """Answer discovery with this text, or not at all."""
        self.discovery_answer = answer
