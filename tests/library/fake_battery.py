"""A battery in memory, in which anything can go wrong."""

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Final, override

from homebattery import Battery, BatteryError, Grant
from homebattery.battery.base import SetpointLimits, SetupField
from homebattery.battery.controller import Snapshot
from homebattery.battery.measuring import Identity
from homebattery.battery.settings import NumberSetting, SelectSetting, Setting
from homebattery.errors import RequestTimeoutError
from homebattery.measurements import Poll, Value
from homebattery.report import Report


class FakeBattery(Battery):
    """A battery in memory, in which anything can go wrong."""

    battery_type: ClassVar[str] = "fake"
    manufacturer: ClassVar[str] = "Nobody"
    fields: ClassVar[tuple[SetupField, ...]] = (
        SetupField("host"),
        SetupField("port", 502),
        SetupField("unit_id", required=False),
        SetupField("username"),
        SetupField("password"),
    )
    keep_alive_interval: float | None = 0.01
    made: ClassVar[FakeBattery]
    limits: ClassVar[SetpointLimits | None] = SetpointLimits(-2000, 3000)
    trouble: ClassVar[dict[str, list[BatteryError]]]
    """Errors that the next calls of each method raise."""
    values: ClassVar[Mapping[str, Value]] = {}

    def __init__(
        self, host: str, *, username: str, password: str, **options: Any
    ) -> None:
        super().__init__(host, options.pop("port"), 5)
        self.options_given = {"username": username, "password": password, **options}
        self.calls: list[object] = []
        self.mode = "eco"
        FakeBattery.made = self

    def _call(self, name: str, *arguments: object) -> None:
        self.calls.append((name, *arguments) if arguments else name)
        if self.trouble.get(name):
            raise self.trouble[name].pop(0)

    @property
    @override
    def settings(self) -> Mapping[str, Setting]:
        return {
            "working_mode": SelectSetting(options=("eco", "held")),
            "min_soc": NumberSetting(minimum=0, maximum=100),
        }

    @property
    @override
    def setpoint_limits(self) -> SetpointLimits | None:
        return self.limits

    @override
    def _measurable(self) -> Collection[str]:
        return self.values

    @override
    def _find_poll_rate(self, key: str) -> Poll:
        return Poll.FAST

    @property
    @override
    def writes(self) -> int:
        return sum(call not in ("connect", "read", "close") for call in self.calls)

    @override
    def options(self, key: str) -> tuple[str, ...]:
        return ()

    @override
    async def connect(self) -> None:
        self._call("connect")
        self._identity = Identity(
            serial_number="S1", manufacturer="Nobody", model="None"
        )

    @override
    async def close(self) -> None:
        self._call("close")

    @override
    async def _read_report(self, names: Collection[str]) -> Report:
        self._call("read")
        failures = {"battery_soc": RequestTimeoutError("no answer")}
        return Report(
            {name: self.values[name] for name in names if name in self.values},
            {name: failures[name] for name in names if name not in self.values},
        )

    @override
    async def _write_setting(self, key: str, value: Value) -> None:
        raise AssertionError(f"the command line has no settings, but writes {key}")

    @override
    async def take_snapshot(self) -> Snapshot:
        self._call("take_snapshot")
        return {"working_mode": self.mode, "min_soc": 10}

    @override
    async def set_power_setpoint(self, power: float) -> Grant:
        self.snapshot = {"working_mode": self.mode, "min_soc": 10}
        self._call("set_power_setpoint", power)
        self.mode = "held"
        return Grant(round(power))

    @override
    async def keep_alive(self) -> Grant | None:
        self._call("keep_alive")
        return Grant(900) if self.calls.count("keep_alive") > 2 else None

    @override
    async def release(self) -> None:
        if self.snapshot is not None:
            self._call("release")
            self.mode = self.snapshot["working_mode"]
            self.snapshot = None


FAKE: Final = ("fake", "home.local", "--username", "me", "--password", "secret")
