"""Whose turn it is to talk to a device."""

import asyncio

from custom_components.homebattery.drivers.modbus.priority_lock import (
    PriorityLock,
    high_priority,
)


class Line:
    """People who each want one turn, and the order in which they got it."""

    def __init__(self) -> None:
        self.lock = PriorityLock()
        self.served: list[str] = []

    async def take(self, who: str) -> None:
        async with self.lock:
            self.served.append(who)
            await asyncio.sleep(0)

    async def take_urgently(self, who: str) -> None:
        with high_priority():
            await self.take(who)

    async def come(self, *people: str) -> list[asyncio.Task[None]]:
        """Let people come one after the other; those in capitals are in a hurry."""
        tasks = [
            asyncio.create_task(
                self.take_urgently(who) if who.isupper() else self.take(who)
            )
            for who in people
        ]
        await asyncio.sleep(0)
        return tasks


async def test_turns_come_in_order() -> None:
    line = Line()
    await asyncio.gather(*await line.come("a", "b", "c"))
    assert line.served == ["a", "b", "c"]


async def test_the_urgent_wait_for_no_more_than_the_turn_under_way() -> None:
    line = Line()
    await asyncio.gather(*await line.come("a", "b", "c", "X", "Y"))
    assert line.served == ["a", "X", "Y", "b", "c"]


async def test_who_gives_up_waiting_is_passed_over() -> None:
    line = Line()
    async with line.lock:
        tasks = await line.come("a", "b", "c")
        tasks[0].cancel()  # it has not run yet when the turn is passed on
    await asyncio.wait(tasks)
    assert line.served == ["b", "c"]


async def test_who_gives_up_in_the_line_leaves_it() -> None:
    line = Line()
    async with line.lock:
        tasks = await line.come("a", "b")
        tasks[0].cancel()
        await asyncio.wait(tasks[:1])
    await asyncio.wait(tasks)
    assert line.served == ["b"]


async def test_a_turn_that_comes_to_one_who_gives_up_goes_to_the_next() -> None:
    line = Line()
    async with line.lock:
        tasks = await line.come("a", "b")
    tasks[0].cancel()  # its turn has come, and it has not noticed yet
    await asyncio.wait(tasks)
    assert line.served == ["b"]
    await line.take("c")
    assert line.served == ["b", "c"]


async def test_an_urgent_matter_is_not_interrupted() -> None:
    """Between its requests nobody reads; whoever else is urgent may go on."""
    line = Line()

    async def change_setpoint() -> None:
        with high_priority():
            await line.take("read")
            await asyncio.sleep(0)
            await line.take("write")
            await asyncio.sleep(0)
            await line.take("read back")

    operation = asyncio.create_task(change_setpoint())
    await asyncio.sleep(0)
    tasks = await line.come("a", "X", "b")
    await asyncio.gather(operation, *tasks)
    assert line.served == ["read", "X", "write", "read back", "a", "b"]


async def test_what_an_urgent_matter_leaves_behind_claims_nothing() -> None:
    """A task that was begun in it lives longer, and is urgent no more than others."""
    line = Line()
    with high_priority():
        await line.take("setpoint")
        left_behind = asyncio.create_task(line.take("later"))
    await asyncio.gather(left_behind, *await line.come("a"))
    assert set(line.served) == {"setpoint", "later", "a"}


async def test_an_urgent_matter_that_fails_lets_others_go_on() -> None:
    line = Line()

    async def fail() -> None:
        with high_priority():
            await line.take("write")
            raise OSError

    await asyncio.gather(
        asyncio.create_task(fail()), *await line.come("a"), return_exceptions=True
    )
    assert set(line.served) == {"a", "write"}
    await line.take("b")
    assert line.served[-1] == "b"
