"""The command with any state on disk and any snapshot: one clear error at most."""

import argparse
from contextlib import suppress
import json
from pathlib import Path
import tempfile
from typing import Any, Final

from hypothesis import example, given, strategies as st

from homebattery import DRIVERS, BatteryError
from homebattery_command.parser import make_parser
from homebattery_command.state import VERSION, StateError, StateFile
from tests.strategies import JSON, TEXTS, damaged, damaged_text, share_of_examples

KINDS: Final = {
    "victron": {"host": "home.local", "port": 502, "unit_id": 227},
    "sessy": {"host": "192.0.2.1", "port": 80, "username": "DABC1234"},
    "deye_solarman": {"host": "x", "port": 8899, "logger_serial": 2712345678},
    "deye_modbus": {"host": "x", "port": 502, "unit_id": 1, "framing": "rtu"},
}
STORED: Final[list[dict[str, Any]]] = [
    {
        "version": VERSION,
        "battery_type": kind,
        "serial_number": "S1",
        "setup": setup,
        "snapshot": {"working_mode": "eco", "words": {"108": 100}},
    }
    for kind, setup in KINDS.items()
]
FILES: Final = st.sampled_from(STORED)


def parsed(*words: str) -> argparse.Namespace | None:
    """Return the options that words give; None for a usage error, or help."""
    try:
        return make_parser().parse_args(words)
    except SystemExit:
        return None


def with_setup(**changes: Any) -> str:
    """Return a file with other values of the setup."""
    stored = STORED[0]
    return json.dumps({**stored, "setup": {**stored["setup"], **changes}})


@example(text=with_setup(port="abc"))
@example(text=with_setup(port=1e400))
@example(text=with_setup(unit_id=[1]))
@example(text=with_setup(unit_id=2.5))
@example(text="[" * 100_000)
@given(
    text=st.one_of(
        TEXTS,
        JSON.map(json.dumps),
        FILES.flatmap(damaged).map(json.dumps),
        FILES.flatmap(damaged_text),
    )
)
def test_any_file_is_of_a_device_that_can_be_made_or_is_damaged(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.json"
        path.write_text(text, "utf-8", errors="surrogatepass")
        try:
            held = StateFile(path).load()
        except StateError:
            return
    assert held is not None
    # As the command warns of it, and its guard restores it.
    assert held.setup.get("host", "") in str(held)
    assert held.release_command.startswith("homebattery release ")
    with suppress(BatteryError):
        DRIVERS[held.battery_type].from_setup({"password": "x", **held.setup})


@share_of_examples(1 / 4)
@example(text="[" * 100_000)
@example(text='{"a": ' + "9" * 5000 + "}")
@given(
    text=st.one_of(
        TEXTS,
        JSON.map(json.dumps),
        damaged({"working_mode": "eco", "min_soc": 10}).map(json.dumps),
    )
)
def test_any_snapshot_is_an_object_or_a_usage_error(
    text: str,
) -> None:
    options = parsed("release", "victron", "home.local", f"--snapshot={text}")
    assert options is None or (isinstance(options.snapshot, dict) and options.snapshot)


@share_of_examples(1 / 4)
@example(words=["--seconds=1e400"])
@given(
    words=st.lists(
        st.one_of(
            TEXTS,
            TEXTS.map(lambda text: f"--seconds={text}"),
            TEXTS.map(lambda text: f"--unit-id={text}"),
            TEXTS.map(lambda text: f"--port={text}"),
        ),
        max_size=4,
    )
)
def test_any_words_are_understood_or_a_usage_error(words: list[str]) -> None:
    options = parsed("set-power", "victron", "x", "1", *words)
    if options is None:
        return
    assert options.seconds is None or 0 < options.seconds < float("inf")
    with suppress(BatteryError):
        DRIVERS["victron"].from_setup(vars(options))
