"""The system that the tests of calls run in: each adapter and each backend."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from hub.brokers import BrokerOptions, open_broker
from hub.stores import StoreOptions, open_store
from tests.model.calls.helpers import CASES, Case, System


@pytest.fixture(scope="module", params=[pytest.param(case, id=name, marks=case.marks) for name, case in CASES.items()])
def case(request: pytest.FixtureRequest) -> Case:
    param = request.param
    assert isinstance(param, Case)
    return param


@pytest.fixture(scope="module")
def anyio_backend(case: Case) -> object:
    return case.backend


@pytest.fixture
async def system(case: Case, request: pytest.FixtureRequest) -> AsyncIterator[System]:
    urls = [
        f"{scheme}://" if scheme == "memory" else f"{scheme}:{request.getfixturevalue(fixture).partition(':')[2]}"
        for scheme, fixture in ((case.broker, "amqp_url"), (case.store, "redis_url"))
    ]
    async with open_broker(urls[0], BrokerOptions()) as broker, open_store(urls[1], StoreOptions()) as store:
        yield System(broker, store, case.own_loop)
