"""Fixtures that give each test of this folder a recorder."""

from collections.abc import AsyncIterator
import logging

from homeassistant.core import HomeAssistant
import pytest
from pytest_homeassistant_custom_component.typing import RecorderInstanceContextManager


@pytest.fixture
async def mock_recorder_before_hass(
    async_test_recorder: RecorderInstanceContextManager,
) -> None:
    """Start the recorder, which must exist before Home Assistant."""


@pytest.fixture(autouse=True)
async def _recorder(
    mock_recorder_before_hass: None,
    hass: HomeAssistant,
    async_test_recorder: RecorderInstanceContextManager,
) -> AsyncIterator[None]:
    # Logging every SQL statement would take longer than all the rest.
    logging.getLogger("sqlalchemy.engine").setLevel(logging.WARNING)
    async with async_test_recorder(hass):
        yield
