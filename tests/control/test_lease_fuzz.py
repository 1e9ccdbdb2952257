"""Any content of the files of a lease: a battery's set-up works, whatever they say."""

from contextlib import suppress
from datetime import UTC, datetime
import json
from pathlib import Path
from typing import Any, Final

from homeassistant.config_entries import ConfigEntryState
from homeassistant.exceptions import HomeAssistantError
from hypothesis import HealthCheck, given, settings, strategies as st
import pytest

from custom_components.homebattery.control.store import COPY, LeaseStore
from custom_components.homebattery.drivers.flash import FlashWear
from tests.home import Home, one_of_each_protocol
from tests.strategies import JSON, TEXTS, damaged, damaged_text, share_of_examples

from .lease_support import file_of
from .on_disk import folder, hass_config_dir, hass_storage

__all__ = ["folder", "hass_config_dir", "hass_storage"]

pytestmark = pytest.mark.usefixtures("few_sensors")

_ENDS: Final = st.one_of(
    st.datetimes(timezones=st.timezones() | st.just(UTC)).map(datetime.isoformat),
    st.sampled_from(
        [
            "0001-01-01T00:00:00+23:59",
            "9999-12-31T23:59:59.999999-23:59",
            "9999-12-31T23:59:59+00:00",
            "2026-11-27T12:00:00Z",
            "2026-W48-5T12:00+01",
        ]
    ),
)


@st.composite
def contents(draw: st.DrawFn, whole: bytes) -> bytes:
    """Return any content that a file may have."""
    file: dict[str, Any] = json.loads(whole)
    if "lease" in file["data"] and draw(st.booleans()):
        lease = file["data"]["lease"]
        lease["expires"] = draw(_ENDS)
        lease["duration"] = draw(st.none() | st.floats() | st.integers(0, 10**10))
    text: str = draw(
        st.one_of(
            st.just(json.dumps(file)),
            damaged(file).map(json.dumps),
            damaged(file, most=12).map(json.dumps),
            damaged_text(file),
            JSON.map(json.dumps),
            JSON.map(lambda data: json.dumps({**file, "data": data})),
            TEXTS,
        )
    )
    return text.encode("utf-8", "surrogatepass")


@pytest.fixture
async def held(home: Home) -> Home:
    """Return a battery that was held at a power, and whose file is there."""
    await home.set_power(600)
    return home


def remove(folder: Path, name: str) -> None:
    """Remove the files of a lease, also those set aside."""
    for each in folder.glob(f"{name}*"):
        each.unlink()


reusing_fixtures: Final = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@share_of_examples(1 / 5, reusing_fixtures)
@given(data=st.data())
async def test_any_files_are_read_as_a_snapshot_that_can_be_restored_or_as_unknown(
    held: Home, folder: Path, data: st.DataObject
) -> None:
    battery = held.data.battery
    name = file_of(held)
    whole = json.loads((folder / name).read_bytes())
    parts = set(whole["data"]["lease"]["found"])
    main = data.draw(contents((folder / name).read_bytes()))
    copied = data.draw(contents((folder / f"{name}{COPY}").read_bytes()))
    wear = FlashWear()
    store = LeaseStore(held.hass, "other")
    paths = [Path(store._file.path), Path(store._copy.path)]
    for path, content in zip(paths, (main, copied), strict=True):
        path.write_bytes(content)
    await store.async_load(wear)
    recovered = store.recover(battery)
    assert set(recovered.snapshot) <= parts
    assert all(len(key) < 100 and key.isprintable() for key in store.unknown)
    assert 0 <= wear.writes_today <= 100_000
    remove(folder, paths[0].name)


@one_of_each_protocol
@share_of_examples(1 / 20, reusing_fixtures)
@given(data=st.data())
async def test_any_files_let_a_battery_be_set_up_and_released(
    held: Home, folder: Path, data: st.DataObject
) -> None:
    hass, entry, name = held.hass, held.entry, file_of(held)
    if entry.state is not ConfigEntryState.LOADED:
        assert await held.set_up()
    control = held.data.control
    await control.async_accept()
    await held.set_power(600)
    names = (name, f"{name}{COPY}")
    files = [data.draw(contents((folder / each).read_bytes())) for each in names]
    # It ends as in a crash: without releasing.
    held.data.battery.snapshot = None
    control._leased._end()
    await hass.config_entries.async_unload(entry.entry_id)
    for each, content in zip(names, files, strict=True):
        (folder / each).write_bytes(content)

    assert await held.set_up()

    assert held.entry_is(ConfigEntryState.LOADED)
    assert held.state("control_mode") in ("automatic", "manual")
    with suppress(HomeAssistantError):
        await held.choose("automatic")
