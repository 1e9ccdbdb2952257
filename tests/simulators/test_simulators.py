"""The common parts: house, Modbus server, images of vectors, command line."""

import asyncio
import json
import signal
import sys
from typing import Any

import aiohttp
from pymodbus.client import AsyncModbusTcpClient
import pytest

from homebattery.simulated.plant import HOLD, Automatic, BatteryPower, InverterPower
from tests.simulators import (
    SIMULATORS,
    ManualClock,
    Plant,
    SessySimulator,
    VictronSimulator,
)

from .image import HttpImage, ModbusImage, load, serve
from .modbus import ILLEGAL_ADDRESS, Units
from .modbus_server import ModbusServer
from .raw_client import ModbusError, RawClient

pytestmark = pytest.mark.usefixtures("socket_enabled")


class Words(Units):
    """A device whose every word is its own address."""

    def read(self, unit: int, address: int, count: int) -> list[int]:
        return list(range(address, address + count))

    def write(self, unit: int, address: int, words: list[int]) -> None:
        pass


def client(server: Any) -> RawClient:
    return RawClient(server.host, server.port)


# The house.


def house(**arguments: Any) -> tuple[Plant, ManualClock]:
    clock = ManualClock()
    plant = Plant(clock=clock, **arguments)
    plant.fixed_pv, plant.fixed_load = 1000.0, 400.0
    plant.run()
    return plant, clock


@pytest.mark.parametrize("phases", [1, 2, 3])
@pytest.mark.parametrize(
    "command", [Automatic(50), BatteryPower(2000), BatteryPower(-2000), HOLD]
)
def test_energy_is_conserved_on_both_sides(phases: int, command: Any) -> None:
    plant, clock = house(phases=phases, pv_dc_share=0.3)
    plant.command = command
    clock.advance(3600)
    plant.run()
    assert sum(plant.grid) == pytest.approx(
        sum(plant.load) - sum(plant.pv_ac) + sum(plant.inverter)
    )
    stored = plant.counters.charged - plant.counters.discharged
    assert plant.soc == pytest.approx(50 + 100 * stored / plant.capacity)


def test_self_consumption_keeps_the_grid_at_its_setpoint_until_full() -> None:
    plant, clock = house(soc=99.0)
    plant.command = Automatic()
    plant.run()
    assert sum(plant.grid) == pytest.approx(0)
    clock.advance(3600)
    plant.run()
    assert (plant.soc, plant.battery) == (100, 0)
    assert sum(plant.grid) == pytest.approx(-600)


def test_hold_leaves_solar_power_on_the_dc_side_to_the_battery() -> None:
    plant, _ = house(pv_dc_share=1.0)
    plant.command = HOLD
    plant.run()
    assert (plant.battery, sum(plant.inverter)) == (1000, 0)


def test_solar_power_on_the_dc_side_can_stay_unharvested() -> None:
    plant, _ = house(pv_dc_share=1.0)
    plant.may_harvest = 300.0
    plant.run()
    assert (plant.sun_dc, plant.pv, plant.battery) == (1000, 300, 300)


def test_power_follows_no_faster_than_the_ramp() -> None:
    plant, clock = house(ramp=500.0)
    plant.command = InverterPower((2000.0,))
    before = plant.inverter[0]
    plant.run()
    assert plant.inverter[0] == before
    clock.advance(2)
    plant.run()
    assert plant.inverter[0] == before + 1000
    clock.advance(60)
    plant.run()
    assert plant.inverter[0] == 2000


def test_the_same_clock_gives_the_same_day() -> None:
    def soc_after_a_day() -> float:
        clock = ManualClock()
        plant = Plant(clock=clock, speed=24)
        clock.advance(3600)
        plant.run()
        assert plant.hour == pytest.approx(12)
        return plant.soc

    assert soc_after_a_day() == soc_after_a_day()


# The Modbus server.


async def test_a_modbus_library_understands_the_server() -> None:
    async with ModbusServer(Words()) as server:
        library = AsyncModbusTcpClient(server.host, port=server.port)
        assert await library.connect()
        for read in (library.read_holding_registers, library.read_input_registers):
            assert (await read(10, count=3, device_id=1)).registers == [10, 11, 12]
        assert not (await library.write_register(5, 6, device_id=200)).isError()
        assert not (await library.write_registers(7, [8, 9], device_id=0)).isError()
        library.close()
    assert server.traffic.writes == [(200, 5, [6]), (0, 7, [8, 9])]
    assert server.traffic.reads == [(1, 10, 3), (1, 10, 3)]


@pytest.mark.parametrize(
    ("pdu", "code"),
    [
        (b"\x03\x00\x00\x00\x00", 3),  # no words
        (b"\x03\x00\x00\x00\x7e", 3),  # 126 words
        (b"\x03\x00\x00", 3),  # cut short
        (b"\x10\x00\x00\x00\x02\x04\x00\x01", 3),  # fewer words than announced
        (b"\x01\x00\x00\x00\x01", 1),  # coils
        (b"\x2b\x0e\x01\x00", 1),
    ],
)
async def test_bad_requests_are_refused(pdu: bytes, code: int) -> None:
    async with ModbusServer(Words()) as server, client(server) as raw:
        with pytest.raises(ModbusError) as error:
            await raw.ask(1, pdu)
        assert error.value.code == code
        assert server.traffic.refusals == [(1, pdu, code)]


async def test_requests_sent_together_are_answered_in_order() -> None:
    async with ModbusServer(Words()) as server, client(server) as raw:
        for address in (7, 8, 9):
            raw.send(1, bytes((3, 0, address, 0, 1)))
        answers = [await raw.receive() for _ in range(3)]
    assert answers == [
        (1, b"\x03\x02\x00\x07"),
        (2, b"\x03\x02\x00\x08"),
        (3, b"\x03\x02\x00\x09"),
    ]


async def test_another_protocol_ends_the_connection() -> None:
    async with ModbusServer(Words()) as server, client(server) as raw:
        raw.writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert await raw.reader.read() == b""


async def test_the_server_comes_back_on_the_same_port() -> None:
    async with ModbusServer(Words()) as server:
        async with client(server) as raw:
            assert await raw.read(1, 5) == [5]
            await server.stop()
            assert await raw.reader.read() == b""
        with pytest.raises(ConnectionRefusedError):
            await client(server).__aenter__()
        await server.start()
        async with client(server) as raw:
            assert await raw.read(1, 5) == [5]


async def test_a_new_client_ends_the_older_ones() -> None:
    async with ModbusServer(Words()) as server:
        server.set_faults(one_client=True)
        async with client(server) as first, client(server) as second:
            assert await second.read(1, 5) == [5]
            assert await first.reader.read() == b""
            assert server.clients == 1


async def test_one_client_too_many_is_sent_away() -> None:
    async with ModbusServer(Words()) as server:
        server.set_faults(max_clients=2)
        async with client(server) as first, client(server), client(server) as third:
            assert await third.reader.read() == b""
            assert await first.read(1, 5) == [5]
            assert server.clients == 2


async def test_writes_alone_are_answered_late() -> None:
    async with ModbusServer(Words()) as server, client(server) as raw:
        server.set_faults(write_delay=60.0)
        assert await raw.read(1, 5) == [5]
        write = asyncio.create_task(raw.write(1, 5, 6))
        await asyncio.sleep(0.05)
        assert not write.done()
        write.cancel()


async def test_the_nth_request_is_lost() -> None:
    async with ModbusServer(Words()) as server, client(server) as raw:
        server.set_faults(drop=2)
        for address in (7, 8, 9):
            raw.send(1, bytes((3, 0, address, 0, 1)))
        assert [(await raw.receive())[0] for _ in range(2)] == [1, 3]


async def test_requests_too_soon_after_connecting_are_lost() -> None:
    clock = ManualClock()
    async with ModbusServer(Words(), clock=clock) as server:
        server.set_faults(settle=1.5)
        async with client(server) as raw:
            raw.send(1, bytes((3, 0, 7, 0, 1)))
            while not server.lost:
                await asyncio.sleep(0)
            clock.advance(1.5)
            assert await raw.read(1, 8) == [8]
    assert server.traffic.reads == [(1, 8, 1)]


async def test_hanging_requests_are_answered_late() -> None:
    async with ModbusServer(Words()) as server, client(server) as raw:
        server.set_faults(hang=True)
        answer = asyncio.create_task(raw.read(1, 5))
        await asyncio.sleep(0.05)
        assert not answer.done()
        server.set_faults(hang=False)
        assert await answer == [5]


async def test_the_server_stops_while_a_request_hangs() -> None:
    async with ModbusServer(Words()) as server, client(server) as raw:
        server.set_faults(hang=True)
        raw.send(1, bytes((3, 0, 7, 0, 1)))
        await asyncio.sleep(0.05)
        await server.stop()
        assert await raw.reader.read() == b""


async def test_faults_last_as_long_as_they_are_counted() -> None:
    async with ModbusServer(Words()) as server:
        async with client(server) as raw:
            server.set_faults(exception=6, exception_count=1, exception_unit=2)
            assert await raw.read(1, 5) == [5]
            with pytest.raises(ModbusError, match="6"):
                await raw.read(2, 5)
            assert await raw.read(2, 5) == [5]
            server.set_faults(wrong_transaction=1)
            raw.send(1, bytes((3, 0, 7, 0, 1)))
            assert (await raw.receive())[0] != raw.transaction
            server.set_faults(cut_request=1)
            with pytest.raises(asyncio.IncompleteReadError):
                await raw.read(1, 5)
        server.set_faults(refuse=True)
        async with client(server) as raw:
            assert await raw.reader.read() == b""
        with pytest.raises(ValueError, match="nonsense"):
            server.set_faults(nonsense=1)


@pytest.mark.parametrize("for_good", [True, False])
@pytest.mark.parametrize("taken", [True, False])
async def test_the_connection_can_be_lost_at_any_write(
    taken: bool, for_good: bool
) -> None:
    async with ModbusServer(Words()) as server:
        server.set_faults(cut_write=2, cut_taken=taken, cut_for_good=for_good)
        async with client(server) as raw:
            await raw.write(1, 5, 6)
            assert await raw.read(1, 7) == [7]
            with pytest.raises(asyncio.IncompleteReadError):
                await raw.write(1, 8, 9)
        assert server.traffic.writes == [(1, 5, [6]), (1, 8, [9])][: 1 + taken]
        async with client(server) as raw:
            if for_good:
                assert await raw.reader.read() == b""
            else:
                await raw.write(1, 8, 9)


# Images of vectors.


@pytest.mark.parametrize(
    "name", ["victron", "huawei_sun2000", "deye", "sma_sunny_island"]
)
async def test_every_word_of_a_vector_is_served_and_nothing_else(name: str) -> None:
    for vector in load(name):
        async with serve(vector) as image:
            assert isinstance(image, ModbusImage)
            async with client(image) as raw:
                for unit, words in vector["units"].items():
                    for address, word in words.items():
                        assert image.units.read(int(unit), int(address), 1) == [word]
                    # The last of them as a client gets it.
                    assert await raw.read(int(unit), int(address)) == [word]
                    with pytest.raises(ModbusError, match="2"):
                        await raw.read(int(unit), 65000)
                with pytest.raises(
                    ModbusError, match="10" if name == "victron" else "11"
                ):
                    await raw.read(55, 0)


async def test_unused_words_inside_a_block_of_sma_read_as_such() -> None:
    vector = load("sma_sunny_island")[0]
    async with serve(vector) as image, client(image) as raw:
        words = await raw.read(3, 30201, 34)
        assert words[:2] == [
            vector["units"]["3"]["30201"],
            vector["units"]["3"]["30202"],
        ]
        assert words[2:30] == [0xFFFF] * 28


async def test_a_write_beside_the_vector_is_refused() -> None:
    async with serve(load("victron")[0]) as image, client(image) as raw:
        with pytest.raises(ModbusError) as error:
            await raw.write(227, 147, 1, 1)
        assert error.value.code == ILLEGAL_ADDRESS
        assert isinstance(image, ModbusImage)
        assert image.writes == []
        await raw.write(227, 37, 5, 1, 1)
        assert await raw.read(227, 37, 3) == [5, 1, 1]


async def test_an_image_of_responses_shows_posted_values() -> None:
    async with serve(load("sessy")[0]) as image:
        assert isinstance(image, HttpImage)
        headers = {
            "Authorization": aiohttp.encode_basic_auth(
                image.username or "", image.password
            )
        }
        base = f"http://{image.host}:{image.port}/api/v1/"
        async with aiohttp.ClientSession(base, headers=headers) as session:
            posts: list[tuple[str, Any]] = [
                ("power/setpoint", {"setpoint": -5}),
                ("power/active_strategy", {"strategy": "POWER_STRATEGY_NOM"}),
                ("system/settings", {"max_power": 900}),
            ]
            for path, body in posts:
                async with session.post(path, json=body) as response:
                    assert await response.json() == {"status": "ok"}
            async with session.get("power/status") as response:
                assert (await response.json())["sessy"]["power_setpoint"] == -5
            async with session.get("power/active_strategy") as response:
                assert (await response.json())["strategy"] == "POWER_STRATEGY_NOM"
            async with session.get("system/settings") as response:
                assert await response.json() == {"status": "ok", "max_power": 900}
            async with session.get("nowhere") as response:
                assert response.status == 404
        assert image.posts == [
            ("POST", f"/api/v1/{path}", body) for path, body in posts
        ]


# All devices.


@pytest.mark.parametrize("name", list(SIMULATORS))
async def test_every_device_can_go_away_and_come_back(name: str) -> None:
    async with SIMULATORS[name]() as simulator:
        setup = simulator.setup
        await simulator.misbehave("away")
        with pytest.raises(ConnectionRefusedError):
            await client(simulator).__aenter__()
        await simulator.misbehave("away", on=False)
        assert simulator.setup == setup
        async with client(simulator):
            pass
        with pytest.raises(ValueError, match="cannot misbehave"):
            await simulator.misbehave("nonsense")
        with pytest.raises(ValueError, match="no argument"):
            await simulator.misbehave("delay", minutes=1)


def test_a_house_suits_its_device() -> None:
    assert SessySimulator.house().max_charge == 2200
    assert SessySimulator.house(max_charge=1000.0).max_charge == 1000
    assert VictronSimulator.house(phases=3).inverter_phases == (0, 1, 2)


@pytest.mark.parametrize("name", list(SIMULATORS))
def test_settings_do_not_change_over_a_day(name: str) -> None:
    clock = ManualClock()
    device: Any = SIMULATORS[name]
    simulator = device(device.house(clock=clock, speed=24))
    settings = simulator.settings_words()
    for _ in range(6):
        clock.advance(600)
        assert simulator.settings_words() == settings
    assert json.loads(json.dumps(settings)) == settings


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name == "victron" else pytest.mark.long)
        for name in SIMULATORS
    ],
)
async def test_the_command_line_runs_a_device_until_it_is_stopped(
    name: str,
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            "tests.simulators",
            name,
            "--soc",
            "42.5",
            "--capacity",
            "1e9",
        ),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        where = json.loads(await process.stdout.readline())
        assert where["type"] == name
        assert where["setup"]["port"] == where["port"]
        control = where["state_url"].removesuffix("state")
        async with aiohttp.ClientSession() as session:
            async with session.get(where["state_url"]) as response:
                state = await response.json()
            assert state["soc"] == 42.5
            assert state["mode"] == "automatic"
            async with session.post(
                f"{control}plant", json={"soc": 7, "load": 0}
            ) as response:
                state = await response.json()
            assert (state["soc"], state["load_power"]) == (7, 0)
            async with session.post(f"{control}plant", json={"wheels": 4}) as response:
                assert (response.status, "wheels" in await response.text()) == (
                    400,
                    True,
                )
            async with session.post(
                f"{control}misbehave", json={"name": "hang"}
            ) as response:
                assert response.status == 200
            async with session.post(
                f"{control}misbehave", json={"name": "sing"}
            ) as response:
                assert response.status == 400
    finally:
        process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0
