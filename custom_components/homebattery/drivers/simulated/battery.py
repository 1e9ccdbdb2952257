"""The simulated battery: all that a real one has, but nothing is measured.

`plant.py` is its house, `device.py` the device, which is reached without a network, and
`controller.py` holds it. So automations and dashboards can be tried before a device is
touched.
"""

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Final, override

from ..battery.base import Battery, SetpointLimits, SetupField
from ..battery.measuring import Identity
from ..battery.readings import HALVES
from ..battery.settings import NumberSetting, SelectSetting, Setting
from ..errors import CannotConnectError, InvalidValueError
from ..measurements import Poll, Value
from ..report import Report
from .controller import SimulatedController
from .device import (
    CHARGE_LIMIT,
    CHOICES,
    FORGETS_AFTER,
    MIN_SOC,
    MODE,
    TOTALS,
    SimulatedDevice,
    Size,
    new_serial_number,
)
from .measurements import OPTIONS, POLLS, VALUES

_SERIAL: Final = "serial_number"
_DEFAULTS: Final = Size()


class SimulatedBattery(Battery):
    """A battery that exists in this process alone.

    One without a `serial_number` gets one, which is that of its device from then on.
    """

    battery_type: ClassVar[str] = "simulated"
    manufacturer: ClassVar[str] = "Home Battery"
    fields: ClassVar[tuple[SetupField, ...]] = (
        *(SetupField(name, default) for name, default in _DEFAULTS._asdict().items()),
        SetupField(_SERIAL, required=False, generated=True),
    )
    web_page: ClassVar[bool] = False
    keep_alive_interval = FORGETS_AFTER / 3

    def __init__(
        self,
        serial_number: str | None = None,
        capacity: int | None = None,
        max_charge_power: int | None = None,
        max_discharge_power: int | None = None,
        *,
        battery_capacity: int = _DEFAULTS.battery_capacity,
        rated_power: int = _DEFAULTS.rated_power,
        pv_peak: int = _DEFAULTS.pv_peak,
        mean_load: int = _DEFAULTS.mean_load,
    ) -> None:
        """Describe the battery; it is made when it is connected."""
        self._serial_number = serial_number or new_serial_number()
        super().__init__(
            self._serial_number,
            None,
            0,
            capacity,
            max_charge_power,
            max_discharge_power,
        )
        self._size = Size(battery_capacity, rated_power, pv_peak, mean_load)
        if min(battery_capacity, rated_power) < 1 or min(pv_peak, mean_load) < 0:
            raise InvalidValueError(f"{self.address}: there is no such {self._size}")
        self._device: SimulatedDevice | None = None

    @property
    def device(self) -> SimulatedDevice:
        """The device; raises CannotConnectError before it was connected."""
        if self._device is None:
            raise CannotConnectError(f"{self.address}: not connected yet")
        return self._device

    @override
    async def connect(self) -> None:
        device = SimulatedDevice.shared(
            self._serial_number, self._size, self.local_time
        )
        device.run()
        self._device = device
        self.controller = self.controller or SimulatedController(device)
        identity = Identity(
            serial_number=device.serial_number,
            manufacturer=self.manufacturer,
            model="Simulated battery",
        )
        self._accept(identity, is_reported=True)

    @override
    async def close(self) -> None:
        """Leave the device as it is: it forgets a setpoint by itself."""

    @override
    async def _read_serial_number(self) -> str | None:
        self.device.run()
        return self.device.serial_number

    @property
    @override
    def detected_config(self) -> Mapping[str, Any]:
        return {_SERIAL: self._serial_number}

    # Reading

    @override
    def _measurable(self) -> Collection[str]:
        return {*VALUES, *HALVES}

    @override
    def _find_poll_rate(self, key: str) -> Poll:
        return Poll.FAST if key in HALVES else POLLS[key]

    @override
    def options(self, key: str) -> tuple[str, ...]:
        return OPTIONS.get(key, ())

    @override
    async def _read_report(self, names: Collection[str]) -> Report:
        device = self.device
        device.run()
        for key in TOTALS:
            # The device has its total from before a restart from here alone.
            if (counted := self.counters.counted(key)) is not None:
                device.resume(key, counted.value)
        return Report({name: VALUES[name](device) for name in names if name in VALUES})

    # Settings and setpoint

    @property
    @override
    def settings(self) -> Mapping[str, Setting]:
        return {
            MODE: SelectSetting(options=CHOICES),
            MIN_SOC: NumberSetting(minimum=0, maximum=100),
            CHARGE_LIMIT: NumberSetting(minimum=0, maximum=self._size.rated_power),
        }

    @override
    async def _write_setting(self, key: str, value: Value) -> None:
        self.device.run()
        self.device.write(key, value)

    @property
    @override
    def setpoint_limits(self) -> SetpointLimits | None:
        most = self._size.rated_power
        return self._narrowed(SetpointLimits(-most, most))

    @property
    @override
    def writes(self) -> int:
        return 0 if self._device is None else self._device.writes
