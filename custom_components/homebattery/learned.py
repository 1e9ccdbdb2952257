"""The file of what a battery has learned about its reads."""

from collections.abc import Mapping
from typing import Any, Final

from homeassistant.core import HomeAssistant, callback

from .json_file import JsonFile, file_name

_END: Final = ".learned"
"""The end of the file's name."""


class LearnedStore:
    """Keep what a battery has learned in a file of its own, by its serial number.

    Nothing depends on it but a few requests: a file that is damaged is as none.
    """

    def __init__(self, hass: HomeAssistant, unique_id: str) -> None:
        """Describe the file; nothing is read."""
        self._file = JsonFile(hass, f"{file_name(unique_id)}{_END}")

    async def async_load(self) -> Any:
        """Return the content of the file, which may be anything; None without one."""
        content, _ = await self._file.async_read()
        return content

    @callback
    def keep(self, learned: Mapping[str, Any]) -> None:
        """Write the file soon."""
        self._file.async_delay_save(lambda: dict(learned))

    async def async_remove(self) -> None:
        """Delete the file."""
        await self._file.async_remove()
