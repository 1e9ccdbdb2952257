"""The address of a device: the hosts, ports and unit ids that there can be."""

from typing import Final

from .errors import InvalidValueError

HIGHEST_PORT: Final = 65535
HIGHEST_UNIT_ID: Final = 255
_LONGEST_HOST: Final = 253
_LONGEST_LABEL: Final = 63
_NOT_IN_HOSTS: Final = frozenset('/\\?#@"<>|[]')
"""Characters of URLs and the like, which no host name or IP address has."""


def is_host(text: str) -> bool:
    """Return True for a host name or an IP address, as far as its form goes.

    Neither a URL nor with a port: a single colon is that of a port.
    """
    return (
        0 < len(text) <= _LONGEST_HOST
        and text.isprintable()
        and " " not in text
        and text.count(":") != 1
        and _NOT_IN_HOSTS.isdisjoint(text)
        and all(
            0 < len(label) <= _LONGEST_LABEL
            for label in text.removesuffix(".").split(".")
        )
    )


def check_address(host: str, port: int) -> None:
    """Raise InvalidValueError for a host or port that there cannot be."""
    if not is_host(host):
        raise InvalidValueError(
            f"{host[:_LONGEST_HOST]!r}: not an address: a host name or IP address alone"
        )
    if not 0 < port <= HIGHEST_PORT:
        raise InvalidValueError(
            f"{host}:{port}: not an address: ports are 1 to {HIGHEST_PORT}"
        )


def check_unit_ids(host: str, *unit_ids: int | None) -> None:
    """Raise InvalidValueError for a unit id that there cannot be; None is none yet."""
    for unit_id in unit_ids:
        if unit_id is not None and not 0 <= unit_id <= HIGHEST_UNIT_ID:
            raise InvalidValueError(f"{host}: {unit_id} is not a unit id")
