"""The manifest is valid for Home Assistant and HACS, and agrees with other files."""

from importlib.metadata import version
import json
import tomllib
from typing import Any, Final

from homeassistant.core import HomeAssistant
from homeassistant.loader import Manifest, async_get_integration
from packaging.requirements import Requirement
from pydantic import TypeAdapter

from custom_components.homebattery.const import DOMAIN
from scripts.requirements import constraints, pinned_requirements
from tests.drivers.test_independence import THIRD_PARTY

from . import CORE, FOLDER, ROOT

MANIFEST: Final[dict[str, Any]] = json.loads(
    (FOLDER / "manifest.json").read_text("utf-8")
)
PROJECT: Final[dict[str, Any]] = tomllib.loads(
    (ROOT / "pyproject.toml").read_text("utf-8")
)["project"]
REQUIREMENTS: Final = [Requirement(each) for each in MANIFEST["requirements"]]

ASKED_BY_HACS: Final = {
    *("domain", "name", "version", "codeowners", "documentation", "issue_tracker")
}


def test_keys_and_kinds_of_values_are_those_that_home_assistant_knows() -> None:
    TypeAdapter(Manifest).validate_python(MANIFEST, strict=True, extra="forbid")
    assert MANIFEST.keys() >= ASKED_BY_HACS
    others = sorted(MANIFEST.keys() - {"domain", "name"})
    assert list(MANIFEST) == ["domain", "name", *others]


async def test_home_assistant_finds_the_integration_with_its_files(
    hass: HomeAssistant,
) -> None:
    """It ignores one with an invalid version, or in a folder of another name."""
    integration = await async_get_integration(hass, DOMAIN)
    assert integration.file_path == FOLDER
    assert not integration.is_built_in
    assert integration.has_translations
    assert integration.has_services
    assert integration.has_branding
    for other in (*integration.dependencies, *integration.after_dependencies):
        assert (await async_get_integration(hass, other)).is_built_in


def test_requirements_can_be_installed_beside_those_of_others() -> None:
    """All integrations share one environment.

    Pinning a package that Home Assistant pins breaks either at the next change.
    """
    held = constraints(CORE)
    ranges = {each.name for each in REQUIREMENTS if not is_exact(each)}
    assert ranges == {each.name for each in REQUIREMENTS if each.name in held}
    for each in REQUIREMENTS:
        assert each.specifier.contains(held.get(each.name, version(each.name)))


def test_requirements_are_what_is_tested_with() -> None:
    pinned = {each.name: each for each in map(Requirement, pinned_requirements())}
    for each in REQUIREMENTS:
        assert pinned[each.name].specifier.contains(version(each.name))
        assert each.specifier.contains(version(each.name))
        assert not is_exact(each) or each == pinned[each.name]


def is_exact(requirement: Requirement) -> bool:
    return {each.operator for each in requirement.specifier} == {"=="}


def test_library_by_itself_needs_what_the_drivers_import() -> None:
    """In the versions that are tested, and no other minor version of pymodbus."""
    needed = {each.name: each for each in map(Requirement, PROJECT["dependencies"])}
    assert {name.lower() for name in needed} == THIRD_PARTY
    assert {each.name for each in REQUIREMENTS} <= needed.keys()
    assert not needed["pymodbus"].specifier.contains("3.14.0")
    for each in [*needed.values(), *REQUIREMENTS]:
        assert each.specifier.contains(version(each.name))
