"""Deye through the Solarman data logger that comes with it (Wi-Fi stick, port 8899)."""

from collections.abc import Mapping
import logging
from typing import Any, ClassVar, Final, Unpack, override

from ..battery.base import SetupField
from ..errors import (
    BatteryError,
    InvalidValueError,
    ModbusSpokenError,
    RequestTimeoutError,
    UnitAbsentError,
)
from ..measurements import Value
from ..modbus.connection import ModbusConnection
from ..modbus.planning import Block
from ..modbus.probe import Detected, Probe
from ..modbus.tcp import ModbusTcpConnection
from ..solarman.discovery import PORT, find_serial
from ..solarman.transport import SolarmanConnection
from .device import MODEL, PLATE, detected_serial, ports_of_another_way
from .inverter import REQUEST_SPACING, DeyeInverter, DeyeOptions

_LOGGER = logging.getLogger(__name__)

_LARGEST_SERIAL = 0xFFFF_FFFF
MODBUS_PORT: Final = 502
"""The port at which gateways speak plain Modbus."""


class DeyeSolarmanInverter(DeyeInverter):
    """A Deye hybrid inverter behind a logger that speaks Solarman V5.

    `logger_serial` is the logger's own serial number, from its sticker; without it,
    the logger is asked when connecting.
    """

    battery_type: ClassVar[str] = "deye_solarman"
    ports: ClassVar[tuple[int, ...]] = (PORT,)
    fields: ClassVar[tuple[SetupField, ...]] = (
        SetupField("host"),
        SetupField("logger_serial", required=False),
        SetupField("port", PORT, advanced=True),
        SetupField("unit_id", 1, advanced=True),
    )

    def __init__(
        self,
        address: str,
        port: int = PORT,
        timeout: float = 8,
        capacity: int | None = None,
        max_charge_power: int | None = None,
        max_discharge_power: int | None = None,
        *,
        logger_serial: int | None = None,
        **options: Unpack[DeyeOptions],
    ) -> None:
        """Describe the inverter; nothing is sent."""
        super().__init__(
            address,
            port,
            timeout,
            capacity,
            max_charge_power,
            max_discharge_power,
            **options,
        )
        if logger_serial is not None and not 0 < logger_serial <= _LARGEST_SERIAL:
            raise InvalidValueError(
                f"{address}: {logger_serial} is not the serial number of a logger: "
                "that has ten digits and stands on the logger's sticker"
            )
        self.logger_serial = logger_serial

    @classmethod
    @override
    async def detect(cls, probe: Probe) -> list[Detected]:
        """Ask the logger for its serial number, and the inverter behind it for its own.

        A device that hangs up, or answers otherwise, is left to the plain Modbus
        driver. While the inverter sleeps, the logger alone is worth returning.
        """
        logger, serial_number = None, None
        try:
            logger = await find_serial(probe.host, probe.port, probe.timeout)
            serial_number = detected_serial(await cls._read_plate(probe, logger))
            if serial_number is None:
                return []
        except (RequestTimeoutError, UnitAbsentError) as err:
            if logger is None:
                return []
            _LOGGER.debug("%s: only the logger answers: %s", probe.host, err)
        except BatteryError as err:
            _LOGGER.debug("%s: not asked through a logger: %s", probe.host, err)
            return []
        return [
            Detected(
                battery_type=cls.battery_type,
                model=MODEL,
                serial_number=serial_number,
                setup={**probe.setup, "unit_id": 1, "logger_serial": logger},
                certain=serial_number is not None,
            )
        ]

    @staticmethod
    async def _read_plate(probe: Probe, logger: int) -> dict[str, Value]:
        """Return the first registers of the inverter behind a logger."""
        connection = SolarmanConnection.shared(
            probe.host, probe.port, logger, probe.timeout
        )
        block = Block(PLATE)
        await connection.open()
        try:
            words = await connection.unit(1).read_holding_registers(
                block.address, block.count
            )
        finally:
            await connection.close()
        return {
            register.name: register.decode(words[place])
            for register, place in block.places
        }

    @property
    @override
    def detected_config(self) -> Mapping[str, Any]:
        if self.logger_serial is None:
            return {}
        return {"logger_serial": self.logger_serial}

    @override
    async def connect(self) -> None:
        if self.logger_serial is None:
            self.logger_serial = await find_serial(
                self.address, self.port, self.timeout
            )
        await super().connect()

    @override
    async def explain(self, err: BatteryError) -> BatteryError:
        """Return the error that it answers over Modbus, where it does; else `err`."""
        for port in ports_of_another_way(err, self.port, MODBUS_PORT):
            if await self._answers_modbus(port):
                return ModbusSpokenError(
                    f"{self.address}:{port}: the inverter answers over plain Modbus "
                    "TCP: set it up as battery type deye_modbus",
                    port,
                )
        return err

    async def _answers_modbus(self, port: int) -> bool:
        """Return True when a Deye identifies itself over plain Modbus."""
        probe = Probe(self.address, port, ModbusTcpConnection.shared)
        try:
            return detected_serial(await probe.read(self._unit_id, PLATE)) is not None
        except BatteryError:
            return False
        finally:
            await probe.close()

    @override
    def _make_connection(self) -> ModbusConnection:
        assert self.logger_serial is not None
        connection = SolarmanConnection.shared(
            self.address, self.port, self.logger_serial, self.timeout
        )
        connection.spacing = REQUEST_SPACING
        return connection
