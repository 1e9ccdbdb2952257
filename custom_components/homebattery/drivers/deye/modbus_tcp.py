"""Deye over plain Modbus: a gateway on the inverter's RS485, or an Ethernet logger."""

from typing import ClassVar, Final, Unpack, override

from ..battery.base import SetupField
from ..errors import (
    BatteryError,
    InvalidValueError,
    RequestTimeoutError,
    SolarmanSpokenError,
)
from ..modbus.connection import ModbusConnection
from ..modbus.probe import Detected, Probe
from ..modbus.tcp import FRAMINGS, ModbusTcpConnection
from ..solarman.discovery import speaks_solarman
from .device import MODEL, PLATE, detected_serial, ports_of_another_way
from .inverter import REQUEST_SPACING, DeyeInverter, DeyeOptions

LOGGER_PORT: Final = 8899
"""The port of loggers: Ethernet ones speak plain Modbus there, Wi-Fi ones do not."""


class DeyeModbusInverter(DeyeInverter):
    """A Deye hybrid inverter behind Modbus TCP (502; Ethernet loggers: 8899)."""

    battery_type: ClassVar[str] = "deye_modbus"
    ports: ClassVar[tuple[int, ...]] = (502, LOGGER_PORT)
    fields: ClassVar[tuple[SetupField, ...]] = (
        SetupField("host"),
        SetupField("port", 502),
        SetupField("unit_id", 1, advanced=True),
        SetupField("framing", "tcp", advanced=True),
    )

    def __init__(
        self,
        address: str,
        port: int = 502,
        timeout: float = 5,
        capacity: int | None = None,
        max_charge_power: int | None = None,
        max_discharge_power: int | None = None,
        *,
        framing: str = "tcp",
        **options: Unpack[DeyeOptions],
    ) -> None:
        """Describe the inverter; `framing` is one of FRAMINGS. Nothing is sent."""
        super().__init__(
            address,
            port,
            timeout,
            capacity,
            max_charge_power,
            max_discharge_power,
            **options,
        )
        if framing not in FRAMINGS:
            raise InvalidValueError(
                f"{address}: framing {framing} is none of {', '.join(FRAMINGS)}"
            )
        self.framing = framing

    @classmethod
    @override
    async def detect(cls, probe: Probe) -> list[Detected]:
        serial_number = detected_serial(await probe.read(1, PLATE))
        if serial_number is None:
            return []
        return [
            Detected(
                battery_type=cls.battery_type,
                model=MODEL,
                serial_number=serial_number,
                setup={**probe.setup, "unit_id": 1},
            )
        ]

    @override
    async def _find_units(self) -> None:
        try:
            await super()._find_units()
        except RequestTimeoutError as err:
            if self.port != LOGGER_PORT:
                raise
            raise RequestTimeoutError(
                f"{err}. A Wi-Fi logger does not speak plain Modbus on this port: if it "
                "is one, set it up as battery type deye_solarman"
            ) from err

    @override
    async def explain(self, err: BatteryError) -> BatteryError:
        """Return the error that a logger answers, where one does; else `err`."""
        for port in ports_of_another_way(err, self.port, LOGGER_PORT):
            if await speaks_solarman(self.address, port, self.timeout):
                return SolarmanSpokenError(
                    f"{self.address}:{port}: a data logger answers that speaks "
                    "Solarman V5: set it up as battery type deye_solarman",
                    port,
                )
        return err

    @override
    def _make_connection(self) -> ModbusConnection:
        connection = ModbusTcpConnection.shared(
            self.address, self.port, self.timeout, FRAMINGS[self.framing]
        )
        connection.spacing = REQUEST_SPACING
        return connection
