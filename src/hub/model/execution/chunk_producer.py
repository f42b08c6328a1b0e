"""Iterates the generator of a streaming model, from its first chunk to its end, in one task or one thread."""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
)
from contextlib import aclosing, contextmanager
from inspect import isasyncgenfunction, isawaitable, unwrap
from typing import Any, final

from anyio.lowlevel import checkpoint
from typing_extensions import TypeIs

from hub.model.errors import WrongResponse
from hub.model.execution.chunk_window import ChunkWindow
from hub.model.execution.codec import MessageCodec
from hub.model.model import AnyModel

_EXPECTED = "stream of chunks"


@final
class ChunkProducer:
    """Puts the chunks that `process_request` of a model yields into the window of a run.

    Whatever ends the iteration, the generator is closed where it was iterated (PEP 789).

    Args:
        model: The model.
        codec: Serializes its chunks.

    Attributes:
        produce: Takes a request and a window. A coroutine function, or a plain function that is called in a thread; that
            returns an awaitable if the model returns an asynchronous iterator there.
    """

    def __init__(self, model: AnyModel, codec: MessageCodec) -> None:
        self._name = model.name
        self._codec = codec
        self._method: Callable[[Any], object] = model.process_request
        is_async = isasyncgenfunction(unwrap(self._method))
        self.produce: Callable[..., object] = self._produce if is_async else self._produce_in_thread

    async def _produce(self, request: object, window: ChunkWindow) -> None:
        await self._iterate_result(self._method(request), window)

    def _produce_in_thread(self, request: object, window: ChunkWindow) -> Awaitable[None] | None:
        made = self._method(request)
        if _is_async(made) or isawaitable(made):
            return self._iterate_result(made, window)
        with opened(made, self._name) as chunks:
            for chunk in chunks:
                if not window.put(self._codec.encode(chunk)):
                    break
                if window.full:
                    window.wait_for_room_in_thread()
                if window.closed:
                    break
        return None

    async def _iterate_result(self, made: object, window: ChunkWindow) -> None:
        made = await made if isawaitable(made) else made
        if not _is_async(made):
            raise WrongResponse(self._name, _EXPECTED, repr(type(made).__qualname__))
        await self._iterate(made, window)

    async def _iterate(self, made: AsyncIterable[object], window: ChunkWindow) -> None:
        chunks = aiter(made)
        if _is_generator(chunks):
            async with aclosing(chunks):
                await self._put_all(chunks, window)
        else:
            await self._put_all(chunks, window)

    async def _put_all(self, chunks: AsyncIterator[object], window: ChunkWindow) -> None:
        async for chunk in chunks:
            if not window.put(self._codec.encode(chunk)):
                return
            if window.full:
                await window.wait_for_room()
            else:  # a generator may have nothing to wait for: here it is cancelled, and here others run
                await checkpoint()
            if window.closed:
                return


@contextmanager
def opened(made: object, model: str) -> Generator[Iterator[object]]:
    """The iterator of what a plain `process_request` returned; closed after the block, if it can be.

    Args:
        made: What was returned.
        model: Name of the model.

    Raises:
        WrongResponse: It cannot be iterated.
    """
    if not _is_iterable(made):
        raise WrongResponse(model, _EXPECTED, repr(type(made).__qualname__))
    chunks = iter(made)
    try:
        yield chunks
    finally:
        close: object = getattr(chunks, "close", None)
        if callable(close):
            close()


def _is_async(made: object) -> TypeIs[AsyncIterable[object]]:
    return isinstance(made, AsyncIterable)


def _is_iterable(made: object) -> TypeIs[Iterable[object]]:
    return isinstance(made, Iterable)


def _is_generator(chunks: AsyncIterator[object]) -> TypeIs[AsyncGenerator[object]]:
    return isinstance(chunks, AsyncGenerator)
