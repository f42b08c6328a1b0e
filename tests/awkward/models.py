"""Awkward models. Each does what public bug reports of other systems describe; each once disturbed hub too."""

from __future__ import annotations

import multiprocessing
import os
import re
import sys
import time
from typing import Final

from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from typing_extensions import override

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse

SETUP_VARIABLE: Final = "AWKWARD_SETUP_SECONDS"
"""Environment variable with the seconds that `SlowSetup` takes; 40 by default."""


class LongError(hub.Model[ModelARequest, ModelAResponse]):
    """The text of its error has 40,000 characters without a space."""

    @override
    def process_request(self, request: ModelARequest) -> ModelAResponse:
        raise ValueError("cannot decode " + "3f" * 20_000)


class ShortError(hub.Model[ModelARequest, ModelAResponse]):
    @override
    def process_request(self, request: ModelARequest) -> ModelAResponse:
        raise ValueError("no such voice")


class Exits(hub.Model[ModelARequest, ModelAResponse]):
    @override
    def process_request(self, request: ModelARequest) -> ModelAResponse:
        sys.exit(3)


class ExitsAsync(hub.Model[ModelARequest, ModelAResponse]):
    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        raise KeyboardInterrupt


class StopsChild(hub.Model[ModelARequest, ModelAResponse]):
    """Forks a child and stops it with SIGTERM, as data loaders do."""

    @override
    def process_request(self, request: ModelARequest) -> ModelAResponse:
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        child.start()
        time.sleep(0.2)
        child.terminate()
        child.join(5)
        return ModelAResponse(reply=f"exit code {child.exitcode}")


class Computes(hub.Model[ModelARequest, ModelAResponse]):
    """Computes inside `async def` without an `await`, for the number of seconds in the request."""

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        time.sleep(float(request.messages))  # noqa: ASYNC251 - the point
        return ModelAResponse(reply="done")


class HoldsGil(hub.Model[ModelARequest, ModelAResponse]):
    """C code that holds the GIL, in a plain `def`; each letter doubles its time."""

    @override
    def process_request(self, request: ModelARequest) -> ModelAResponse:
        re.match(r"(x+)+y", "x" * int(request.messages))
        return ModelAResponse(reply="done")


class SlowRun(hub.Model[ModelARequest, ModelAResponse]):
    """A plain `def` that cannot be interrupted."""

    @override
    def process_request(self, request: ModelARequest) -> ModelAResponse:
        time.sleep(float(request.messages))
        return ModelAResponse(reply="done")


class SlowSetup(hub.Model[ModelARequest, ModelAResponse]):
    @override
    def setup(self) -> None:
        time.sleep(float(os.environ.get(SETUP_VARIABLE, "40")))

    @override
    def process_request(self, request: ModelARequest) -> ModelAResponse:
        return ModelAResponse(reply="done")


class PlainHealth(hub.Model[ModelARequest, ModelAResponse]):
    @override
    def health(self) -> None:
        pass

    @override
    def process_request(self, request: ModelARequest) -> ModelAResponse:
        return ModelAResponse(reply="done")


class Deep(hub.Model[ModelARequest, Struct]):
    """A response that is nested deeper than parsers allow."""

    @override
    def process_request(self, request: ModelARequest) -> Struct:
        top = Struct()
        inner = top
        for _ in range(150):
            inner = inner.fields["x"].struct_value
        inner.fields["x"].string_value = "end"
        return top


class NoJson(hub.Model[ModelARequest, Timestamp]):
    """A response that has no JSON form."""

    @override
    def process_request(self, request: ModelARequest) -> Timestamp:
        return Timestamp(seconds=10**15)
