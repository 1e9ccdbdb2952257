"""Lets each test here have a recorder."""

from collections.abc import AsyncIterator
import logging

from homeassistant.core import HomeAssistant
import pytest
from pytest_homeassistant_custom_component.typing import RecorderInstanceContextManager


@pytest.fixture
async def mock_recorder_before_hass(
    async_test_recorder: RecorderInstanceContextManager,
) -> None:
    """Let there be a recorder: it must be there before Home Assistant is."""


@pytest.fixture(autouse=True)
async def _recorder(
    mock_recorder_before_hass: None,
    hass: HomeAssistant,
    async_test_recorder: RecorderInstanceContextManager,
) -> AsyncIterator[None]:
    # Every statement would be logged, and that takes longer than all the rest.
    logging.getLogger("sqlalchemy.engine").setLevel(logging.WARNING)
    async with async_test_recorder(hass):
        yield
