"""Print the packages that the demo needs with another release of Home Assistant.

    python3 -m scripts.requirements RELEASE

It is what pyproject.toml needs at run time, in the versions that this release asks for; the
package homeassistant of this release must be installed, but nothing of what it needs itself.
"""

from importlib.util import find_spec
import json
from pathlib import Path
import re
import sys
import tomllib
from typing import Final

PYPROJECT: Final = Path(__file__).parents[1] / "pyproject.toml"

_PIN: Final = re.compile(r"([\w.-]+)==([\w.]+)")


def pinned_requirements() -> list[str]:
    """Return the requirements of pyproject.toml at run time, Home Assistant first."""
    groups = tomllib.loads(PYPROJECT.read_text("utf-8"))["dependency-groups"]
    requirements: list[str] = groups["runtime"]
    return requirements


def constraints(folder: Path) -> dict[str, str]:
    """Return the versions that the release holds every environment to."""
    text = (folder / "package_constraints.txt").read_text("utf-8")
    return {_normal(name): version for name, version in _pins(text.split("\n")).items()}


def requirements_of(release: str, folder: Path) -> list[str]:
    """Return the requirements of a release of Home Assistant, installed in `folder`.

    What that release does not name keeps the version of pyproject.toml.
    """
    pins = {**_asked_by_components(folder), **constraints(folder)}
    pins["homeassistant"] = release
    return [
        f"{name}=={pins.get(_normal(name), version)}"
        for name, version in _pins(pinned_requirements()).items()
    ]


def _asked_by_components(folder: Path) -> dict[str, str]:
    """Return the versions that its integrations would install while they are set up."""
    return {
        _normal(name): version
        for path in folder.glob("components/*/manifest.json")
        for name, version in _pins(
            json.loads(path.read_text("utf-8")).get("requirements", [])
        ).items()
    }


def _pins(requirements: list[str]) -> dict[str, str]:
    """Return the versions of those requirements that allow just one."""
    pins = [_PIN.fullmatch(requirement.strip()) for requirement in requirements]
    return {pin[1]: pin[2] for pin in pins if pin}


def _normal(name: str) -> str:
    """Return a name as the package index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    spec = find_spec("homeassistant")
    if spec is None or spec.origin is None:
        sys.exit("the package homeassistant is not installed")
    print("\n".join(requirements_of(sys.argv[1], Path(spec.origin).parent)))
