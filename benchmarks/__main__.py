"""Measure, and make docs/performance.md anew: `scripts/benchmark`."""

import argparse
import asyncio
import logging

from . import many, peers, polls, setpoint, setup, soak
from .kept import FOLDER, PAGE, keep, kept_in, measured
from .page import section, write_page

PARTS = {
    part.name: part
    for part in (
        polls.PART,
        peers.PART,
        setpoint.PART,
        setup.PART,
        many.PART,
        soak.PART,
    )
}


def main() -> None:
    """Measure the parts that are named, show them, and write the page."""
    parser = argparse.ArgumentParser(
        prog="scripts/benchmark",
        description="Measure, and make docs/performance.md anew. The results of each "
        "part are kept in .cache/benchmarks/results, so that parts can be measured "
        "one by one.",
    )
    parser.add_argument(
        "parts",
        nargs="*",
        metavar="PART",
        help=f"{', '.join(PARTS)}; all of them unless given",
    )
    parser.add_argument(
        "--short",
        action="store_true",
        help="measure less, show it, keep nothing, and let the page be",
    )
    parser.add_argument(
        "--page", action="store_true", help="measure nothing, write the page only"
    )
    arguments = parser.parse_args()
    names = arguments.parts or [*PARTS]
    if unknown := [each for each in names if each not in PARTS]:
        parser.error(f"there is no part {unknown[0]}, only {', '.join(PARTS)}")
    # Home Assistant warns of each integration that is not its own.
    logging.disable(logging.WARNING)
    for name in names if not arguments.page else ():
        _measure(name, short=arguments.short)
    if not arguments.short:
        kept = {name: kept_in(FOLDER, name) for name in PARTS}
        write_page([*PARTS.values()], {name: one for name, one in kept.items() if one})
        print(f"Written: {PAGE}")


def _measure(name: str, *, short: bool) -> None:
    """Measure a part, show it, and keep it unless that was short."""
    part = PARTS[name]
    print(f"Measuring: {part.title} …", flush=True)
    one = asyncio.run(measured(part, short=short))
    if not short:
        keep(FOLDER, name, one)
    print(section(part, one), flush=True)


if __name__ == "__main__":
    main()
