"""What can go wrong between us and a battery: one small hierarchy.

Every text names the device or address and says what was tried, so that it can
be shown as it is in a log line. What a person reads in Home Assistant is a
translation chosen by the class.
"""


class BatteryError(Exception):
    """Something went wrong with a battery; every error of this library is one."""


class CannotConnectError(BatteryError):
    """The device, or the network on the way to it, does not accept a connection."""


class RequestTimeoutError(BatteryError):
    """The device accepted the connection but did not answer in time."""


class AuthenticationError(BatteryError):
    """The device refused the user name or password."""


class WrongDeviceError(BatteryError):
    """Something answers, but it is not the kind of device that was expected."""


class ProtocolError(BatteryError):
    """The device answered, but not in a form that its protocol allows."""


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
