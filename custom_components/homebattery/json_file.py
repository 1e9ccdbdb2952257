"""A JSON file of a battery that survives a power cut, and may be damaged all the same."""

from datetime import UTC, datetime
from hashlib import sha256
import logging
import os
import sys
from typing import Any, Final, override

from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.storage import Store
from homeassistant.util import slugify

from .const import DOMAIN

_LOGGER = logging.getLogger(__name__)

_VERSION: Final = 1
UNREADABLE: Final = (
    HomeAssistantError,
    OSError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
)
"""The errors of Home Assistant for a file that is not as it wrote it."""


def file_name(serial_number: str) -> str:
    """Return the name of a battery's file: unique, and possible on every disk."""
    whole = serial_number.encode("utf-8", "surrogatepass")
    digest = sha256(whole).hexdigest()[:12]
    return f"{DOMAIN}.{slugify(serial_number)[:40]}_{digest}"


class JsonFile(Store[dict[str, Any]]):
    """One file, of any version, on the disk itself once a save is done.

    Written atomically and synced, it survives a power cut.
    """

    def __init__(self, hass: HomeAssistant, name: str) -> None:
        """Describe the file; nothing is read."""
        super().__init__(
            hass,
            _VERSION,
            name,
            atomic_writes=True,
            max_readable_version=sys.maxsize,
        )

    @override
    async def _async_migrate_func(
        self,
        old_major_version: int,
        old_minor_version: int,
        old_data: dict[str, Any],
    ) -> dict[str, Any]:
        """Return the content of another version: each of its parts is checked."""
        return old_data

    async def async_exists(self) -> bool:
        """Return whether there is a file, or anything else, of its name."""
        return await self.hass.async_add_executor_job(os.path.lexists, self.path)

    async def async_read(self) -> tuple[Any, bool]:
        """Return the content, which may be anything, and whether it is damaged.

        None where there is no file. One that cannot be read is moved aside, as Home
        Assistant does with one that is not JSON, to be looked at by the user.
        """
        exists = await self.async_exists()
        try:
            content = await self.async_load()
        except UNREADABLE as err:
            _LOGGER.error("%s cannot be read: %r", self.path, err)
            await self.hass.async_add_executor_job(self._move_aside)
            return None, True
        return content, content is None and exists

    def _move_aside(self) -> None:
        aside = f"{self.path}.corrupt.{datetime.now(UTC).isoformat()}"
        try:
            os.replace(self.path, aside)  # noqa: PTH105
        except OSError as err:
            _LOGGER.error("%s cannot be moved aside: %s", self.path, err)
