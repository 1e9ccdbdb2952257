"""The files around the code are as Home Assistant, HACS and GitHub want them.

Each check is also shown a broken copy: one that cannot fail proves nothing.
"""

from collections.abc import Callable
import json
from pathlib import Path
import re
import shutil
from typing import Any, Final
from zipfile import ZipFile

from homeassistant.const import __version__ as home_assistant_version
from homeassistant.helpers import config_validation as cv
from homeassistant.util.yaml import load_yaml_dict, parse_yaml
from packaging.version import Version
from PIL import Image
import pytest

from custom_components import homebattery
from scripts.release import write_zip

from .packaging import (
    OF_INTEGRATION,
    RULES,
    Check,
    brand_problems,
    code_problems,
    dependency_problems,
    hacs_problems,
    icon_problems,
    json_problems,
    manifest_problems,
    quality,
    quality_problems,
    requirement_problems,
    service_problems,
    translation_problems,
)

FOLDER: Final = Path(homebattery.__file__).parent
ROOT: Final = FOLDER.parents[1]


@pytest.mark.parametrize("check", OF_INTEGRATION, ids=lambda check: check.__name__)
def test_nothing_is_wrong(check: Check) -> None:
    assert check(FOLDER) == []


def test_nothing_is_wrong_for_hacs() -> None:
    assert hacs_problems(ROOT) == []


# Broken copies

type Break = Callable[[Path], object]

REMOVED: Final = object()


def put(file: str, *keys: str, value: object = REMOVED) -> Break:
    """Return what sets, or takes away, one value of a JSON file."""

    def change(folder: Path) -> None:
        path = folder / file
        data = json.loads(path.read_text("utf-8"))
        inner: dict[str, Any] = data
        for key in keys[:-1]:
            inner = inner.setdefault(key, {})
        if value is REMOVED:
            del inner[keys[-1]]
        else:
            inner[keys[-1]] = value
        path.write_text(json.dumps(data, indent=2) + "\n", "utf-8")

    return change


def text(file: str, old: str, new: str) -> Break:
    """Return what replaces text of a file, which must be there."""

    def change(folder: Path) -> None:
        before = (folder / file).read_text("utf-8")
        assert old in before
        (folder / file).write_text(before.replace(old, new), "utf-8")

    return change


def gone(file: str) -> Break:
    return lambda folder: (folder / file).unlink()


def picture(file: str, width: int, height: int, *, clear: bool = True) -> Break:
    """Return what replaces a picture by an empty one."""
    colour = (0, 0, 0, 0 if clear else 255)
    return lambda folder: Image.new("RGBA", (width, height), colour).save(folder / file)


def add(file: str, content: str) -> Break:
    return lambda folder: (folder / file).write_text(content, "utf-8")


def said_done(rule: str, damage: Break) -> Break:
    """Return what calls a rule done, whatever it was, and breaks it."""

    def change(folder: Path) -> None:
        path = folder / "quality_scale.yaml"
        before = path.read_text("utf-8")
        entry = rf"^  {rule}:.*\n(?:    .*\n)*"
        after, count = re.subn(entry, f"  {rule}: done\n", before, flags=re.MULTILINE)
        assert count == 1
        path.write_text(after, "utf-8")
        damage(folder)

    return change


MANIFEST, EN, ICONS = "manifest.json", "translations/en.json", "icons.json"
USER = ("config", "step", "sessy")
SOC = ("entity", "sensor", "battery_soc")

BROKEN: Final[list[tuple[Check, Break, str]]] = [
    (json_problems, text(EN, '  "config"', '   "config"'), "not indented by 2"),
    (json_problems, text(EN, '"config"', '"options"'), "options is there twice"),
    (json_problems, add(ICONS, "{,}\n"), "icons.json: "),
    (json_problems, add(ICONS, "{}"), "line break"),
    (manifest_problems, put(MANIFEST, "version"), "version"),
    (manifest_problems, put(MANIFEST, "version", value="new"), "no version"),
    (manifest_problems, put(MANIFEST, "colour", value="red"), "colour"),
    (manifest_problems, put(MANIFEST, "codeowners", value=["me"]), "codeowners"),
    (manifest_problems, put(MANIFEST, "iot_class", value="magic"), "iot_class"),
    (manifest_problems, put(MANIFEST, "dependencies", value=[]), "by alphabet"),
    (manifest_problems, put(MANIFEST, "domain", value="sun"), "Home Assistant's"),
    (manifest_problems, put(MANIFEST, "domain", value="other"), "of the folder"),
    (
        manifest_problems,
        put(MANIFEST, "documentation", value="http://example.com"),
        "documentation",
    ),
    (manifest_problems, put(MANIFEST, "zeroconf", value=["_x._tcp"]), "zeroconf"),
    (
        manifest_problems,
        put(MANIFEST, "zeroconf", value=[{"type": "_x._tcp.local.", "name": "A*"}]),
        "lower case",
    ),
    (
        manifest_problems,
        put(MANIFEST, "dhcp", value=[{"macaddress": "a1b2c3*"}]),
        "macaddress",
    ),
    (
        requirement_problems,
        put(MANIFEST, "requirements", value=["pymodbus==3.13.1"]),
        "before another",
    ),
    (
        requirement_problems,
        put(MANIFEST, "requirements", value=["pymodbus>=3.16,<4"]),
        "Home Assistant has",
    ),
    (
        requirement_problems,
        put(MANIFEST, "requirements", value=["a b"]),
        "a b: ",
    ),
    (
        dependency_problems,
        add("x.py", "from homeassistant.components import energy\n"),
        "energy is not among",
    ),
    (
        dependency_problems,
        add("x.py", "import homeassistant.components.modbus.const\n"),
        "modbus is not among",
    ),
    (
        dependency_problems,
        put(MANIFEST, "dependencies", value=["nothing"]),
        "nothing does not exist",
    ),
    (
        dependency_problems,
        lambda folder: [
            put(MANIFEST, key, value=["modbus"])(folder)
            for key in ("dependencies", "after_dependencies")
        ],
        "modbus is there twice",
    ),
    (code_problems, gone("config_flow.py"), "config_flow.py"),
    (code_problems, put(MANIFEST, "config_flow", value=False), "config_flow.py"),
    (code_problems, text("__init__.py", "CONFIG_SCHEMA", "SCHEMA"), "CONFIG_SCHEMA"),
    (
        code_problems,
        lambda folder: [
            put(MANIFEST, "dhcp", value=[{"registered_devices": True}])(folder),
            add("config_flow.py", "")(folder),
        ],
        "dhcp without a unique id",
    ),
    (
        code_problems,
        lambda folder: [
            put(MANIFEST, "zeroconf", value=["_x._tcp.local."])(folder),
            add("config_flow.py", "")(folder),
        ],
        "no step for zeroconf",
    ),
    (translation_problems, gone(EN), "no en.json"),
    (translation_problems, put(EN, "colours", value={}), "colours"),
    (translation_problems, put(EN, *SOC, "name", value="<b>SOC</b>"), "HTML"),
    (translation_problems, put(EN, *SOC, "name", value="at https://x.y"), "a URL"),
    (translation_problems, put(EN, *SOC, "name", value="SOC "), "a space"),
    (translation_problems, put(EN, *SOC, "name", value="'{x}'"), "single quotes"),
    (translation_problems, put(EN, *SOC, "name", value="{a b}"), "proper name"),
    (translation_problems, put(EN, *SOC, "name", value="{a"), "'{a'"),
    (translation_problems, put(EN, *SOC, "name", value=""), "no text"),
    (translation_problems, put(EN, *SOC, "name", value="[%key:a%]"), "a reference"),
    (translation_problems, put(EN, *SOC, "state", "Full", value="Full"), "Full"),
    (translation_problems, put(EN, *SOC, "state", "a", value="{x}"), "can be none"),
    (translation_problems, put(EN, "entity", "sensors", value={"a": {}}), "sensors"),
    (
        translation_problems,
        put(EN, *USER, "data_description", "x", value="X"),
        "data_description without data: ['x']",
    ),
    (
        translation_problems,
        put(EN, *USER, "sections", "x", "data_description", value={"y": "Y"}),
        "data_description without data: ['y']",
    ),
    (translation_problems, put(EN, "issues", "x", value={"title": "X"}), "issues"),
    (
        translation_problems,
        put("translations/nl.json", *SOC, "name", value=" SOC"),
        "nl.json",
    ),
    (icon_problems, put(ICONS, *SOC, "default", value="hass:sun"), "no icon"),
    (icon_problems, put(ICONS, *SOC, "default", value="mdi:no-such-one"), "no icon"),
    (
        icon_problems,
        put(
            ICONS, *SOC, value={"default": "mdi:battery", "range": {"5": "mdi:battery"}}
        ),
        "repeats the default",
    ),
    (icon_problems, put(ICONS, *SOC, "range", "low", value="mdi:battery"), "low"),
    (icon_problems, put(ICONS, *SOC, "state", "x", value="mdi:battery"), "no state x"),
    (icon_problems, put(ICONS, "entity", "sensor", "x", value={}), "no translation"),
    (icon_problems, put(ICONS, "services", "release", value="mdi:sun"), "release"),
    (service_problems, gone("services.yaml"), "is missing"),
    (service_problems, add("services.yaml", "a: ["), "services.yaml: "),
    (service_problems, add("services.yaml", "Release:\n"), "Release"),
    (service_problems, text("services.yaml", "duration:\n", "x:\n"), "x"),
    (service_problems, put(EN, "services", "release"), "no translation"),
    (service_problems, put(ICONS, "services", "release"), "no icon"),
    (
        service_problems,
        put(EN, "services", "set_power", "fields", "power"),
        "set_power.power has no translation",
    ),
    (quality_problems, gone("quality_scale.yaml"), "is missing"),
    (quality_problems, text("quality_scale.yaml", "devices:", "device:"), "devices"),
    (quality_problems, text("quality_scale.yaml", "brands: done", "brands: ok"), "bra"),
    (
        quality_problems,
        text("quality_scale.yaml", "brands: done", "brands: {status: exempt}"),
        "brands",
    ),
    (quality_problems, gone("py.typed"), "strict-typing"),
    (quality_problems, gone("brand/icon.png"), "brands"),
    (quality_problems, add("sensor.py", ""), "parallel-updates"),
    (quality_problems, gone("diagnostics.py"), "diagnostics"),
    (quality_problems, said_done("repair-issues", gone("repairs.py")), "repair-issues"),
    (
        quality_problems,
        said_done("discovery", add("config_flow.py", "")),
        "discovery is said",
    ),
    (
        quality_problems,
        said_done("reconfiguration-flow", add("config_flow.py", "")),
        "reconfiguration-flow is said",
    ),
    (quality_problems, text("__init__.py", "runtime_data", "x"), "runtime-data"),
    (brand_problems, gone("brand/dark_logo@2x.png"), "is missing"),
    (brand_problems, add("brand/picture.png", ""), "is not used"),
    (brand_problems, picture("brand/icon.png", 128, 128), "128 by 128"),
    (brand_problems, picture("brand/logo.png", 256, 256), "256 by 256"),
    (
        brand_problems,
        picture("brand/icon.png", 256, 256, clear=False),
        "no transparency",
    ),
    (
        brand_problems,
        lambda folder: Image.new("RGB", (256, 256)).save(
            folder / "brand/icon.png", "JPEG"
        ),
        "JPEG",
    ),
]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a copy of the integration that may be broken."""
    target = tmp_path / FOLDER.name
    ignored = shutil.ignore_patterns("__pycache__")
    return Path(shutil.copytree(FOLDER, target, ignore=ignored))


@pytest.mark.parametrize(
    ("check", "damage", "problem"),
    BROKEN,
    ids=[f"{check.__name__}-{problem}" for check, _, problem in BROKEN],
)
def test_what_is_broken_is_found(
    copy: Path, check: Check, damage: Break, problem: str
) -> None:
    assert check(copy) == []
    damage(copy)
    assert problem in "\n".join(check(copy))


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (put("hacs.json", "domains", value=["homebattery"]), "domains"),
        (put("hacs.json", "homeassistant", value="soon"), "no version"),
        (put("hacs.json", "filename"), "go together"),
        (gone("README.md"), "is missing"),
        (gone("custom_components/homebattery/manifest.json"), "0 integrations"),
    ],
)
def test_what_is_broken_for_hacs_is_found(
    tmp_path: Path, damage: Break, problem: str
) -> None:
    inside = "custom_components/homebattery"
    (tmp_path / inside).mkdir(parents=True)
    for name in ("hacs.json", "README.md", f"{inside}/manifest.json"):
        shutil.copy(ROOT / name, tmp_path / name)
    assert hacs_problems(tmp_path) == []
    damage(tmp_path)
    assert problem in "\n".join(hacs_problems(tmp_path))


# What stands in several places


def manifest() -> dict[str, Any]:
    data: dict[str, Any] = json.loads((FOLDER / MANIFEST).read_text("utf-8"))
    return data


def test_versions_agree() -> None:
    hacs = json.loads((ROOT / "hacs.json").read_text("utf-8"))
    least = hacs["homeassistant"]
    assert Version(least) <= Version(home_assistant_version)
    year, month = least.split(".")[:2]
    assert f"Home Assistant {year}.{month} or newer" in (ROOT / "README.md").read_text()
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.search(
        rf"^## {re.escape(manifest()['version'])}\b", changes, re.MULTILINE
    )


def test_examples_can_be_pasted() -> None:
    """Those of automations, as far as their form goes."""
    readme = (ROOT / "README.md").read_text("utf-8")
    examples = re.findall(r"^```yaml\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    assert len(examples) >= 3
    for example in examples:
        automation = parse_yaml(example)
        assert isinstance(automation, dict)
        cv.SCRIPT_SCHEMA(automation["actions"])
        cv.TRIGGER_SCHEMA(automation.get("triggers", []))
        cv.CONDITIONS_SCHEMA(automation.get("conditions", []))


# The page on the quality scale

QUALITY: Final = (ROOT / "docs/quality.md").read_text("utf-8")


def test_quality_page_has_each_rule_with_its_status() -> None:
    rows = re.findall(r"^\| ([a-z-]+) \| (done|todo|exempt) \| ", QUALITY, re.MULTILINE)
    assert rows == [
        (rule, quality(FOLDER)[rule]) for rules in RULES.values() for rule in rules
    ]


def test_quality_page_names_evidence_that_exists() -> None:
    """Files, tests in them, and sections of a page."""
    rows = re.findall(
        r"^\| [a-z-]+ \| (done|todo|exempt) \| (.*) \|$", QUALITY, re.MULTILINE
    )
    assert len(rows) == 54
    for status, evidence in rows:
        links = re.findall(r"\[([^]]+)\]\(([^)#]+)(?:#([^)]+))?\)", evidence)
        assert links or status != "done", evidence
        for _, target, anchor in links:
            path = ROOT / "docs" / target
            assert path.exists(), target
            if anchor:
                assert anchor in anchors(path), f"{target}#{anchor}"
        tests = re.findall(r"`(test_\w+)`", evidence)
        files = "\n".join(
            (ROOT / "docs" / target).read_text("utf-8")
            for _, target, _ in links
            if target.endswith(".py")
        )
        for test in tests:
            assert f"def {test}(" in files, test


def anchors(page: Path) -> set[str]:
    """Return how GitHub calls the sections of a page in links."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in headings
    }


# Releases


def test_release_has_the_integration_at_its_root(tmp_path: Path) -> None:
    target = tmp_path / "homebattery.zip"
    write_zip(FOLDER, target, "v1.2.3")
    with ZipFile(target) as archive:
        names = set(archive.namelist())
        packed = json.loads(archive.read(MANIFEST))
    assert {MANIFEST, "__init__.py", EN, "drivers/sessy.py", "brand/icon.png"} <= names
    assert not [name for name in names if "__pycache__" in name]
    assert packed == {**manifest(), "version": "1.2.3"}
    assert list(packed) == list(manifest())
    assert manifest()["version"] != "1.2.3"
    hacs = json.loads((ROOT / "hacs.json").read_text("utf-8"))
    assert hacs["filename"] == target.name


def test_release_is_always_the_same_for_the_same_files(tmp_path: Path) -> None:
    for name in ("a.zip", "b.zip"):
        write_zip(FOLDER, tmp_path / name, "1.2.3")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_release_needs_a_version(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="latest"):
        write_zip(FOLDER, tmp_path / "a.zip", "latest")


# GitHub

GITHUB: Final = ROOT / ".github"
WORKFLOWS: Final = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS: Final = sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml"))

UNPINNED: Final = {
    "home-assistant/actions/hassfest@master": "its only tag is older than it",
}


def test_there_are_workflows_and_forms() -> None:
    names = [path.stem for path in WORKFLOWS]
    assert names == ["lint", "release", "tests", "validate"]
    assert [path.stem for path in FORMS] == ["battery", "bug", "config"]
    for path in WORKFLOWS + FORMS:
        assert load_yaml_dict(path), path.name


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_may_do_no_more_than_it_must(path: Path) -> None:
    workflow = load_yaml_dict(path)
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        writes = path.stem == "release"
        assert job["permissions"] == {"contents": "write" if writes else "read"}
        assert job["timeout-minutes"] <= 60
        for step in job["steps"]:
            used = step.get("uses")
            assert used is None or used in UNPINNED or re.search(r"@v?\d", used), used
            # What others have written must not become part of a command.
            assert "${{" not in step.get("run", "")
            for script in re.findall(r"scripts/\w+|\.ci/\w+", step.get("run", "")):
                assert (ROOT / script).exists(), script


def test_forms_ask_for_diagnostics_and_say_what_is_taken_out() -> None:
    for path in FORMS:
        if path.stem == "config":
            continue
        form = load_yaml_dict(path)
        assert form["name"] and form["description"]
        ids = [field["id"] for field in form["body"] if "id" in field]
        assert len(ids) == len(set(ids))
        [diagnostics] = [
            field for field in form["body"] if field.get("id") == "diagnostics"
        ]
        for private in ("address", "serial", "password", "user name"):
            assert private in diagnostics["attributes"]["description"]
        for field in form["body"]:
            assert field["type"] in {"markdown", "input", "textarea", "dropdown"}
            assert field["attributes"].get("label") or field["type"] == "markdown"
