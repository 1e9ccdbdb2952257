"""The errors of a battery: one small hierarchy.

Every text names the device or address and says what was tried, so that it can
be shown as it is in a log line. What a person reads in Home Assistant is a
translation chosen by the class.
"""

from collections.abc import Mapping
from typing import override

from .text import printable


class BatteryError(Exception):
    """The base of every error of this library."""

    written = False
    """Whether the device was, or may have been, written before a setpoint failed."""
    restored = False
    """Whether the writes of that setpoint were undone at once."""

    def __init__(self, message: str = "") -> None:
        """Take the text; a part of it may be the device's own."""
        super().__init__(printable(message))

    @property
    def details(self) -> Mapping[str, str]:
        """The error's own placeholders for a text, besides the configuration's."""
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


class AnotherDeviceError(WrongDeviceError):
    """The device has the serial number `present`, not `expected`.

    Or its data logger is another one; then `present` names that.
    """

    def __init__(self, where: str, expected: str, present: str) -> None:
        """Keep both beside the text; `where` is the address."""
        super().__init__(
            f"{where}: another device answers: {present} instead of {expected}"
        )
        self.expected = expected
        self.present = present


class UnidentifiedError(WrongDeviceError):
    """The device that answers does not report the serial number that it had."""


class WrongUnitError(WrongDeviceError):
    """The device answers, but not as expected at the unit id that was given."""


class UndetectedUnitError(WrongDeviceError):
    """The device answers, but not as expected at any of the usual unit ids."""


class WrongLoggerError(WrongDeviceError):
    """The data logger has the serial number `serial`, not `tried`.

    `serial` is None in the subclass below.
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
    """The data logger refuses the serial number `tried`, without reporting its own."""


class LoggerSerialNeededError(WrongDeviceError):
    """The data logger does not report its serial number: it must be given."""


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
    """The device does not have what was asked for (Modbus exception 2, HTTP 404)."""


class StartingError(DeviceRefusedError):
    """The device answers nothing but zeros: it has just started."""


class UnitAbsentError(DeviceRefusedError):
    """Nothing answers at this unit id (Modbus exceptions 10 and 11)."""


class DeviceBusyError(DeviceRefusedError):
    """The device is busy (Modbus exceptions 5 and 6)."""


class DeviceFailureError(DeviceRefusedError):
    """The device answers only that it fails, as at night (Modbus exception 4)."""


class PermissionDeniedError(DeviceRefusedError):
    """The device requires its installer's log-in (Huawei: Modbus exception 0x80)."""


class NotSupportedError(BatteryError):
    """The device, or its firmware, cannot do what was asked."""


class NotConfirmedError(BatteryError):
    """A write was accepted, but reading back shows another value."""


class InvalidValueError(BatteryError, ValueError):
    """The value lies outside of what the setting or register can hold."""


class TakenOverError(NotConfirmedError):
    """Another controller has written something else to the device."""


class NotKeptError(BatteryError):
    """The snapshot could not be saved, so what depends on it was not written."""


class FlashBudgetError(BatteryError):
    """The writes to the device's flash for today are used up."""
