"""The order in which tasks talk to a device."""

import asyncio

from custom_components.homebattery.drivers.modbus.priority_lock import (
    PriorityLock,
    high_priority,
)


class Line:
    """Tasks that each take the lock, and the order in which they got it."""

    def __init__(self) -> None:
        self.lock = PriorityLock()
        self.served: list[str] = []

    async def take(self, name: str) -> None:
        async with self.lock:
            self.served.append(name)
            await asyncio.sleep(0)

    async def take_first(self, name: str) -> None:
        with high_priority():
            await self.take(name)

    async def start(self, *names: str) -> list[asyncio.Task[None]]:
        """Start tasks one after the other; names in capitals have high priority."""
        tasks = [
            asyncio.create_task(
                self.take_first(name) if name.isupper() else self.take(name)
            )
            for name in names
        ]
        await asyncio.sleep(0)
        return tasks


async def test_tasks_get_the_lock_in_order() -> None:
    line = Line()
    await asyncio.gather(*await line.start("a", "b", "c"))
    assert line.served == ["a", "b", "c"]


async def test_high_priority_waits_for_the_present_task_only() -> None:
    line = Line()
    await asyncio.gather(*await line.start("a", "b", "c", "X", "Y"))
    assert line.served == ["a", "X", "Y", "b", "c"]


async def test_a_cancelled_task_is_passed_over() -> None:
    line = Line()
    async with line.lock:
        tasks = await line.start("a", "b", "c")
        tasks[0].cancel()  # it has not run yet when the lock is passed on
    await asyncio.wait(tasks)
    assert line.served == ["b", "c"]


async def test_a_task_that_is_cancelled_while_waiting_leaves_the_line() -> None:
    line = Line()
    async with line.lock:
        tasks = await line.start("a", "b")
        tasks[0].cancel()
        await asyncio.wait(tasks[:1])
    await asyncio.wait(tasks)
    assert line.served == ["b"]


async def test_a_lock_passed_to_a_cancelled_task_goes_to_the_next() -> None:
    line = Line()
    async with line.lock:
        tasks = await line.start("a", "b")
    tasks[0].cancel()  # it has the lock, and has not noticed yet
    await asyncio.wait(tasks)
    assert line.served == ["b"]
    await line.take("c")
    assert line.served == ["b", "c"]


async def test_an_operation_of_high_priority_is_not_interrupted() -> None:
    """No read comes between its requests; another operation of high priority may."""
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
    tasks = await line.start("a", "X", "b")
    await asyncio.gather(operation, *tasks)
    assert line.served == ["read", "X", "write", "read back", "a", "b"]


async def test_a_task_begun_with_high_priority_does_not_keep_it() -> None:
    """A task that was begun in it lives longer, with ordinary priority."""
    line = Line()
    with high_priority():
        await line.take("setpoint")
        later = asyncio.create_task(line.take("later"))
    await asyncio.gather(later, *await line.start("a"))
    assert set(line.served) == {"setpoint", "later", "a"}


async def test_a_failed_operation_of_high_priority_lets_others_go_on() -> None:
    line = Line()

    async def fail() -> None:
        with high_priority():
            await line.take("write")
            raise OSError

    await asyncio.gather(
        asyncio.create_task(fail()), *await line.start("a"), return_exceptions=True
    )
    assert set(line.served) == {"a", "write"}
    await line.take("b")
    assert line.served[-1] == "b"
