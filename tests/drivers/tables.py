"""The registers in the tables of a driver, however these are nested."""

from collections.abc import Iterator, Mapping

from custom_components.homebattery.drivers.modbus.register import Register


def registers_in(table: object) -> Iterator[Register]:
    """Yield the registers of a table, or of a table of tables."""
    match table:
        case Register():
            yield table
        case tuple() | list():
            for part in table:
                yield from registers_in(part)
        case Mapping():
            yield from registers_in(list(table.values()))
