"""The energy dashboard shows the energy charged and discharged, and nothing else.

It adds up a total by Home Assistant's rules: a fall of more than a tenth is a counter
that starts again, and all that it shows from then on is energy. Here Home Assistant
itself makes the statistics, from devices whose readings are wrong at times.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import timedelta
from itertools import pairwise
from typing import Any, Final

from homeassistant.components.recorder import statistics
from homeassistant.components.recorder.statistics import get_last_short_term_statistics
from homeassistant.core import HomeAssistant, State
from homeassistant.helpers.recorder import get_instance
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util
import pytest
from pytest_homeassistant_custom_component.common import (
    mock_restore_cache_with_extra_data,
)
from pytest_homeassistant_custom_component.components.recorder.common import (
    async_wait_recording_done,
    do_adhoc_statistics,
)
from pytest_homeassistant_custom_component.typing import WebSocketGenerator
from sqlalchemy.exc import OperationalError

from custom_components.homebattery.drivers.battery.counters import CounterFilter
from custom_components.homebattery.energy import Source
from scripts.demonstration import dashboard
from tests.home import LOAD, Home, MakeHome, Warp, house_of, one_of_each_protocol
from tests.simulators import (
    SIMULATORS,
    DeyeModbusSimulator,
    ManualClock,
    Simulator,
    VictronSimulator,
)

CHARGED: Final = "energy_charged_total"
DISCHARGED: Final = "energy_discharged_total"

MINUTE: Final = 61.0
"""Seconds after which a counter has been read again."""
PERIOD: Final = timedelta(minutes=5)
"""The period of Home Assistant's short-term statistics."""
STEP: Final = 0.11
"""Tolerance, kWh: the coarsest step of these counters, and rounding."""

COUNTERS: Final[dict[str, Callable[[Any], Any]]] = {
    "victron": lambda device: vars(device.plant.counters),
    "sessy": lambda device: vars(device.plant.counters),
    "sma": lambda device: vars(device.plant.counters),
    "sun2000": lambda device: vars(device.device.energies),
    "deye_modbus": lambda device: device.inverter.energies.total,
    "deye_solarman": lambda device: device.inverter.energies.total,
}
"""The counters of each simulated device, Wh."""


@pytest.fixture(params=SIMULATORS)
async def simulator(
    request: pytest.FixtureRequest, clock: ManualClock
) -> AsyncIterator[Simulator]:
    """Yield each kind of battery in turn; the Victron has a shunt, which counts."""
    device: Any = SIMULATORS[request.param]
    options = {"battery": "shunt"} if request.param == "victron" else {}
    async with device(house_of(device, clock), **options) as simulator:
        yield simulator


class Dashboard:
    """The energy that the dashboard counts from a total since a certain time."""

    def __init__(self, home: Home, key: str = DISCHARGED) -> None:
        self.home, self.key = home, key
        self.begun = dt_util.utcnow()

    async def total(self) -> float:
        """Let Home Assistant make all statistics; return their sum, kWh."""
        hass, entity_id = self.home.hass, self.home.entity_id(self.key)
        await async_wait_recording_done(hass)
        start = self.begun - timedelta(
            minutes=self.begun.minute % 5,
            seconds=self.begun.second,
            microseconds=self.begun.microsecond,
        )
        while start <= dt_util.utcnow():
            do_adhoc_statistics(hass, start=start)
            start += PERIOD
        await async_wait_recording_done(hass)
        (row,) = (
            await get_instance(hass).async_add_executor_job(
                get_last_short_term_statistics, hass, 1, entity_id, True, {"sum"}
            )
        )[entity_id]
        added = row["sum"]
        assert added is not None
        return added


class Discharged:
    """The discharge counter of a simulated device, which can show wrong values."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.plant = home.simulator.plant
        self._counts = COUNTERS[home.simulator.type](home.simulator)
        shown = float(home.state(DISCHARGED))
        self._before = 1000 * shown - self._counts["discharged"]

    @property
    def kwh(self) -> float:
        self.plant.run()
        return float(self._counts["discharged"] + self._before) / 1000

    @contextmanager
    def showing(self, kwh: float) -> Iterator[None]:
        """Let the device show another value (kWh), while nothing is discharged."""
        self.plant.fixed_load = 0
        self.plant.run()
        right = self._counts["discharged"]
        # The Deye started at its first value; below that, its register is 0.
        self._counts["discharged"] = 1000 * kwh - self._before
        yield
        self._counts["discharged"] = right
        self.plant.fixed_load = LOAD


async def see(home: Home, warp: Warp, minutes: int = 1) -> str:
    """Let time pass until the next reading; return the state of the total."""
    await warp(minutes * MINUTE)
    return home.state(DISCHARGED)


async def restart(home: Home, restored: dict[str, Any] | None = None) -> None:
    """Reload the entry; if `restored` is given, only that was stored before."""
    await home.hass.config_entries.async_unload(home.entry.entry_id)
    await home.hass.async_block_till_done()
    if restored is not None:
        entity_id = home.entity_id(DISCHARGED)
        remembered = [(State(entity_id, "0"), restored)] if restored else []
        mock_restore_cache_with_extra_data(home.hass, remembered)
    await home.set_up()


async def test_all_batteries_fit_on_the_dashboard(
    hass: HomeAssistant,
    make_home: MakeHome,
    clock: ManualClock,
    hass_ws_client: WebSocketGenerator,
) -> None:
    """Neither way to configure their power causes a complaint."""
    assert await async_setup_component(hass, "energy", {})
    async with AsyncExitStack() as stack:
        homes = []
        for kind in SIMULATORS.values():
            device: Any = kind
            simulator = await stack.enter_async_context(device(house_of(device, clock)))
            home = make_home(simulator)
            assert await home.set_up()
            await home.enable(*dashboard.POWERS)
            homes.append(home)
        client = await hass_ws_client(hass)

        async def ask(command: str, **data: Any) -> Any:
            await client.send_json_auto_id({"type": command, **data})
            answer = await client.receive_json()
            assert answer["success"], answer
            return answer["result"]

        keys = (*dashboard.NEEDED, *dashboard.POWERS)
        for two_sensors in (False, True):
            sources = [
                dashboard.battery_source(
                    home.simulator.type,
                    {key: home.entity_id(key) for key in keys},
                    two_sensors=two_sensors,
                )
                for home in homes
            ]
            saved = await ask("energy/save_prefs", energy_sources=sources)
            await hass.async_block_till_done()
            if not two_sensors:
                # Missing statistics are the only complaint until there are some.
                validation = await ask("energy/validate")
                assert list(dashboard.complaints(validation))
                ignored = [dashboard.NOT_YET]
                assert list(dashboard.complaints(validation, ignored)) == []
                await Dashboard(homes[0]).total()
            validation = await ask("energy/validate")
            listed = await ask("recorder/list_statistic_ids")
            assert list(dashboard.complaints(validation)) == []
            assert len(saved["energy_sources"]) == len(SIMULATORS)
            attributes = {
                state.entity_id: state.attributes for state in hass.states.async_all()
            }
            for source in saved["energy_sources"]:
                assert list(dashboard.missing_statistics(source, listed)) == []
                assert list(dashboard.wrong_classes(source, attributes)) == []


@one_of_each_protocol
async def test_eleven_bounces_in_a_day_add_nothing(home: Home, warp: Warp) -> None:
    """Users report inverters that show 0 for one reading, and then go on as before."""
    on_dashboard, counter = Dashboard(home), Discharged(home)
    before = counter.kwh
    for _ in range(11):
        assert await see(home, warp, minutes=10) != "unknown"
        with counter.showing(0):
            assert await see(home, warp) == "unknown"
        assert float(await see(home, warp)) == pytest.approx(counter.kwh, abs=STEP)

    added = counter.kwh - before
    assert added == pytest.approx(1.2, abs=0.2)
    assert await on_dashboard.total() == pytest.approx(added, abs=STEP)


@one_of_each_protocol
async def test_impossible_readings_add_nothing(home: Home, warp: Warp) -> None:
    """They add nothing for as long as they last."""
    on_dashboard, counter = Dashboard(home), Discharged(home)
    before = counter.kwh

    async def stumble(wrong: float, minutes: int) -> None:
        """Show a wrong value three times, and then go on as before."""
        with counter.showing(wrong):
            for _ in range(3):
                assert await see(home, warp, minutes) == "unknown"
        shown = await see(home, warp, minutes=12)
        assert float(shown) == pytest.approx(counter.kwh, abs=STEP)

    # 0 all night, until the inverter has woken up.
    await stumble(0, minutes=200)
    # One step back.
    await stumble(counter.kwh - 0.1, minutes=1)
    # A fall that is a dip to statistics, and one that is a new beginning.
    await stumble(counter.kwh - 50, minutes=1)
    await stumble(counter.kwh / 10, minutes=1)
    # 65535 steps ahead.
    await stumble(counter.kwh + 6553.5, minutes=1)

    assert await on_dashboard.total() == pytest.approx(counter.kwh - before, abs=STEP)


@one_of_each_protocol
@pytest.mark.parametrize(
    "shown", [pytest.param(0.4, id="cleared"), pytest.param(4711, id="another one")]
)
async def test_another_counter_goes_on_where_the_old_one_was(
    home: Home, warp: Warp, shown: float
) -> None:
    """It is accepted after ten minutes, without the energy that it counted before."""
    on_dashboard, counter = Dashboard(home), Discharged(home)
    last = float(await see(home, warp))
    with counter.showing(shown):
        assert await see(home, warp) == "unknown"
        assert float(await see(home, warp, minutes=11)) == last
        counter.plant.fixed_load = LOAD
        after = float(await see(home, warp, minutes=30))
        assert after - last == pytest.approx(0.3, abs=STEP)
        counter.plant.fixed_load = 0
        await restart(home)
        assert float(await see(home, warp)) == pytest.approx(after, abs=STEP)
    assert await on_dashboard.total() == pytest.approx(0.31, abs=STEP)


@one_of_each_protocol
async def test_a_device_out_of_reach_adds_nothing_twice(home: Home, warp: Warp) -> None:
    """The energy that it has counted meanwhile is added."""
    on_dashboard, counter = Dashboard(home), Discharged(home)
    before = counter.kwh
    await home.simulator.misbehave("away")
    await see(home, warp)
    assert await see(home, warp) == "unavailable"
    assert await see(home, warp, minutes=60) == "unavailable"
    await home.simulator.misbehave("away", on=False)
    shown = await see(home, warp, minutes=3)
    assert float(shown) == pytest.approx(counter.kwh, abs=STEP)
    assert await on_dashboard.total() == pytest.approx(counter.kwh - before, abs=STEP)


# The unit of a Deye's counters with a high-voltage battery


BATTERY_LOAD: Final = 6000.0
"""Power that the battery supplies, W."""
TODAY: Final = "energy_discharged_today"


@pytest.fixture(params=["tenths", "whole"])
async def lettered(
    request: pytest.FixtureRequest, clock: ManualClock
) -> AsyncIterator[DeyeModbusSimulator]:
    """Yield an inverter whose release does not show the unit of its counters."""
    house = DeyeModbusSimulator.house(soc=95, capacity=60_000, clock=clock)
    house.fixed_pv, house.fixed_load = 0, BATTERY_LOAD
    async with DeyeModbusSimulator(
        house, variant="hv", release="F052", energies=request.param
    ) as simulator:
        yield simulator


async def test_a_unit_that_is_learnt_and_corrected_adds_nothing(
    make_home: MakeHome, lettered: DeyeModbusSimulator, warp: Warp
) -> None:
    """A counter that runs fast or slow for a while shows the wrong unit at first.

    That is corrected later, and learnt anew after a restart.
    """
    home = make_home(lettered)
    assert await home.set_up()
    await home.enable(TODAY)
    on_dashboard = Dashboard(home)
    energies = lettered.inverter.energies
    totals: list[float] = []
    days: list[float] = []

    async def pass_minutes(minutes: int, speed: float = 1) -> None:
        extra = (speed - 1) * BATTERY_LOAD * MINUTE / 3600
        for _ in range(minutes):
            energies.total["discharged"] += extra
            energies.today["discharged"] += extra
            await warp(MINUTE)
            for key, shown in ((DISCHARGED, totals), (TODAY, days)):
                if home.state(key) != "unknown":
                    shown.append(float(home.state(key)))

    def counted() -> float:
        return home.data.battery.counters.accepted[DISCHARGED].value

    is_whole = lettered.units.identity.whole_kwh
    await pass_minutes(120, speed=10 if is_whole else 0.1)
    wrong = counted()
    await pass_minutes(120)
    right = counted()
    await restart(home)
    assert home.state(DISCHARGED) == home.state(TODAY) == "unknown"
    await pass_minutes(120)

    assert right == pytest.approx(7000, abs=700)
    assert right / wrong == pytest.approx(10 if is_whole else 0.1, rel=0.1)
    for shown in (totals, days):
        assert len(shown) > 200
        steps = [after - before for before, after in pairwise(shown)]
        assert min(steps) > -1e-6
        # The energy while the unit is learnt, which takes up to eight counts.
        assert max(steps) < 10
    added = totals[-1] - totals[0]
    assert await on_dashboard.total() == pytest.approx(added, abs=STEP)


# Restarts


@one_of_each_protocol
async def test_a_first_reading_that_is_wrong_adds_nothing(
    home: Home, warp: Warp
) -> None:
    """It is compared with the reading before the start."""
    on_dashboard, counter = Dashboard(home), Discharged(home)
    before = counter.kwh
    for wrong in (0, before / 2, 2 * before):
        with counter.showing(wrong):
            await restart(home)
            assert home.state(DISCHARGED) == "unknown"
            assert await see(home, warp) == "unknown"
        shown = await see(home, warp)
        assert float(shown) == pytest.approx(counter.kwh, abs=STEP)
    assert await on_dashboard.total() == pytest.approx(counter.kwh - before, abs=STEP)


@one_of_each_protocol
async def test_a_week_without_home_assistant_is_counted(home: Home, warp: Warp) -> None:
    """The total accepts as much energy as the device's power allows."""
    counter = Discharged(home)
    stored: dict[str, Any] = {
        "source": Source.DEVICE,
        "energy": 0,
        "counter": {
            "value": counter.kwh - 200,
            "at": (dt_util.utcnow() - timedelta(days=7)).isoformat(),
            "moved": 0,
        },
    }
    await restart(home, stored)
    assert float(home.state(DISCHARGED)) == pytest.approx(counter.kwh, abs=STEP)
    stored["counter"]["at"] = dt_util.utcnow().isoformat()
    await restart(home, stored)
    assert home.state(DISCHARGED) == "unknown"


@pytest.mark.parametrize(
    "stored", [{}, {"source": Source.POWER, "energy": 0.1}], ids=["nothing", "old"]
)
async def test_a_power_cut_does_not_make_an_added_up_total_fall(
    make_home: MakeHome, victron: VictronSimulator, warp: Warp, stored: dict[str, Any]
) -> None:
    """The stored total is up to a quarter of an hour older than the recorded one.

    Statistics would take the fall for a new start and add the total once more.
    """
    home = make_home(victron, scan_interval=60)
    await home.set_up()
    on_dashboard = Dashboard(home)
    for _ in range(20):
        await warp(120)
    before = float(home.state(DISCHARGED))
    assert before > 0.3
    await async_wait_recording_done(home.hass)

    await restart(home, stored)
    assert float(home.state(DISCHARGED)) == before
    await warp(120)
    await warp(120)
    after = float(home.state(DISCHARGED))
    assert after > before
    assert await on_dashboard.total() == pytest.approx(after, abs=0.01)


async def test_an_added_up_total_survives_a_database_that_cannot_be_read(
    make_home: MakeHome,
    victron: VictronSimulator,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    home = make_home(victron)
    await home.set_up()

    def fail(*_: object) -> None:
        raise OperationalError("SELECT", None, Exception("disk I/O error"))

    monkeypatch.setattr(statistics, "get_last_short_term_statistics", fail)
    await restart(home, {"source": Source.POWER, "energy": 0.25})

    assert float(home.state(DISCHARGED)) == 0.25
    assert "cannot read its history" in caplog.text


async def test_a_battery_that_was_removed_and_added_again_keeps_its_totals(
    make_home: MakeHome, victron: VictronSimulator, warp: Warp
) -> None:
    """Home Assistant records an empty state for the end of an entity."""
    home = make_home(victron, scan_interval=60)
    await home.set_up()
    for _ in range(20):
        await warp(120)
    before = float(home.state(DISCHARGED))
    await async_wait_recording_done(home.hass)
    await home.hass.config_entries.async_remove(home.entry.entry_id)
    await async_wait_recording_done(home.hass)

    again = make_home(victron, scan_interval=60)
    await again.set_up()
    assert float(again.state(DISCHARGED)) == before


def test_a_changed_counter_is_accepted_after_ten_minutes() -> None:
    """These tests and docs/energy.md rely on the time."""
    assert CounterFilter.ACCEPTED_AFTER == 600
