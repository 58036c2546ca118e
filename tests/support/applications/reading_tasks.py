"""Handlers and adapters that pull messages in one task, and handle them in another.

Each is a class to stand over a host's handler of either protocol; `Host` is the host's own loop.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from typing import Any, cast

from strawberry.aiohttp.views import AiohttpWebSocketAdapter

from tests.support.applications.conversations import begin, elsewhere, finish
from tests.support.views import View


class Host:
    """The host's own loop."""


class Pulling:
    """A handler with a loop of its own."""

    async def handle(self) -> None:
        begin(self)
        handler = cast("Any", self)
        messages = handler.websocket.iter_json()
        try:
            await self.pull(handler, aiter(messages))
        finally:
            await finish(self)

    async def pull(self, handler: Any, messages: Any) -> None:
        raise NotImplementedError


class Waiting(Pulling):
    """Asks for each message in a task, so as to wait for other things as well."""

    async def pull(self, handler: Any, messages: Any) -> None:
        while True:
            task = asyncio.ensure_future(anext(messages))
            await asyncio.wait({task}, timeout=5)
            try:
                message = await task
            except StopAsyncIteration:
                return
            await handler.handle_message(message)


class Limited(Pulling):
    """Gives each message a time to come."""

    async def pull(self, handler: Any, messages: Any) -> None:
        while True:
            try:
                message = await asyncio.wait_for(anext(messages), 5)
            except StopAsyncIteration:
                return
            await handler.handle_message(message)


class Prefetching(Pulling):
    """Asks for the next message before it handles this one."""

    async def pull(self, handler: Any, messages: Any) -> None:
        coming = asyncio.ensure_future(anext(messages))
        while True:
            try:
                message = await coming
            except StopAsyncIteration:
                return
            coming = asyncio.ensure_future(anext(messages))
            await asyncio.sleep(0)
            await handler.handle_message(message)


class Queued(Pulling):
    """Reads in one task, which fills a queue, and handles in another."""

    async def pull(self, handler: Any, messages: Any) -> None:
        queue: asyncio.Queue[Any] = asyncio.Queue()

        async def read() -> None:
            async for message in messages:
                queue.put_nowait(message)
            queue.put_nowait(None)

        reader = asyncio.create_task(read())
        while (message := await queue.get()) is not None:
            await handler.handle_message(message)
        await reader


class ReadElsewhere(Pulling):
    """Reads in a task that knows nothing of the connection."""

    async def pull(self, handler: Any, messages: Any) -> None:
        queue: asyncio.Queue[Any] = asyncio.Queue()

        async def read() -> None:
            async for message in messages:
                queue.put_nowait(message)
            queue.put_nowait(None)

        reader = elsewhere(read())
        while (message := await queue.get()) is not None:
            await handler.handle_message(message)
        await reader


class Each(Pulling):
    """Handles each message in a task of its own, and reads on meanwhile."""

    async def pull(self, handler: Any, messages: Any) -> None:
        async with asyncio.TaskGroup() as group:
            async for message in messages:
                group.create_task(handler.handle_message(message))


class Pooled(Pulling):
    """Has each message handled by a worker that knows nothing of the connection."""

    async def pull(self, handler: Any, messages: Any) -> None:
        queue: asyncio.Queue[Any] = asyncio.Queue()

        async def work() -> None:
            while (message := await queue.get()) is not None:
                await handler.handle_message(message)

        workers = [elsewhere(work()) for _ in range(2)]
        async for message in messages:
            await queue.put(message)
        for _worker in workers:
            queue.put_nowait(None)
        await asyncio.gather(*workers)


class Below:
    """Is itself handled in a task below another, as under a limit for the whole connection."""

    async def handle(self) -> None:
        await asyncio.create_task(super().handle())  # type: ignore[misc]  # the host's


class Aside:
    """Handles each message in a task that it waits for."""

    async def handle_message(self, message: Any) -> None:
        await asyncio.create_task(super().handle_message(message))  # type: ignore[misc]  # the host's


class Deferring:
    """Only takes note of a message, and has a worker handle it later."""

    async def handle(self) -> None:
        self.noted: deque[Any] = deque()
        self.more = asyncio.Event()
        worker = elsewhere(self.work())
        try:
            await super().handle()  # type: ignore[misc]  # the host's
        finally:
            worker.cancel()
            await asyncio.wait([worker])

    async def handle_message(self, message: Any) -> None:
        self.noted.append(message)
        self.more.set()

    async def work(self) -> None:
        while True:
            await self.more.wait()
            self.more.clear()
            while self.noted:
                await super().handle_message(self.noted.popleft())  # type: ignore[misc]  # the host's


class Dispatching(Pulling):
    """Has a table of its own in the place of `handle_message`."""

    async def pull(self, handler: Any, messages: Any) -> None:
        methods = {"complete": "handle_complete", "subscribe": "handle_subscribe"}
        async for message in messages:
            type_ = message["type"]
            await getattr(handler, methods.get(type_, f"handle_{type_}"))(message)


class Relay:
    """An adapter in front of the host's; it reads in a task of its own, and has nothing else."""

    def __init__(self, adapter: Any) -> None:
        self._adapter = adapter

    async def iter_json(self, **options: Any) -> AsyncGenerator[Any, None]:
        queue: asyncio.Queue[Any] = asyncio.Queue()

        async def read() -> None:
            async for message in self._adapter.iter_json(**options):
                queue.put_nowait(message)
            queue.put_nowait(None)

        reader = asyncio.create_task(read())
        while (message := await queue.get()) is not None:
            yield message
        await reader

    async def send_json(self, message: Any) -> None:
        await self._adapter.send_json(message)

    async def close(self, code: int, reason: str) -> None:
        await self._adapter.close(code, reason)


class Relayed:
    """Puts an adapter of its own in front of the host's."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        handler = cast("Any", self)
        handler.websocket = Relay(handler.websocket)


class ReadingAdapter(AiohttpWebSocketAdapter):
    """Reads the socket in a task that knows nothing of the connection."""

    async def iter_json(self, **options: Any) -> AsyncGenerator[object, None]:
        queue: asyncio.Queue[Any] = asyncio.Queue()

        async def read() -> None:
            async for message in super(ReadingAdapter, self).iter_json(**options):
                queue.put_nowait(message)
            queue.put_nowait(None)

        reader = elsewhere(read())
        while (message := await queue.get()) is not None:
            yield message
        await reader


def adapted(base: type[View] = View) -> type[View]:
    """A view whose adapter reads elsewhere, and whose handlers are the host's."""

    class Adapted(base):  # type: ignore[valid-type,misc]  # whichever it is
        websocket_adapter_class = ReadingAdapter

    return Adapted
