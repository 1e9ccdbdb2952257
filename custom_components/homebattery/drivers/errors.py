"""What can go wrong between us and a battery: one small hierarchy.

Every text names the device or address and says what was tried, so that it can
be shown as it is in a log line. What a person reads in Home Assistant is a
translation chosen by the class.
"""

from collections.abc import Mapping
from typing import override


class BatteryError(Exception):
    """Something went wrong with a battery; every error of this library is one."""

    written = False
    """Whether setting a setpoint had come as far as to write, perhaps, when it failed."""
    restored = False
    """Whether what had been written of that setpoint was undone at once."""

    @property
    def details(self) -> Mapping[str, str]:
        """What a text of its own can name, beside what the battery was set up with."""
        return {}


class CannotConnectError(BatteryError):
    """The device, or the network on the way to it, does not accept a connection."""


class UnknownHostError(CannotConnectError):
    """The network knows no address for the host name."""


class ConnectionClosedError(CannotConnectError):
    """A connection was accepted, and closed before anything was ever answered on it."""


class RequestTimeoutError(BatteryError):
    """The device accepted the connection but did not answer in time."""


class AuthenticationError(BatteryError):
    """The device refused the user name or password."""


class WrongDeviceError(BatteryError):
    """Something answers, but it is not the kind of device that was expected."""


class WrongUnitError(WrongDeviceError):
    """The device answers, but at the unit id that was given is not what it should be."""


class UndetectedUnitError(WrongDeviceError):
    """The device answers, but at none of the usual unit ids is what is looked for."""


class WrongLoggerError(WrongDeviceError):
    """The data logger has another serial number than `tried`: `serial`.

    `serial` is None in the kind below.
    """

    def __init__(self, message: str, tried: int, serial: int | None = None) -> None:
        """Keep the serial numbers beside the text."""
        super().__init__(message)
        self.tried = tried
        self.serial = serial

    @property
    @override
    def details(self) -> Mapping[str, str]:
        return {"logger_serial": str(self.tried), "actual_serial": str(self.serial)}


class LoggerSerialRefusedError(WrongLoggerError):
    """The data logger refuses the serial number `tried`, and does not tell its own."""


class LoggerSerialNeededError(WrongDeviceError):
    """The data logger does not tell its serial number: it has to be given."""


class OtherTransportError(WrongDeviceError):
    """The inverter is reached at `port`, but over another protocol."""

    def __init__(self, message: str, port: int) -> None:
        """Keep the port beside the text."""
        super().__init__(message)
        self.port = port

    @property
    @override
    def details(self) -> Mapping[str, str]:
        return {"actual_port": str(self.port)}


class SolarmanSpokenError(OtherTransportError):
    """A data logger with Solarman V5 answers where plain Modbus TCP was expected."""


class ModbusSpokenError(OtherTransportError):
    """Plain Modbus TCP is spoken where a data logger with Solarman V5 was expected."""


class ProtocolError(BatteryError):
    """Something answered, but not in a form that the protocol allows."""


class DeviceRefusedError(BatteryError):
    """The device answered a request with an error of its own.

    `code` is the Modbus exception code or HTTP status.
    """

    def __init__(self, message: str, code: int | None = None) -> None:
        """Keep the device's code beside the text."""
        super().__init__(message)
        self.code = code


class IllegalAddressError(DeviceRefusedError):
    """The device does not have what was asked for (Modbus exception 2)."""


class UnitAbsentError(DeviceRefusedError):
    """Nothing answers at this unit id (Modbus exceptions 10 and 11)."""


class DeviceBusyError(DeviceRefusedError):
    """The device asks for patience (Modbus exceptions 5 and 6)."""


class PermissionDeniedError(DeviceRefusedError):
    """The device wants its installer to log in first (Huawei: Modbus exception 0x80)."""


class NotSupportedError(BatteryError):
    """The device, or its firmware, cannot do what was asked."""


class NotConfirmedError(BatteryError):
    """A write was accepted, but reading back shows another value."""


class InvalidValueError(BatteryError, ValueError):
    """The value lies outside of what the setting or register can hold."""


class TakenOverError(NotConfirmedError):
    """Somebody else has told the device something else than we did."""


class FlashBudgetError(BatteryError):
    """So much was written to the device's flash today that no more of it is wise."""
