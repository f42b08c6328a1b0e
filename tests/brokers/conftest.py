"""Runs every test of this folder over every adapter, on each backend that the adapter supports."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

import pytest

from hub.ports.broker import Broker
from hub.types import ModelName
from tests.brokers.helpers import Adapter, MemoryAdapter, RabbitMQAdapter, RemoteAdapter, new_queue
from tests.support.backends import ASYNCIO, TRIO

RABBITMQ = (pytest.mark.rabbitmq,)


@dataclass(frozen=True, slots=True)
class Case:
    backend: tuple[str, dict[str, object]]
    adapter: Callable[[pytest.FixtureRequest], Adapter]
    marks: tuple[pytest.MarkDecorator, ...] = ()


def memory(_: pytest.FixtureRequest) -> Adapter:
    return MemoryAdapter()


def remote(_: pytest.FixtureRequest) -> Adapter:
    return RemoteAdapter()


def amqp(request: pytest.FixtureRequest) -> Adapter:
    return RabbitMQAdapter(request.getfixturevalue("amqp_url"))


def aiormq(request: pytest.FixtureRequest) -> Adapter:
    return RabbitMQAdapter(request.getfixturevalue("amqp_url"), "+aiormq")


CASES = {
    "memory-asyncio": Case(ASYNCIO, memory),
    "memory-trio": Case(TRIO, memory),
    "amqp-asyncio": Case(ASYNCIO, amqp, RABBITMQ),
    "amqp-trio": Case(TRIO, amqp, RABBITMQ),
    "aiormq-asyncio": Case(ASYNCIO, aiormq, RABBITMQ),
    "reload-asyncio": Case(ASYNCIO, remote),
    "reload-trio": Case(TRIO, remote),
}


@pytest.fixture(scope="module", params=[pytest.param(case, id=name, marks=case.marks) for name, case in CASES.items()])
def case(request: pytest.FixtureRequest) -> Case:
    param = request.param
    assert isinstance(param, Case)
    return param


@pytest.fixture(scope="module")
def anyio_backend(case: Case) -> object:
    return case.backend


@pytest.fixture
def adapter(case: Case, request: pytest.FixtureRequest) -> Iterator[Adapter]:
    it = case.adapter(request)
    yield it
    it.clear()


@pytest.fixture
def queue() -> ModelName:
    return new_queue()


@pytest.fixture
async def broker(adapter: Adapter) -> AsyncIterator[Broker]:
    async with adapter.open() as opened:
        yield opened
