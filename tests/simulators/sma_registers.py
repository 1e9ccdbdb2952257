"""The register list of a Sunny Island battery inverter, firmware 3.20.

Signs are the device's own: AC power and its setpoint positive = output (discharging),
battery current negative = charging.
"""

from collections.abc import Iterator
from enum import IntEnum
import math
from typing import Final, NamedTuple

from .words import Number, Register

U16: Final = Number(1, signed=False, unknown=0xFFFF)
S16: Final = Number(1, signed=True, unknown=0x8000)
U32: Final = Number(2, signed=False, unknown=0xFFFF_FFFF)
S32: Final = Number(2, signed=True, unknown=0x8000_0000)
U64: Final = Number(4, signed=False, unknown=0xFFFF_FFFF_FFFF_FFFF)
TAG: Final = Number(2, signed=False, unknown=0x00FF_FFFD)


class Tag(IntEnum):
    """Numbers of the vendor's lists of tags."""

    FAULT = 35
    GRID_PARALLEL = 235
    OFF = 303
    OK = 307
    ON = 308
    STOP = 381
    WARNING = 455
    SMA = 461
    ACTIVE = 569
    EXTERNAL_ON = 802
    EXTERNAL_OFF = 803
    NO_FIX = 885
    NO_MESSAGE = 886
    NO_ACTION = 887
    BY_WATTS = 1077
    BY_PERCENT = 1078
    EXTERNAL = 1079
    YES = 1129
    NO = 1130
    RESTART = 1146
    STANDBY = 1295
    MAINS = 1461
    BACKUP = 1463
    START = 1467
    SEPARATED = 1779
    PUBLIC_GRID = 1780
    LITHIUM = 1785
    CHARGE_MODE = 2289
    DISCHARGE_MODE = 2290
    CHARGING = 2292
    DISCHARGING = 2293
    DEFAULT_MODE = 2424
    KEEP = 2506
    FALL_BACK = 2507
    SELF_USE = 2614
    CONSERVE = 2615
    GENERATOR = 2677
    EMERGENCY_CHARGE = 3664
    BATTERY_INVERTER = 8007


def _phases(address: int, kind: Number, scale: float, name: str) -> Iterator[Register]:
    """Yield three rows, one a phase; # in the name is its number."""
    for phase in range(3):
        at = address + phase * kind.words
        yield Register(at, kind, scale, name.replace("#", str(phase + 1)))


MEASURED: Final = (
    Register(30051, TAG, 1, "device_class"),
    Register(30053, TAG, 1, "model"),
    Register(30055, TAG, 1, "vendor"),
    Register(30057, U32, 1, "serial"),
    Register(30059, U32, 1, "firmware"),
    Register(30199, U32, 1, "wait_until_feed_in"),
    Register(30201, TAG, 1, "health"),
    Register(30211, TAG, 1, "action"),
    Register(30213, TAG, 1, "message"),
    Register(30215, TAG, 1, "fix"),
    Register(30231, U32, 1, "rated_power"),
    Register(30233, U32, 1, "power_limit"),
    Register(30247, U32, 1, "event"),
    Register(30251, TAG, 1, "block_status"),
    Register(30513, U64, 1, "released"),
    Register(30577, U32, 1, "imported_today"),
    Register(30579, U32, 1, "exported_today"),
    Register(30581, U32, 1, "imported"),
    Register(30583, U32, 1, "exported"),
    Register(30595, U32, 1, "absorbed"),
    Register(30597, U32, 1, "released"),
    Register(30775, S32, 1, "power"),
    *_phases(30777, S32, 1, "power_#"),
    *_phases(30783, U32, 100, "voltage_#"),
    Register(30803, U32, 100, "frequency"),
    *_phases(30807, S32, 1, "reactive_#"),
    Register(30835, TAG, 1, "power_mode"),
    Register(30843, S32, 1000, "battery_current"),
    Register(30845, U32, 1, "soc"),
    Register(30847, U32, 1, "present_capacity"),
    Register(30849, S32, 10, "temperature"),
    Register(30851, U32, 100, "battery_voltage"),
    Register(30859, TAG, 1, "maintenance_charge"),
    Register(30861, S32, 1, "load"),
    Register(30865, S32, 1, "drawn"),
    Register(30867, S32, 1, "fed_in"),
    Register(30869, S32, 1, "pv"),
    Register(30877, TAG, 1, "backup_status"),
    Register(30881, TAG, 1, "grid_status"),
    Register(30955, TAG, 1, "battery_status"),
    *_phases(30977, S32, 1000, "current_#"),
    Register(30997, S32, 10, "temperature"),
    Register(30999, S32, 10, "temperature"),
    Register(31009, U32, 1, "min_soc"),
    Register(31015, TAG, 1, "health_1"),
    Register(31053, TAG, 1, "health_2"),
    Register(31055, TAG, 1, "health_3"),
    Register(31057, TAG, 1, "usage_area"),
    Register(31059, TAG, 1, "maintenance_charge"),
    Register(31061, TAG, 1, "charge_control"),
    Register(31393, U32, 1, "charge_power"),
    Register(31395, U32, 1, "discharge_power"),
    Register(31397, U64, 1, "charged"),
    Register(31401, U64, 1, "discharged"),
    Register(33001, TAG, 1, "standby_status"),
    Register(33003, TAG, 1, "operating_status"),
    Register(33019, S32, 1, "rated_charge"),
    Register(34669, TAG, 1, "charge_control"),
    Register(40029, TAG, 1, "run_state"),
    Register(40031, U32, 1, "capacity_ah"),
    Register(40035, TAG, 1, "battery_type"),
    Register(40187, U32, 1, "capacity"),
    Register(40189, U32, 1, "max_charge"),
    Register(40191, U32, 1, "max_discharge"),
    Register(40783, U32, 1, "serial_2"),
    Register(40785, U32, 1, "serial_3"),
)


class Setting(NamedTuple):
    """A register that can be written. Two of the same name are one value."""

    address: int
    kind: Number
    scale: float
    name: str
    default: float | None = None
    least: float = -math.inf
    most: float = math.inf
    only: tuple[int, ...] = ()
    """The accepted values, if not all between least and most."""
    flash: bool = True
    write_only: bool = False
    guarded: bool = False
    """Whether it needs the installer's Grid Guard code, which no client here has."""

    @property
    def register(self) -> Register:
        """The register of this setting."""
        return Register(self.address, self.kind, self.scale, self.name)


def _control(
    address: int,
    kind: Number,
    name: str,
    *,
    scale: float = 1,
    least: float = -math.inf,
    only: tuple[int, ...] = (),
) -> Setting:
    """Return a row for cyclic control: write-only, and not kept in flash."""
    return Setting(
        *(address, kind, scale, name),
        least=least,
        only=only,
        flash=False,
        write_only=True,
    )


_EXTERNAL: Final = (Tag.EXTERNAL_ON, Tag.EXTERNAL_OFF)
_YES_NO: Final = (Tag.YES, Tag.NO)
_BMS_MODES: Final = (
    *(Tag.OFF, Tag.ON, Tag.CHARGE_MODE, Tag.DISCHARGE_MODE, Tag.DEFAULT_MODE),
)
_POWER_MODES: Final = (Tag.OFF, Tag.BY_WATTS, Tag.BY_PERCENT, Tag.EXTERNAL)

SETTINGS: Final = (
    _control(40016, S16, "plant_limit"),
    _control(40023, S16, "plant_limit_2"),
    _control(40149, S32, "setpoint"),
    _control(40151, TAG, "external", only=_EXTERNAL),
    _control(40153, S32, "reactive_setpoint"),
    _control(40236, TAG, "bms_mode", only=_BMS_MODES),
    _control(40795, U32, "bms_max_charge"),
    _control(40799, U32, "bms_max_discharge"),
    _control(40801, S32, "grid_target"),
    _control(41175, S32, "setpoint_1"),
    _control(41177, S32, "setpoint_2"),
    _control(41179, S32, "setpoint_3"),
    _control(41251, S32, "consumption_limit"),
    _control(43090, U32, "grid_guard"),
    Setting(40009, TAG, 1, "run", Tag.START, only=(Tag.STOP, Tag.START)),
    Setting(40075, TAG, 1, "self_consumption", Tag.YES, only=_YES_NO),
    Setting(40077, TAG, 1, "restart", None, only=(Tag.RESTART,)),
    Setting(40210, TAG, 1, "power_mode", only=_POWER_MODES, guarded=True),
    Setting(40705, U32, 1, "feed_in_again_soc", 10, 0, 90),
    Setting(40707, U32, 1, "lock_soc", 5, 0, 100),
    Setting(40719, U32, 1, "deep_discharge", 10, 0, 100),
    Setting(40721, U32, 1, "protect_width", 5, 2, 50),
    Setting(40723, U32, 1, "backup_width", 0, 0, 100),
    Setting(40725, U32, 1, "conserve_width", 5, 4, 20),
    Setting(40727, U32, 1, "self_use_width", 80, 0, 100),
    Setting(40755, U32, 1000, "max_charge_current", 26, 0),
    Setting(41193, TAG, 1, "on_loss", only=(Tag.KEEP, Tag.FALL_BACK)),
    Setting(41195, U32, 1, "time_out", 600, 1, 1800),
    Setting(41255, S16, 1, "plant_limit_2", flash=False),
    Setting(41259, TAG, 1, "bms_mode", only=_BMS_MODES, flash=False),
    Setting(44037, S32, 100, "fallback_power"),
    Setting(44039, S32, 100, "upper_band", 100, -100, 100),
    Setting(44041, S32, 100, "lower_band", -100, -100, 100),
    # The registers of cyclic control wear no flash; their read-back registers do.
    Setting(44425, S32, 1, "setpoint"),
    Setting(44427, TAG, 1, "external", only=_EXTERNAL),
    Setting(44433, U32, 1, "bms_max_charge"),
    Setting(44437, U32, 1, "bms_max_discharge"),
    Setting(44439, S32, 1, "grid_target"),
)

READ_BACK_REGISTERS: Final = frozenset((44425, 44427, 44433, 44437, 44439))
RATED_POWER: Final = 30231
MODELS: Final = {
    9331: "SI3.0M-12",
    9332: "SI4.4M-12",
    9333: "SI6.0H-12",
    9334: "SI8.0H-12",
    9474: "SI4.4M-13",
    9475: "SI6.0H-13",
    9476: "SI8.0H-13",
    9486: "SI5.0H-13",
}
OLD_MODELS: Final = frozenset((9278, 9279, 9223, 9224))
"""Models of series -11."""
NOT_IN_OLD_MODELS: Final = frozenset((RATED_POWER, 40801, 41259, 44039, 44041))
"""Registers that their list does not have, or that one of them refused."""
STORAGES: Final = {
    9326: "SBS2.5-1VL-40",
    9356: "SBS3.7-10",
    9358: "SBS5.0-10",
    9359: "SBS6.0-10",
}
"""Sunny Boy Storages, which accept the setpoint and do nothing."""
