"""The check of `scripts/test` after all tests: the coverage of each module."""

import json
from pathlib import Path
from typing import Any

import pytest

from custom_components.homebattery import config_flow, forms, options_flow, setup_flow
from scripts.coverage_floor import WHOLLY, main, shortfalls

ROOT = Path(__file__).parents[2]


def report(**covered: float) -> dict[str, Any]:
    """Return a report of coverage with the fields that the check reads."""
    shares = {f"{module}.py": share for module, share in covered.items()}
    return {
        "files": {
            module: {"summary": {"percent_covered": share}}
            for module, share in (dict.fromkeys(WHOLLY, 100.0) | shares).items()
        },
        "totals": {"percent_covered": 99.0},
    }


def test_well_covered_modules_are_not_named() -> None:
    assert shortfalls(report(sensor=95.1, lease=100.0)) == []


def test_a_badly_covered_module_is_named_however_well_the_others_are() -> None:
    assert shortfalls(report(sensor=40.0, lease=100.0, keep_alive=95.0)) == [
        "sensor.py: 40.00 % covered, more than 95 % wanted",
        "keep_alive.py: 95.00 % covered, more than 95 % wanted",
    ]


@pytest.mark.parametrize("module", WHOLLY)
def test_the_config_flow_must_be_covered_wholly(module: str) -> None:
    most = report()
    most["files"][module]["summary"]["percent_covered"] = 99.6
    assert shortfalls(most) == [f"{module}: 99.60 % covered, all wanted"]


def test_a_config_flow_that_was_not_measured_is_named() -> None:
    assert shortfalls({"files": {}}) == [f"{each}: was not measured" for each in WHOLLY]
    modules = (config_flow, setup_flow, options_flow, forms)
    assert [Path(str(each.__file__)) for each in modules] == [
        ROOT / each for each in WHOLLY
    ]


@pytest.mark.parametrize(
    ("covered", "status", "said"),
    [
        (96.0, 0, "Each module is covered as it should be.\n"),
        (94.0, 1, "sensor.py: 94.00 % covered, more than 95 % wanted\n"),
    ],
)
def test_the_command_fails_and_says_why(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    covered: float,
    status: int,
    said: str,
) -> None:
    path = tmp_path / "coverage.json"
    path.write_text(json.dumps(report(sensor=covered)))
    assert main(path) == status
    assert capsys.readouterr().out == said


def test_the_command_fails_without_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(tmp_path / "coverage.json") == 1
    assert "is missing" in capsys.readouterr().out
