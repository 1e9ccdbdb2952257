"""The pages of the brands, and the devices that show what each model has.

A page has a column for each model, and conditions: devices that differ from the usual
one of a model in one respect.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from tests.simulators import SIMULATORS
from tests.simulators.image import ModbusImage, load

from . import ROOT


class Listening(Protocol):
    """A simulated device that listens."""

    @property
    def setup(self) -> dict[str, Any]:
        """The settings that a user would enter."""


@dataclass(frozen=True)
class Device:
    """A kind of battery, and the function that makes a simulator of it."""

    battery_type: str
    make: Callable[[], AbstractAsyncContextManager[Listening]]


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A device that has more than the usual one of its model, or lacks something.

    `more` and `less` say on the page when an entity is there: one that only this device
    has, and one that this device lacks; None where that says nothing. Another `less` may
    imply it.
    """

    more: str
    less: str | None
    device: Device
    implied_by: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Model:
    """A column of a page: a usual device, and those with other conditions."""

    name: str
    usual: Device
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Page:
    """The page of a brand."""

    file: str
    models: tuple[Model, ...]

    @property
    def path(self) -> Path:
        """The file of the page."""
        return ROOT / "docs" / self.file


def _device(battery_type: str, phases: int = 3, **options: Any) -> Device:
    """Return a device with these options."""
    kind: Any = SIMULATORS[battery_type]
    return Device(battery_type, lambda: kind(kind.house(phases=phases), **options))


def _many_strings() -> ModbusImage:
    """Return a Huawei with as many PV strings and trackers as there can be."""
    vector = load("huawei_sun2000")[0]
    addresses = (*range(32016, 32064), *range(32212, 32232))
    more = {**dict.fromkeys(map(str, addresses), 0), "30071": 24, "30072": 10}
    return ModbusImage({**vector, "units": {"1": {**vector["units"]["1"], **more}}})


# The models


def _gx(name: str, *others: Condition, **options: Any) -> Model:
    """Return a model behind a GX device."""

    def device(phases: int = 3, **more: Any) -> Device:
        return _device("victron", phases, **options, **more)

    return Model(
        name=name,
        usual=device(),
        conditions=(
            Condition(
                more="a shunt in place of a BMS",
                less="a BMS",
                device=device(battery="shunt"),
            ),
            Condition(
                more="no battery monitor",
                less="a BMS or a shunt",
                device=device(battery="none"),
                implied_by=("a BMS",),
            ),
            Condition(
                more="no grid meter", less="a grid meter", device=device(meter=False)
            ),
            Condition(
                more="one phase", less="two or three phases", device=device(phases=1)
            ),
            Condition(
                more="a PV inverter", less="no PV inverter", device=device(pv_unit=20)
            ),
            *others,
            Condition(
                more="GX software of 2025",
                less="GX software of 2026",
                device=device(firmware="2025"),
            ),
            Condition(
                more="GX software before 2025",
                less="GX software since 2025",
                device=device(firmware="old"),
                implied_by=("GX software of 2026",),
            ),
        ),
    )


def _huawei(name: str, *others: Condition, phases: int) -> Model:
    """Return a Huawei inverter with so many phases."""

    def device(packs: int = 3, **more: Any) -> Device:
        return _device("sun2000", phases, packs=packs, **more)

    return Model(
        name=name,
        usual=device(),
        conditions=(
            Condition(
                more="a second battery unit",
                less="a single battery unit",
                device=device(battery_units=2),
            ),
            Condition(
                more="no battery", less="a battery", device=device(battery_units=0)
            ),
            Condition(
                more="no meter",
                less="a meter, an EMMA or a SmartLogger",
                device=device(meter="absent"),
                implied_by=("its own meter", "its own meter or an EMMA"),
            ),
            Condition(
                more="an EMMA",
                less="its own meter",
                device=device(access="emma", meter="offline"),
            ),
            Condition(
                more="a SmartLogger",
                less="its own meter or an EMMA",
                device=device(access="smartlogger", meter="offline"),
                implied_by=("its own meter",),
            ),
            *others,
        ),
    )


def _deye(phases: int = 3, **options: Any) -> Device:
    return _device("deye_modbus", phases, **options)


PAGES: Final = (
    Page(
        file="victron.md",
        models=(
            _gx(
                "VE.Bus",
                Condition(
                    more="no ESS assistant",
                    less="the ESS assistant",
                    device=_device("victron", ess=False),
                ),
            ),
            _gx("Multi RS", rs_unit=100),
        ),
    ),
    Page(
        file="sun2000.md",
        models=(
            _huawei(
                "three-phase",
                Condition(
                    more="that many strings",
                    less=None,
                    device=Device("sun2000", _many_strings),
                ),
                phases=3,
            ),
            _huawei("single-phase", phases=1),
        ),
    ),
    Page(
        file="deye.md",
        models=(
            Model(
                name="three-phase",
                usual=_deye(),
                conditions=(
                    Condition(
                        more="a high-voltage battery",
                        less="a low-voltage battery",
                        device=_deye(variant="hv"),
                    ),
                    Condition(
                        more="two batteries",
                        less="one battery",
                        device=_deye(two_batteries=True),
                    ),
                    Condition(
                        more="more than four MPPTs",
                        less="up to four MPPTs",
                        device=_deye(more_strings=True),
                    ),
                    Condition(
                        more="micro-inverters at the GEN port",
                        less="no micro-inverters",
                        device=_deye(micro_inverters=True),
                    ),
                    Condition(
                        more="packs that report themselves",
                        less="no packs that report themselves",
                        device=_deye(packs=20),
                    ),
                    Condition(
                        more="a data logger",
                        less="Modbus TCP",
                        device=_device("deye_solarman"),
                    ),
                    Condition(
                        more="firmware with remote mode",
                        less="firmware without remote mode",
                        device=_deye(remote=True),
                    ),
                ),
            ),
            Model(name="single-phase", usual=_deye(phases=1, variant="single")),
        ),
    ),
    Page(
        file="sessy.md",
        models=(
            Model(
                name="battery",
                usual=_device("sessy"),
                conditions=(
                    Condition(
                        more="old firmware",
                        less="newer firmware",
                        device=_device("sessy", firmware="old"),
                    ),
                ),
            ),
            Model(name="P1 meter", usual=_device("sessy", device="p1")),
            Model(name="CT meter", usual=_device("sessy", device="ct")),
        ),
    ),
    Page(
        file="sma.md",
        models=(
            Model(name="Sunny Island -12, -13", usual=_device("sma", model=9476)),
            Model(name="Sunny Island -11", usual=_device("sma", model=9278)),
            Model(name="Sunny Boy Storage", usual=_device("sma", model=9356)),
        ),
    ),
)
"""The page of each brand."""
