"""Deye through the Solarman data logger that comes with it (Wi-Fi stick, port 8899)."""

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack, override

from .battery import InvalidValueError, ModbusConnection, SetupField
from .deye import COMMON_FIELDS, REQUEST_SPACING, DeyeInverter, DeyeOptions
from .solarman import PORT, SolarmanConnection, find_serial

_LARGEST_SERIAL = 0xFFFF_FFFF


class DeyeSolarmanInverter(DeyeInverter):
    """A Deye hybrid inverter behind a logger that speaks Solarman V5.

    `logger_serial` is the logger's own serial number, from its sticker; without it,
    the logger is asked when connecting.
    """

    battery_type: ClassVar[str] = "deye_solarman"
    fields: ClassVar[tuple[SetupField, ...]] = (
        SetupField("host"),
        SetupField("logger_serial", required=False),
        SetupField("port", PORT, rare=True),
        SetupField("unit_id", 1, rare=True),
        *COMMON_FIELDS,
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

    @property
    @override
    def setup_found(self) -> Mapping[str, Any]:
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
    def _make_connection(self) -> ModbusConnection:
        assert self.logger_serial is not None
        connection = SolarmanConnection.shared(
            self.address, self.port, self.logger_serial, self.timeout
        )
        connection.spacing = REQUEST_SPACING
        return connection
