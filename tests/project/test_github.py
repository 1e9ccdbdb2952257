"""Workflows have minimal permissions; issue forms ask for diagnostics."""

from pathlib import Path
import re
from typing import Final

from homeassistant.const import __version__ as pinned
from homeassistant.util.yaml import load_yaml_dict
import pytest

from . import ROOT

GITHUB: Final = ROOT / ".github"
WORKFLOWS: Final = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS: Final = sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml"))

UNPINNED: Final = {
    "home-assistant/actions/hassfest@master": "its only tag is older than it",
}


def test_there_are_workflows_and_forms() -> None:
    names = [path.stem for path in WORKFLOWS]
    assert names == ["release", "tests", "validate"]
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
            # Text from outside must not become part of a command.
            assert "${{" not in step.get("run", "")
            for script in re.findall(r"scripts/\w+|\.ci/\w+", step.get("run", "")):
                assert (ROOT / script).exists(), script


def test_everything_that_has_to_pass_runs_side_by_side() -> None:
    """Each line of .ci/run is a job; the demo has a job for each release."""
    jobs = load_yaml_dict(GITHUB / "workflows/tests.yml")["jobs"]
    assert not [name for name, job in jobs.items() if "needs" in job]
    commands = [
        step["run"].removesuffix(' --homeassistant "$RELEASE"')
        for job in jobs.values()
        for step in job["steps"]
        if "scripts/" in step.get("run", "")
    ]
    everything = (ROOT / ".ci/run").read_text("utf-8")
    assert commands == re.findall(r"^scripts/.*$", everything, re.MULTILINE)
    releases = jobs["demo"]["strategy"]["matrix"]["homeassistant"]
    assert pinned in releases
    assert len(releases) >= 2


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
