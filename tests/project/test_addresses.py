"""Addresses of this project, wherever they stand, are those of one repository.

A project that moves changes `REPOSITORY`; the tests then name all that is still the old one.
"""

from collections.abc import Iterator
import json
import re
from typing import Final
from urllib.parse import parse_qs, urlsplit

from homeassistant.components.blueprint.importer import _get_github_import_url
from homeassistant.util.yaml import load_yaml_dict
import pytest

from custom_components.homebattery.const import DOMAIN

from . import ROOT
from .test_links import FOLDERS, anchors
from .test_manifest import MANIFEST

REPOSITORY: Final = "https://github.com/homebattery/homebattery"
ACCOUNT, NAME = REPOSITORY.split("/")[-2:]
FILES: Final = f"{REPOSITORY}/blob/main/"
"""The beginning of the address of a file, as a browser shows it."""
FOLDERS_AT: Final = f"{REPOSITORY}/tree/main/"
RAW: Final = f"https://raw.githubusercontent.com/{ACCOUNT}/{NAME}/main/"
OF_GITHUB: Final = {f"{REPOSITORY}/issues", f"{REPOSITORY}/issues/new/choose"}
"""Pages that GitHub makes for a repository."""

BLUEPRINTS: Final = sorted(
    str(file.relative_to(ROOT)) for file in (ROOT / "blueprints").rglob("*.yaml")
)
ENDINGS: Final = {".md", ".json", ".yaml", ".yml", ".js", ".py", ".toml"}
ADDRESS: Final = re.compile(r"https?://[^\s)\"'`<>]+")
OF_PROJECT: Final = re.compile(
    rf"https?://(github|raw\.githubusercontent)\.com/[\w.-]+/{NAME}(?![\w.-])"
)
MY: Final = "https://my.home-assistant.io/redirect/"


def addresses(text: str) -> Iterator[str]:
    """Yield the addresses of this project that stand in a text."""
    yield from filter(OF_PROJECT.match, ADDRESS.findall(text))


def all_addresses() -> dict[str, list[str]]:
    """Return the addresses of this project by the file in which they stand."""
    files = [*ROOT.iterdir(), *(file for each in FOLDERS for file in each.rglob("*"))]
    return {
        str(file.relative_to(ROOT)): present
        for file in files
        if file.suffix in ENDINGS
        and file.is_file()
        and (present := list(addresses(file.read_text("utf-8"))))
    }


def leads_somewhere(address: str) -> bool:
    """Return whether an address of the repository is a page, a file or a folder of it.

    The section after `#` must be a heading of the file; of README for the repository.
    """
    target, _, section = address.partition("#")
    if target in OF_GITHUB:
        return not section
    beginning = next(filter(target.startswith, (FILES, FOLDERS_AT, RAW)), None)
    if beginning is None and target != REPOSITORY:
        return False
    path = ROOT / (target.removeprefix(beginning) if beginning else "README.md")
    if beginning == FOLDERS_AT:
        return path.is_dir() and not section
    return path.is_file() and (
        not section or section in anchors(path.read_text("utf-8"))
    )


def buttons(page: str) -> list[tuple[str, dict[str, str]]]:
    """Return the one-click links of a page: what each is for, and what it says."""
    text = (ROOT / page).read_text("utf-8")
    links = [each for each in ADDRESS.findall(text) if each.startswith(MY)]
    return [
        (
            urlsplit(link).path.split("/")[2],
            {name: value for name, (value,) in parse_qs(urlsplit(link).query).items()},
        )
        for link in links
    ]


# The manifest, and all that speaks of the repository


def test_the_manifest_has_the_address_of_the_repository() -> None:
    assert MANIFEST["documentation"] == REPOSITORY
    assert MANIFEST["issue_tracker"] == f"{REPOSITORY}/issues"
    assert MANIFEST["codeowners"] == [f"@{ACCOUNT}"]


def test_all_addresses_are_in_the_repository() -> None:
    present = all_addresses()
    assert {
        "custom_components/homebattery/manifest.json",
        "custom_components/homebattery/frontend/strategy.js",
        ".github/ISSUE_TEMPLATE/config.yml",
        *BLUEPRINTS,
    } <= set(present)
    elsewhere = {
        file: address
        for file, each in present.items()
        for address in each
        if not re.match(rf"({re.escape(REPOSITORY)}|{re.escape(RAW)})\b", address)
    }
    assert elsewhere == {}


def test_what_they_lead_to_is_there() -> None:
    for file, each in all_addresses().items():
        for address in each:
            assert leads_somewhere(address), f"{file}: {address}"


@pytest.mark.parametrize(
    "path",
    [
        "/tree/main/nowhere",
        "/blob/main/nowhere.md",
        "/blob/main/README.md#nowhere",
        "/nowhere",
        "#nowhere",
    ],
)
def test_an_address_that_leads_nowhere_is_noticed(path: str) -> None:
    assert not leads_somewhere(REPOSITORY + path)


@pytest.mark.parametrize(
    "address",
    [
        f"https://github.com/somebody/{NAME}",
        f"https://raw.githubusercontent.com/somebody/{NAME}/main/README.md",
    ],
)
def test_an_address_elsewhere_is_noticed(address: str) -> None:
    assert list(addresses(f"See [it]({address}).")) == [address]
    assert not address.startswith((REPOSITORY, RAW))


# Blueprints


@pytest.mark.parametrize("path", BLUEPRINTS)
def test_a_blueprint_names_the_address_it_comes_from(path: str) -> None:
    blueprint = load_yaml_dict(ROOT / path)["blueprint"]
    assert blueprint["source_url"] == FILES + path
    # Home Assistant imports it from there.
    assert _get_github_import_url(blueprint["source_url"]) == RAW + path


# Buttons


def test_the_buttons_of_the_readme_install_and_add_the_integration() -> None:
    assert (ROOT / "hacs.json").is_file()
    assert buttons("README.md")[:2] == [
        (
            "hacs_repository",
            {"owner": ACCOUNT, "repository": NAME, "category": "integration"},
        ),
        ("config_flow_start", {"domain": DOMAIN}),
    ]


@pytest.mark.parametrize("page", ["README.md", "docs/blueprints.md"])
def test_each_blueprint_has_a_button_that_imports_it(page: str) -> None:
    imported = [
        asked["blueprint_url"]
        for action, asked in buttons(page)
        if action == "blueprint_import"
    ]
    assert sorted(imported) == [FILES + path for path in BLUEPRINTS]


def test_buttons_have_the_picture_of_what_they_do() -> None:
    """A picture that says something else would lead to a wrong click."""
    for page in ("README.md", "docs/blueprints.md"):
        text = (ROOT / page).read_text("utf-8")
        pairs = re.findall(
            rf"\[!\[([^\]]+)\]\(https://my\.home-assistant\.io/badges/(\w+)\.svg\)\]"
            rf"\({re.escape(MY)}(\w+)/",
            text,
        )
        assert len(pairs) == len(buttons(page))
        assert all(alt and badge == action for alt, badge, action in pairs)


def test_the_page_of_the_dashboard_is_known_to_the_strategy() -> None:
    script = (ROOT / "custom_components/homebattery/frontend/strategy.js").read_text()
    assert json.dumps(f"{FILES}docs/dashboard.md") in script
