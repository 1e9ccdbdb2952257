"""Measurements of the drivers, of Home Assistant with them, and of other libraries.

    scripts/benchmark           all of them, and docs/performance.md made anew
    scripts/benchmark polls     one of them; the page keeps the others as they were

A part is a module with `TABLES`, which says how its figures are shown, and `run`, which
measures them. Devices are simulated in other processes, behind a relay that counts
requests and delays answers, so that what a driver costs is its own.
"""
