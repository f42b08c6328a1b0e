"""Models that stream, with requests like `<method> <argument>`: one class for each place where a generator can run."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import anyio
from typing_extensions import override

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse


def chunk(text: object) -> ModelAResponse:
    return ModelAResponse(reply=str(text))


class Recorder:
    """What a generator in this process has done.

    Attributes:
        made: Chunks that it was advanced to, over all runs.
        entered: Runs that have begun.
        left: Runs that have left it.
    """

    def __init__(self) -> None:
        self.made = 0
        self.entered = 0
        self.left = 0


class Async(hub.Model[ModelARequest, ModelAResponse]):
    """A generator in the event loop of the model."""

    name = "Echo"
    concurrency = 3

    def __init__(self) -> None:
        self.recorder = Recorder()

    @override
    async def process_request(self, request: ModelARequest) -> AsyncIterator[ModelAResponse]:
        word, _, argument = request.messages.partition(" ")
        self.recorder.entered += 1
        try:
            async with aclosing(getattr(self, word)(argument)) as chunks:
                async for text in chunks:
                    self.recorder.made += 1
                    yield text  # noqa: ASYNC119 - hub closes the generator in the same task
        finally:
            self.recorder.left += 1

    async def count(self, to: str) -> AsyncIterator[ModelAResponse]:
        for number in range(int(to)):
            yield chunk(number)

    async def steps(self, to: str) -> AsyncIterator[ModelAResponse]:
        """With the number of the attempt, and slowly enough for something to happen meanwhile."""
        attempt = hub.current_task().attempt
        for number in range(int(to)):
            yield chunk(f"{attempt} {number}")
            await anyio.sleep(0.001)

    async def stall(self, after: str) -> AsyncIterator[ModelAResponse]:
        for number in range(int(after)):
            yield chunk(number)
        await anyio.sleep_forever()

    pause = stall

    async def rush(self, _: str) -> AsyncIterator[ModelAResponse]:
        """Without an end and without an await."""
        while True:
            yield chunk("x")

    async def big(self, size: str) -> AsyncIterator[ModelAResponse]:
        while True:
            yield chunk("x" * int(size))

    async def fail(self, after: str) -> AsyncIterator[ModelAResponse]:
        for number in range(int(after)):
            yield chunk(number)
        raise ConnectionRefusedError("no more")

    async def flaky(self, after: str) -> AsyncIterator[ModelAResponse]:
        attempt = hub.current_task().attempt
        for number in range(int(after)):
            yield chunk(f"{attempt} {number}")
        if attempt == 1:
            raise ConnectionRefusedError("again")

    async def wrong(self, _: str) -> AsyncIterator[object]:
        yield chunk("right")
        yield ModelARequest(messages="wrong")


class Shared(Async):
    """A generator in the event loop of the instance."""

    name = "Echo"
    shares_loop = True


class Plain(hub.Model[ModelARequest, ModelAResponse]):
    """A generator in a thread."""

    name = "Echo"
    concurrency = 3

    def __init__(self) -> None:
        self.recorder = Recorder()

    @override
    def process_request(self, request: ModelARequest) -> Iterator[ModelAResponse]:
        word, _, argument = request.messages.partition(" ")
        self.recorder.entered += 1
        try:
            for text in getattr(self, word)(argument):
                self.recorder.made += 1
                yield text
        finally:
            self.recorder.left += 1

    def count(self, to: str) -> Iterator[ModelAResponse]:
        for number in range(int(to)):
            yield chunk(number)

    def steps(self, to: str) -> Iterator[ModelAResponse]:
        attempt = hub.current_task().attempt
        for number in range(int(to)):
            yield chunk(f"{attempt} {number}")
            time.sleep(0.001)

    def stall(self, after: str) -> Iterator[ModelAResponse]:
        """Yields first, then waits between chunks: a thread is left at its next `yield`."""
        for number in range(int(after)):
            yield chunk(number)
        while not hub.current_task().cancelled:
            time.sleep(0.01)

    def pause(self, after: str) -> Iterator[ModelAResponse]:
        """Yields, and then nothing until it is cancelled."""
        yield from self.stall(after)

    def rush(self, _: str) -> Iterator[ModelAResponse]:
        while True:
            yield chunk("x")

    def big(self, size: str) -> Iterator[ModelAResponse]:
        while True:
            yield chunk("x" * int(size))

    def fail(self, after: str) -> Iterator[ModelAResponse]:
        for number in range(int(after)):
            yield chunk(number)
        raise ConnectionRefusedError("no more")

    def flaky(self, after: str) -> Iterator[ModelAResponse]:
        attempt = hub.current_task().attempt
        for number in range(int(after)):
            yield chunk(f"{attempt} {number}")
        if attempt == 1:
            raise ConnectionRefusedError("again")

    def wrong(self, _: str) -> Iterator[object]:
        yield chunk("right")
        yield ModelARequest(messages="wrong")


class Forked(Plain):
    """A generator in a process. Its recorder is in that process, so runs that were left leave a file."""

    name = "Echo"
    concurrency = 1
    run_in_process = True
    kill_grace = 30.0  # nothing here is killed because the machine is busy

    def pid(self, _: str) -> Iterator[ModelAResponse]:
        yield chunk(os.getpid())

    def die(self, after: str) -> Iterator[ModelAResponse]:
        attempt = hub.current_task().attempt
        for number in range(int(after)):
            yield chunk(f"{attempt} {number}")
        if attempt == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    def touch(self, path: str) -> Iterator[ModelAResponse]:
        """Leaves a file when it is closed or interrupted."""
        try:
            while True:
                yield chunk("x")
        finally:
            with open(path, "w"):  # noqa: PTH123 - the model is not what is tested here
                pass


FORMS: dict[str, type[Async | Plain]] = {"async": Async, "shared": Shared, "thread": Plain, "process": Forked}
