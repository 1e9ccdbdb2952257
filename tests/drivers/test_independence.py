"""The library stands by itself: without Home Assistant, vendors apart, no cycles."""

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
import subprocess
import sys
from typing import Final

import pytest

from custom_components.homebattery.drivers import DRIVERS

ROOT: Final = Path(__file__).parents[2]
INTEGRATION: Final = ROOT / "custom_components" / "homebattery"

REGISTRY: Final = "drivers"
"""The library's own `__init__`; all others are named from there on."""
THIRD_PARTY: Final = {"aiohttp", "pymodbus", "pysolarmanv5", "umodbus", "yarl"}
GROUND: Final = "the ground floor"
FLOORS: Final = {
    GROUND: 0,
    "modbus": 1,
    "battery": 2,
    "solarman": 2,
    REGISTRY: 4,
    "detection": 5,
}
"""The floor of each package; a package without one is a vendor."""
VENDOR_FLOOR: Final = 3
ON_THE_GROUND: Final = {
    "absence",
    "address",
    "errors",
    "flash",
    "kept",
    "measurements",
    "report",
    "text",
    "written",
}

WITHOUT_HOME_ASSISTANT: Final = """
import sys
for forbidden in ("homeassistant", "voluptuous", "probatio", "custom_components"):
    sys.modules[forbidden] = None  # any import of it fails from here on
sys.path.append(sys.argv.pop(1))
"""


def run_python(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run code with a library that only Python's own path has."""
    command = [sys.executable, "-c", WITHOUT_HOME_ASSISTANT + code, str(INTEGRATION)]
    return subprocess.run(
        [*command, *words], check=False, text=True, capture_output=True
    )


def test_library_is_imported_without_home_assistant() -> None:
    result = run_python("import drivers; print(*sorted(drivers.DRIVERS))")

    assert result.stderr == ""
    assert result.stdout.split() == sorted(DRIVERS)


# Imports -----------------------------------------------------------------------


@dataclass
class Library:
    """The modules of a library by name, each with its imports.

    Read from the source, so that imports for types alone, or late in a function, count
    as well. An import of a module is an arrow to it, not to the packages that it lies
    in: their `__init__` is a door, for users from outside.
    """

    arrows: dict[str, set[str]]
    """Modules of the library; names outside of it begin with `..`."""
    others: dict[str, set[str]]
    """First names of other packages."""
    doors: set[str]

    def all_arrows(self) -> Iterator[tuple[str, str]]:
        """Yield each arrow, in order."""
        for module, targets in sorted(self.arrows.items()):
            yield from ((module, target) for target in sorted(targets))

    def reached_from(self, package: str) -> set[str]:
        """Return all modules that a package needs, with its own."""
        reached: set[str] = set()
        queue = [module for module in self.arrows if package_of(module) == package]
        while queue:
            module = queue.pop()
            if module not in reached:
                reached.add(module)
                queue.extend(self.arrows.get(module, ()))
        return reached


def read_library(folder: Path) -> Library:
    """Return the imports of a folder of modules and packages."""
    files = {module_name(folder, file): file for file in sorted(folder.rglob("*.py"))}
    library = Library(
        {module: set() for module in files},
        {module: set() for module in files},
        {module for module, file in files.items() if file.name == "__init__.py"},
    )
    for module, file in files.items():
        package = file.parent.relative_to(folder).parts
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                library.others[module].update(
                    alias.name.split(".")[0] for alias in node.names
                )
            elif isinstance(node, ast.ImportFrom) and not node.level:
                library.others[module].add((node.module or "").split(".")[0])
            elif isinstance(node, ast.ImportFrom):
                library.arrows[module].update(targets_of(node, package, files))
    return library


def module_name(folder: Path, file: Path) -> str:
    """Return the dotted name of a file; a package has that of its `__init__`."""
    parts = file.relative_to(folder).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or REGISTRY


def targets_of(
    node: ast.ImportFrom, package: tuple[str, ...], modules: Mapping[str, object]
) -> Iterator[str]:
    """Yield the modules that a relative import in a package names."""
    if node.level - 1 > len(package):
        yield f"{'.' * node.level}{node.module or ''}"
        return
    base = [*package[: len(package) - node.level + 1]]
    base += node.module.split(".") if node.module else []
    for alias in node.names:
        inner = ".".join([*base, alias.name])
        yield inner if inner in modules else ".".join(base) or REGISTRY


def package_of(module: str) -> str:
    """Return the package of a module, as named in `FLOORS`."""
    package = module.partition(".")[0]
    return GROUND if package in ON_THE_GROUND else package


def floor_of(module: str) -> int:
    return FLOORS.get(package_of(module), VENDOR_FLOOR)


# The rules: each returns its breaches ------------------------------------------


def from_outside(library: Library) -> list[str]:
    """Return imports of anything but the library, Python and a few packages."""
    allowed = sys.stdlib_module_names | THIRD_PARTY
    return [
        *(f"{a} -> {b}" for a, b in library.all_arrows() if b.startswith("..")),
        *(
            f"{module} -> {name}"
            for module, names in library.others.items()
            for name in sorted(names - allowed)
        ),
    ]


def unknown(library: Library) -> list[str]:
    """Return relative imports that name no module."""
    return [
        f"{a} -> {b}"
        for a, b in library.all_arrows()
        if b not in library.arrows and not b.startswith("..")
    ]


def vendors_apart(library: Library) -> list[str]:
    """Return imports of vendors by others than themselves and the registry."""
    return [
        f"{a} -> {b}"
        for a, b in library.all_arrows()
        if floor_of(b) == VENDOR_FLOOR
        and a != REGISTRY
        and package_of(a) != package_of(b)
    ]


def pymodbus_once(library: Library) -> list[str]:
    return [
        module
        for module, names in library.others.items()
        if "pymodbus" in names and module not in {"modbus.tcp", "modbus.rtu"}
    ]


def solarman_once(library: Library) -> list[str]:
    return [
        module
        for module, names in library.others.items()
        if names & {"pysolarmanv5", "umodbus"} and package_of(module) != "solarman"
    ]


def sessy_alone(library: Library) -> list[str]:
    """Return the modules of a Sessy that import a Modbus library."""
    return [
        module
        for module in sorted(library.reached_from("sessy"))
        if library.others.get(module, set()) & {"pymodbus", "pysolarmanv5", "umodbus"}
    ]


def cycles(library: Library) -> list[str]:
    try:
        TopologicalSorter(library.arrows).prepare()
    except CycleError as err:
        return [" -> ".join(err.args[1])]
    return []


def through_doors(library: Library) -> list[str]:
    """Return imports from a door by a module inside; a one-file battery is outside.

    The registry is both: code for all batteries has them from there.
    """
    return [
        f"{a} -> {b}"
        for a, b in library.all_arrows()
        if b in library.doors
        and not (b == REGISTRY and floor_of(a) > FLOORS[REGISTRY])
        and not ("." not in a and floor_of(a) == VENDOR_FLOOR)
    ]


def upstairs(library: Library) -> list[str]:
    """Return imports of a package that does not lie on a lower floor."""
    return [
        f"{a} -> {b}"
        for a, b in library.all_arrows()
        if package_of(a) != package_of(b) and floor_of(b) >= floor_of(a)
    ]


type Rule = Callable[[Library], list[str]]
BREACHES: Final[Mapping[Rule, tuple[dict[str, str], list[str]]]] = {
    from_outside: (
        {
            "errors.py": "from homeassistant.core import callback\nimport requests",
            "flash.py": "from .. import const",
            "modbus/unit.py": "from ..errors import E\nfrom ...const import DOMAIN",
        },
        [
            "flash -> ..",
            "modbus.unit -> ...const",
            "errors -> homeassistant",
            "errors -> requests",
        ],
    ),
    unknown: (
        {"modbus/unit.py": "from ..mistakes import E", "modbus/__init__.py": ""},
        ["modbus.unit -> mistakes"],
    ),
    vendors_apart: (
        {
            "sma/inverter.py": "from ..victron.inverter import V",
            "victron/inverter.py": "from . import units",
            "victron/units.py": "",
            "detection.py": "from .sma.inverter import S",
            "__init__.py": "from .sma.inverter import S",
        },
        ["detection -> sma.inverter", "sma.inverter -> victron.inverter"],
    ),
    pymodbus_once: (
        {
            "modbus/tcp.py": "from pymodbus.client import C",
            "modbus/rtu.py": "from pymodbus.framer import F",
            "modbus/unit.py": "def late():\n    import pymodbus.pdu",
        },
        ["modbus.unit"],
    ),
    solarman_once: (
        {
            "solarman/frames.py": "import pysolarmanv5, umodbus",
            "deye/solarman.py": "from pysolarmanv5 import P",
            "deye/writer.py": "import umodbus.client",
        },
        ["deye.solarman", "deye.writer"],
    ),
    sessy_alone: (
        {
            "sessy/battery.py": "from ..battery.base import B",
            "battery/base.py": (
                "from typing import TYPE_CHECKING\n"
                "if TYPE_CHECKING:\n    from ..modbus.tcp import T"
            ),
            "modbus/tcp.py": "import pymodbus",
            "solarman/frames.py": "import pysolarmanv5",
        },
        ["modbus.tcp"],
    ),
    cycles: (
        {
            "battery/base.py": "from .readings import R",
            "battery/readings.py": (
                "from typing import TYPE_CHECKING\n"
                "if TYPE_CHECKING:\n    from . import base"
            ),
        },
        ["battery.base -> battery.readings -> battery.base"],
    ),
    through_doors: (
        {
            "modbus/__init__.py": "from .register import R",
            "modbus/register.py": "",
            "sma/registers.py": "from ..modbus import R",
            "sma/conditions.py": "from ..modbus import register",
            "my_new.py": "from .modbus import R",
            "detection.py": "from . import DRIVERS",
            "flash.py": "from . import DRIVERS",
            "__init__.py": "",
        },
        ["flash -> drivers", "sma.registers -> modbus"],
    ),
    upstairs: (
        {
            "errors.py": "from .modbus.unit import U",
            "flash.py": "from .errors import E",
            "modbus/unit.py": "from ..battery.base import B",
            "battery/base.py": "from ..solarman.frames import F",
            "solarman/frames.py": "from ..flash import W",
            "sma/inverter.py": "from ..solarman.frames import F",
        },
        [
            "battery.base -> solarman.frames",
            "errors -> modbus.unit",
            "modbus.unit -> battery.base",
        ],
    ),
}
"""Each rule, with a small library that breaks it, and the breaches."""


@pytest.fixture(scope="module")
def library() -> Library:
    """Return the library itself."""
    return read_library(INTEGRATION / "drivers")


def test_all_of_the_library_is_seen(library: Library) -> None:
    """With arrows of each kind, so that each rule has some to check."""
    assert {"modbus.tcp", "solarman.frames", REGISTRY} <= set(library.arrows)
    assert {
        package_of(driver.__module__.partition("drivers.")[2])
        for driver in (DRIVERS.values())
    } == {package_of(name) for name in library.arrows} - set(FLOORS)
    assert "modbus.register" in library.arrows["victron.registers"]
    assert "detection" not in library.arrows[REGISTRY]
    assert "pymodbus" in library.others["modbus.tcp"]
    assert "pysolarmanv5" in library.others["solarman.frames"]
    assert {"battery", "modbus", "victron", REGISTRY} <= library.doors


@pytest.mark.parametrize("rule", BREACHES, ids=lambda rule: rule.__name__)
def test_library_keeps_the_rule(library: Library, rule: Rule) -> None:
    assert rule(library) == []


@pytest.mark.parametrize("rule", BREACHES, ids=lambda rule: rule.__name__)
def test_breach_of_the_rule_is_reported(tmp_path: Path, rule: Rule) -> None:
    files, breaches = BREACHES[rule]
    for name, code in files.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(code, "utf-8")

    reported = rule(read_library(tmp_path))

    if rule is cycles:
        # A cycle may begin anywhere.
        assert {*reported[0].split(" -> ")} == {*breaches[0].split(" -> ")}
    else:
        assert reported == breaches


def from_doors(folder: Path) -> list[str]:
    """Return the imports of modules above a library from the doors of its packages."""
    doors = {f"drivers.{door}" for door in read_library(folder / "drivers").doors}
    return [
        f"{file.name} -> {node.module}"
        for file in sorted(folder.glob("*.py"))
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level and node.module in doors
    ]


def test_integration_takes_names_from_where_they_are() -> None:
    assert from_doors(INTEGRATION) == []


def test_name_from_a_door_is_reported(tmp_path: Path) -> None:
    (tmp_path / "drivers" / "battery").mkdir(parents=True)
    (tmp_path / "drivers" / "battery" / "__init__.py").write_text("", "utf-8")
    (tmp_path / "drivers" / "battery" / "base.py").write_text("", "utf-8")
    (tmp_path / "sensor.py").write_text(
        "from .drivers import DRIVERS\n"
        "from .drivers.battery import B\n"
        "from .drivers.battery.base import B\n",
        "utf-8",
    )

    assert from_doors(tmp_path) == ["sensor.py -> drivers.battery"]


@pytest.mark.parametrize("vendor", ["victron", "sun2000", "deye", "sessy", "sma"])
def test_door_of_a_vendor_has_its_batteries(vendor: str) -> None:
    code = f"import drivers, drivers.{vendor} as door; print(*door.__all__)"
    kinds = [
        driver.__name__
        for driver in DRIVERS.values()
        if f".drivers.{vendor}." in driver.__module__
    ]

    result = run_python(code)

    assert result.stderr == ""
    assert sorted(result.stdout.split()) == sorted(kinds)


def test_doors_have_the_names_that_a_new_battery_needs() -> None:
    code = (
        "from drivers.battery import Battery, ModbusBattery, SetpointLimits\n"
        "from drivers.modbus import "
        "AccessType, DataType, Layout, ModbusDevice, Register\n"
    )

    assert run_python(code).stderr == ""
