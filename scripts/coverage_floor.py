"""Hold each module to its own floor of coverage, which a share of all modules hides.

    python3 -m scripts.coverage_floor REPORT

REPORT is what coverage has measured, as JSON. A small module without tests hardly shows
in the share of all of them, and coverage itself can be held to that share alone.
"""

import json
from pathlib import Path
import sys
from typing import Any, Final

# In percent, of lines and branches; the quality scale asks for both.
ABOVE: Final = 95
FOLDER: Final = "custom_components/homebattery"
WHOLLY: Final = tuple(
    f"{FOLDER}/{name}.py"
    for name in ("config_flow", "setup_flow", "options_flow", "forms")
)
"""The configuration flow, wherever its lines stand."""


def shortfalls(report: dict[str, Any]) -> list[str]:
    """Return the modules that are not covered as they should be, a line for each."""
    missing = []
    for module, measured in report["files"].items():
        share = measured["summary"]["percent_covered"]
        if module in WHOLLY and share < 100:
            missing.append(f"{module}: {share:.2f} % covered, all wanted")
        elif share <= ABOVE:
            missing.append(
                f"{module}: {share:.2f} % covered, more than {ABOVE} % wanted"
            )
    # Under another name it would no longer be held to anything.
    missing += [
        f"{each}: was not measured" for each in WHOLLY if each not in report["files"]
    ]
    return missing


def main(path: Path) -> int:
    """Print what falls short; return the status for the command line."""
    if not path.exists():
        print(f"{path}: is missing; nothing was measured")
        return 1
    missing = shortfalls(json.loads(path.read_text("utf-8")))
    print("\n".join(missing) or "Each module is covered as it should be.")
    return 1 if missing else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1])))
