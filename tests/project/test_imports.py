"""The layers of the integration: the imports that are allowed between its modules.

tests/drivers/test_independence.py checks the same within `drivers/`.
"""

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
import subprocess
import sys
from typing import Final

import pytest

from custom_components.homebattery.const import PLATFORMS
from custom_components.homebattery.drivers import DRIVERS

from . import FOLDER, ROOT

type Graph = Mapping[str, frozenset[str]]

LIBRARY: Final = "drivers"
DOOR: Final = "__init__"
"""The module of the package itself."""


def name_of(path: Path, folder: Path) -> str:
    """Return the name of a module inside the component: `sensor`, `control.lease`."""
    parts = path.relative_to(folder).with_suffix("").parts
    if parts[-1] == DOOR and len(parts) > 1:
        parts = parts[:-1]
    return ".".join(parts)


def names_in(folder: Path) -> dict[str, Path]:
    return {name_of(path, folder): path for path in sorted(folder.rglob("*.py"))}


def imported_by(path: Path, folder: Path, names: Mapping[str, Path]) -> Iterator[str]:
    """Yield the modules of the component that a module imports, also for types only.

    `from . import x` imports x where it is a module, else the package. An absolute
    import of the component counts as its relative form.
    """
    package = path.relative_to(folder).parent.parts
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "custom_components":
                    yield ".".join(alias.name.split(".")[2:]) or DOOR
        if not isinstance(node, ast.ImportFrom):
            continue
        module = tuple(node.module.split(".")) if node.module else ()
        if node.level:
            assert node.level <= len(package) + 1, (
                f"{path} reaches out of the component"
            )
            base = (*package[: len(package) + 1 - node.level], *module)
        elif module[0] == "custom_components":
            base = module[2:]
        else:
            continue
        for alias in node.names:
            inner = ".".join((*base, alias.name))
            yield inner if inner in names else ".".join(base) or DOOR


def graph_of(folder: Path) -> Graph:
    names = names_in(folder)
    return {
        name: frozenset(imported_by(path, folder, names))
        for name, path in names.items()
    }


def is_in(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def outside_library(graph: Graph) -> Graph:
    """Return the graph without the driver library."""
    return {
        name: frozenset(each for each in imports if not is_in(each, LIBRARY))
        for name, imports in graph.items()
        if not is_in(name, LIBRARY)
    }


def circle_in(graph: Graph) -> list[str] | None:
    """Return modules that import each other in a circle; None if there are none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as err:
        circle: list[str] = err.args[1]
        return circle
    return None


# Layers

PLATFORM_MODULES: Final = frozenset(platform.value for platform in PLATFORMS)
ABOVE_DATA: Final = PLATFORM_MODULES | {
    DOOR,
    "config_flow",
    "device",
    "diagnostics",
    "discovery",
    "energy",
    "entity",
    "forms",
    "options_flow",
    "repairs",
    "services",
    "setup_flow",
}
"""The modules above an entry's run-time data, which neither that data nor its parts
import."""
VENDORS: Final = frozenset(
    driver.__module__.split(f".{LIBRARY}.")[1].split(".")[0].split("_")[0]
    for driver in DRIVERS.values()
)


def reach_of(graph: Graph, start: str) -> set[str]:
    """Return the modules that a module imports, directly or through others."""
    reached: set[str] = set()
    ahead = [start]
    while ahead:
        for each in graph.get(ahead.pop(), frozenset()) - reached:
            reached.add(each)
            ahead.append(each)
    return reached


def breaches(graph: Graph) -> Iterator[str]:
    """Yield each import that goes against the direction of the layers."""
    of_data = {"data", "coordinator", "control"} | reach_of(graph, "data")
    for name, imports in graph.items():
        if is_in(name, LIBRARY):
            for each in imports:
                if not is_in(each, LIBRARY):
                    yield f"{name} of the library imports {each}"
            continue
        for each in imports & PLATFORM_MODULES:
            yield f"{name} knows the platform {each}"
        if DOOR in imports:
            yield f"{name} imports the package itself"
        if name in of_data or is_in(name, "control"):
            for each in imports & (ABOVE_DATA - PLATFORM_MODULES - {DOOR}):
                yield f"{name} knows {each}, which is above it"
        for each in imports:
            if is_in(each, LIBRARY):
                first = f"{each}..".split(".")[1].split("_")[0]
                if first in VENDORS:
                    yield f"{name} knows the vendor's {each}"


GRAPH: Final = graph_of(FOLDER)


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circle_in(outside_library(GRAPH)) is None


def test_imports_go_down_the_floors() -> None:
    assert list(breaches(GRAPH)) == []


def wire_libraries(source: str) -> set[str]:
    """Return the protocol libraries that a source imports."""
    imported = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    return {name.split(".")[0] for name in imported} & {"pymodbus", "pysolarmanv5"}


def test_only_the_library_imports_what_speaks_to_devices() -> None:
    """tests/drivers/test_independence.py names the module within it that does."""
    sources = {
        name: path.read_text("utf-8")
        for name, path in names_in(FOLDER).items()
        if not is_in(name, LIBRARY)
    }

    assert {name for name, source in sources.items() if wire_libraries(source)} == set()
    assert wire_libraries("from pymodbus.client import X") == {"pymodbus"}
    assert wire_libraries("import pysolarmanv5.x, os") == {"pysolarmanv5"}


def test_all_modules_are_in_the_graph() -> None:
    assert PLATFORM_MODULES | {"data", "control", "coordinator", DOOR} <= GRAPH.keys()
    assert {f"{LIBRARY}.errors", LIBRARY} <= GRAPH.keys()
    assert "coordinator" in GRAPH["data"]
    assert {"victron", "sessy"} <= VENDORS


# Speed


RECORDER: Final = {"homeassistant.components.recorder", "sqlalchemy"}
"""The recorder, and the library that makes its import slow."""


def loaded_with(*modules: str) -> set[str]:
    """Return all modules that Python has loaded after an import of these."""
    code = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        text=True,
        capture_output=True,
        cwd=ROOT,
    )
    return set(result.stdout.split())


def test_the_recorder_is_loaded_only_to_be_used() -> None:
    """It takes as long as all else of the integration, and not everybody has it."""
    component = "custom_components.homebattery"
    ours = [f"{component}.{name}" for name in outside_library(GRAPH) if name != DOOR]
    loaded = loaded_with(component, *ours)

    assert set(ours) <= loaded
    assert loaded & RECORDER == set()
    assert loaded_with("homeassistant.components.recorder.history") >= RECORDER


# These tests can fail


def make_component(folder: Path, **sources: str) -> Graph:
    """Write modules with these sources; `a__b` is `a/b.py`."""
    for name, source in sources.items():
        path = folder / f"{name.replace('__', '/', 1).removesuffix('/')}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(source)
    (folder / "__init__.py").touch()
    for inner in {path.parent for path in folder.rglob("*.py")}:
        (inner / "__init__.py").touch()
    return graph_of(folder)


@pytest.mark.parametrize(
    "sources",
    [
        {"data": "from .coordinator import x", "coordinator": "from .data import y"},
        {
            "a": "from typing import TYPE_CHECKING\n"
            "if TYPE_CHECKING:\n    from .b import x",
            "b": "def f():\n    from . import a",
        },
        {
            "control__lease": "from . import store",
            "control__store": "from . import lease",
        },
        {
            "control__lease": "from ..data import x",
            "data": "from .control import lease",
        },
        {"a": "from . import b", "b": "from custom_components.homebattery.a import x"},
        {"a": "from . import b", "b": "import custom_components.homebattery.a"},
    ],
)
def test_a_circle_is_detected(tmp_path: Path, sources: dict[str, str]) -> None:
    assert circle_in(outside_library(make_component(tmp_path, **sources)))


def test_imports_without_a_circle_are_accepted(tmp_path: Path) -> None:
    graph = make_component(
        tmp_path,
        data="from .control import lease\nimport asyncio",
        control__lease="from ..const import x\nfrom homeassistant import core",
        const="",
        drivers__a="from .b import x",
        drivers__b="from .a import x",
    )
    assert circle_in(outside_library(graph)) is None
    assert graph["data"] == {"control.lease"}
    assert graph["control.lease"] == {"const"}
    assert list(breaches(graph)) == []


@pytest.mark.parametrize(
    ("sources", "breach"),
    [
        (
            {"drivers__battery": "from .. import const", "const": ""},
            "drivers.battery of the library imports const",
        ),
        (
            {"drivers__battery": "from ..const import x", "const": ""},
            "drivers.battery of the library imports const",
        ),
        (
            {"coordinator": "from .entity import x", "entity": ""},
            "coordinator knows entity, which is above it",
        ),
        (
            {"control__lease": "from ..entity import x", "entity": ""},
            "control.lease knows entity, which is above it",
        ),
        (
            {"data": "from .a import x", "a": "from .device import y", "device": ""},
            "a knows device, which is above it",
        ),
        (
            {"services": "from .sensor import x", "sensor": ""},
            "services knows the platform sensor",
        ),
        ({"data": "from . import HomeBatteryData"}, "data imports the package itself"),
        (
            {"sensor": "from .drivers.victron import x", "drivers__victron": ""},
            "sensor knows the vendor's drivers.victron",
        ),
    ],
)
def test_a_breach_is_detected(
    tmp_path: Path, sources: dict[str, str], breach: str
) -> None:
    assert list(breaches(make_component(tmp_path, **sources))) == [breach]
