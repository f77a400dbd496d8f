import asyncio

from uem.hardware_adapters.tasks import end


async def test_a_task_that_swallows_its_first_cancellation_is_ended_too():
    cancelled = 0

    async def stubborn():
        nonlocal cancelled
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled += 1
                if cancelled == 2:
                    raise

    async def failing():
        raise RuntimeError("seen elsewhere")

    tasks = [asyncio.create_task(stubborn()), asyncio.create_task(failing())]
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await end(tasks, patience_s=0.05)
    assert cancelled == 2
    assert all(task.done() for task in tasks)


async def test_no_tasks_end_at_once():
    await end([])
