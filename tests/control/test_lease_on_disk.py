"""The lease on a real disk, damaged: set-up works, and what is known is restored."""

from collections.abc import Callable, Mapping
from datetime import timedelta
import json
from pathlib import Path
from typing import Any, Final

from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.storage import Store
from homeassistant.util import dt as dt_util
import pytest

from custom_components.homebattery.control.lease_file import former_file_name
from custom_components.homebattery.control.store import COPY
from tests.home import Home, MakeHome, one_of_each_protocol, plain_with
from tests.simulators import HuaweiSimulator

from .lease_support import changed, file_of, issues
from .on_disk import crash, folder, hass_config_dir, hass_storage, start_with

__all__ = ["folder", "hass_config_dir", "hass_storage"]

pytestmark = pytest.mark.usefixtures("few_sensors")

# A damaged file

type Damage = Callable[[dict[str, Any]], Any]
"""Changes the JSON of a file, or returns other content: JSON, or bytes."""


def put(*path: str, value: Any) -> Damage:
    def damage(file: dict[str, Any]) -> None:
        place: Any = file
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return damage


def drop(*path: str) -> Damage:
    def damage(file: dict[str, Any]) -> None:
        place: Any = file
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]

    return damage


def every_part(value: Any) -> Damage:
    """Put a value in the place of each part of the snapshot."""

    def damage(file: dict[str, Any]) -> None:
        lease = file["data"]["lease"]
        lease["found"] = dict.fromkeys(lease["found"], value)

    return damage


def nested(levels: int) -> Any:
    """Return lists in lists, each of which can be read and not all be walked."""
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


DATA, LEASE = ("data",), ("data", "lease")
DEEP: Final = nested(900)
HARMLESS: Final[Mapping[str, Damage]] = {
    "extra keys": put(*DATA, "future", value={"a": [1]}),
    "extra key of the lease": put(*LEASE, "future", value=1),
    "extra part of the snapshot, deeply nested": put(
        *LEASE, "found", "future", value=DEEP
    ),
    "no duration, as in the first version": drop(*LEASE, "duration"),
    "version 7": put("version", value=7),
}
"""Damage that costs nothing."""
MILD: Final[Mapping[str, Damage]] = {
    "flash count a text": put(*DATA, "flash_writes", value="many"),
    "flash count negative": put(*DATA, "flash_writes", value=-1),
    "flash count huge": put(*DATA, "flash_writes", value=2**63),
    "flash count missing": drop(*DATA, "flash_writes"),
    "flash day no date": put(*DATA, "flash_day", value="2026-13-45"),
    "flash day a number": put(*DATA, "flash_day", value=20261127),
    "flash day missing": drop(*DATA, "flash_day"),
    "left a text": put(*DATA, "left", value="no"),
    "power a text": put(*LEASE, "power", value="600"),
    "power huge": put(*LEASE, "power", value=1e300),
    "power missing": drop(*LEASE, "power"),
    "current a list": put(*LEASE, "current", value=[1]),
    "phases a list": put(*LEASE, "phases", value=[600]),
    "phases with odd keys": put(*LEASE, "phases", value={"one": 600}),
    "phases with odd values": put(*LEASE, "phases", value={"1": None}),
    "end no time": put(*LEASE, "expires", value="tomorrow"),
    "end without a time zone": put(*LEASE, "expires", value="2126-01-01T00:00:00"),
    "end a number": put(*LEASE, "expires", value=1e18),
    "end missing": drop(*LEASE, "expires"),
    "duration huge": put(*LEASE, "duration", value=1e18),
    "duration a text": put(*LEASE, "duration", value="1:00"),
    "unknown a number": put(*DATA, "unknown", value=5),
}
"""Damage that leaves the snapshot whole."""
SEVERE: Final[Mapping[str, Damage]] = {
    "snapshot missing": drop(*LEASE, "found"),
    "snapshot a list": put(*LEASE, "found", value=[1, 2]),
    "snapshot empty": put(*LEASE, "found", value={}),
    "snapshot of another device": put(*LEASE, "found", value={"odd": 1}),
    "parts of the snapshot null": every_part(None),
    "parts of the snapshot lists": every_part([1]),
    "parts of the snapshot true": every_part(True),
    "parts of the snapshot huge": every_part(1e300),
    "parts of the snapshot deeply nested": every_part(DEEP),
    "lease missing": drop(*DATA, "lease"),
    "lease a text": put(*DATA, "lease", value="held"),
    "data a list": put("data", value=[]),
    "data null": put("data", value=None),
    "no data": drop("data"),
    "no version": drop("version"),
    "version a text": put("version", value="one"),
    "a list": lambda file: [file],
    "null": lambda _: None,
    "empty object": lambda _: {},
    "empty": lambda _: b"",
    "truncated": lambda file: json.dumps(file).encode()[:-20],
    "not a number": lambda file: json.dumps(file).replace("600", "NaN").encode(),
    "binary": lambda _: bytes(range(256)),
    "zeros": lambda _: bytes(4096),
    "deeply nested": lambda _: b"[" * 100_000,
}
"""Damage that may have destroyed the snapshot."""
TYPICAL: Final = ("truncated", "data null", "parts of the snapshot null")


def as_bytes(damage: Damage, content: bytes) -> bytes:
    file = json.loads(content)
    before = json.dumps(file)
    damaged = damage(file)
    if isinstance(damaged, bytes):
        return damaged
    return json.dumps(file if before != json.dumps(file) else damaged).encode()


@pytest.fixture
async def held(home: Home) -> Home:
    """Return a battery that is held at a power for an hour."""
    await home.data.control.async_set_power(600, timedelta(hours=1))
    return home


async def start_damaged(
    held: Home, make_home: MakeHome, folder: Path, damage: Damage, *, copied: bool
) -> Home:
    """Return the next start after damage to the file; its copy is whole, or missing."""
    name = file_of(held)
    files = {name: as_bytes(damage, (folder / name).read_bytes())}
    if copied:
        files[f"{name}{COPY}"] = (folder / f"{name}{COPY}").read_bytes()
    return await start_with(files, held, make_home, folder)


@pytest.mark.parametrize("form", HARMLESS)
@plain_with("sessy")
async def test_file_with_all_that_is_needed_is_used_as_it_is(
    held: Home, make_home: MakeHome, folder: Path, form: str
) -> None:
    alive = await start_damaged(held, make_home, folder, HARMLESS[form], copied=False)
    assert alive.data.control.requested_power == 600
    assert issues(alive) == set()


@pytest.mark.parametrize("form", MILD)
@plain_with("sessy")
async def test_battery_is_restored_where_the_snapshot_is_whole(
    held: Home, make_home: MakeHome, folder: Path, form: str
) -> None:
    alive = await start_damaged(held, make_home, folder, MILD[form], copied=False)
    assert issues(alive) == {"lease_damaged"}
    await alive.choose("automatic")
    assert alive.simulator.state()["mode"] == "automatic"
    await alive.set_power(-500)
    assert alive.data.control.requested_power == -500
    await alive.data.control.async_accept()
    assert issues(alive) == set()
    assert alive.data.control.requested_power == -500


@pytest.mark.parametrize("form", SEVERE)
@plain_with("sessy")
async def test_held_state_is_never_taken_for_the_users_own(
    held: Home, make_home: MakeHome, folder: Path, form: str
) -> None:
    """Without a copy: the user sets the device right by hand, and confirms that."""
    alive = await start_damaged(held, make_home, folder, SEVERE[form], copied=False)
    control = alive.data.control
    if alive.simulator.type == "sma":
        # It is released in full without a snapshot, which is then no loss: a setpoint
        # that is known is held until its end.
        await alive.choose("automatic")
        assert alive.state("control_mode") == "automatic"
        assert alive.simulator.state()["mode"] == "automatic"
        return
    assert issues(alive) == {"lease_damaged"}
    assert alive.state("control_mode") == "manual"
    assert alive.state("control_status") == "release_failed"
    with pytest.raises(HomeAssistantError, match="file with its former settings"):
        await alive.set_power(600)

    # Nor after one more start.
    await alive.hass.config_entries.async_reload(alive.entry.entry_id)
    await alive.hass.async_block_till_done()
    assert issues(alive) == {"lease_damaged"}
    control = alive.data.control
    with pytest.raises(HomeAssistantError, match="file with its former settings"):
        await alive.set_power(600)

    await control.async_accept()
    assert issues(alive) == set()
    assert alive.state("control_mode") == "automatic"
    by_hand = alive.simulator.settings_words()
    await alive.set_power(-500)
    await alive.choose("automatic")
    assert changed(by_hand, alive.simulator) == {}


@pytest.mark.parametrize(
    "form",
    [
        pytest.param(form, marks=[] if form in TYPICAL else pytest.mark.long)
        for form in SEVERE
    ],
)
@one_of_each_protocol
async def test_battery_is_restored_from_the_copy(
    home: Home, make_home: MakeHome, folder: Path, form: str
) -> None:
    original = home.simulator.settings_words()
    await home.set_power(600)
    alive = await start_damaged(home, make_home, folder, SEVERE[form], copied=True)
    assert changed(original, alive.simulator) == {}
    assert alive.state("control_mode") == "automatic"
    await alive.set_power(600)
    assert alive.data.control.requested_power == 600


@one_of_each_protocol
async def test_copy_is_read_but_for_what_is_nested_too_deep(
    home: Home, make_home: MakeHome, folder: Path
) -> None:
    """Beside a file that is damaged; what a driver knows nothing of is no loss."""
    original = home.simulator.settings_words()
    await home.set_power(600)
    name = file_of(home)
    copy = as_bytes(
        put("data", "found", "future", value=DEEP),
        (folder / f"{name}{COPY}").read_bytes(),
    )
    files = {name: b"{", f"{name}{COPY}": copy}
    alive = await start_with(files, home, make_home, folder)
    assert changed(original, alive.simulator) == {}
    assert alive.state("control_mode") == "automatic"


async def save_fails(*_: object) -> None:
    raise OSError("No space left on device")


@pytest.mark.parametrize("form", TYPICAL)
@one_of_each_protocol
async def test_full_disk_does_not_stop_the_set_up_with_a_damaged_file(
    home: Home,
    make_home: MakeHome,
    folder: Path,
    form: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = home.simulator.settings_words()
    await home.set_power(600)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "async_save", save_fails)
        alive = await start_damaged(home, make_home, folder, SEVERE[form], copied=True)
        assert changed(original, alive.simulator) == {}
        assert alive.state("control_mode") == "automatic"
        with pytest.raises(HomeAssistantError, match="could not be saved"):
            await alive.set_power(600)
    await alive.set_power(600)
    await alive.choose("automatic")
    assert changed(original, alive.simulator) == {}


@pytest.mark.parametrize("is_copied", [True, False])
@one_of_each_protocol
async def test_folder_in_place_of_the_file_does_not_stop_the_set_up(
    home: Home, make_home: MakeHome, folder: Path, is_copied: bool
) -> None:
    original = home.simulator.settings_words()
    await home.set_power(600)
    name = file_of(home)
    copied = (folder / f"{name}{COPY}").read_bytes()
    await crash(home, folder)
    (folder / name).mkdir()
    if is_copied:
        (folder / f"{name}{COPY}").write_bytes(copied)
    alive = make_home(home.simulator)
    assert await alive.set_up()
    assert issues(alive) == {"lease_damaged"}
    if is_copied:
        assert changed(original, alive.simulator) == {}
    await alive.data.control.async_accept()
    await alive.set_power(600)
    assert (folder / name).is_file()


async def test_partly_known_snapshot_is_restored_in_part(
    make_home: MakeHome, folder: Path
) -> None:
    """The rest is at rest, and the issue names it."""
    async with HuaweiSimulator(charge_limit=4000, discharge_limit=3000) as simulator:
        home = make_home(simulator)
        assert await home.set_up()
        await home.set_power(0)
        damage = drop(*LEASE, "found", "charge_power_limit")
        alive = await start_damaged(home, make_home, folder, damage, copied=False)
        device = simulator.state()["device"]
        assert (device["charge_limit"], device["discharge_limit"]) == (0, 3000)
        assert alive.data.control.unknown == {"found.charge_power_limit"}
        await alive.hass.config_entries.async_unload(alive.entry.entry_id)


# Names, and the clock


@one_of_each_protocol
async def test_file_of_the_first_version_is_read_and_renamed(
    home: Home, make_home: MakeHome, folder: Path
) -> None:
    original = home.simulator.settings_words()
    await home.set_power(600)
    content = json.loads((folder / file_of(home)).read_bytes())
    del content["data"]["lease"]["duration"]
    former = former_file_name(str(home.entry.unique_id))
    files = {former: json.dumps(content).encode()}

    alive = await start_with(files, home, make_home, folder)

    assert changed(original, alive.simulator) == {}
    assert not (folder / former).exists()
    assert issues(alive) == set()


@pytest.mark.parametrize("far", ["9999-12-31T23:59:59+00:00", "2126-01-01T00:00:00Z"])
@one_of_each_protocol
async def test_end_that_a_wrong_clock_has_made_is_bounded_by_the_duration(
    held: Home, make_home: MakeHome, folder: Path, far: str
) -> None:
    damage = put(*LEASE, "expires", value=far)
    alive = await start_damaged(held, make_home, folder, damage, copied=False)
    ends = alive.data.control.expires
    assert ends is not None
    assert ends <= dt_util.utcnow() + timedelta(hours=1)
