"""Which adapter a URL names."""

from __future__ import annotations

import anyio
import pytest

from hub.brokers import open_broker
from hub.brokers.aiormq.broker import AiormqBroker
from hub.brokers.memory.broker import MemoryBroker
from hub.brokers.rabbitmq.broker import AmqpBroker
from hub.errors import ConfigurationError

WITHOUT_CONTROL = "amqp+aiormq://guest:guest@127.0.0.1:1/"


@pytest.fixture(params=["asyncio", "trio"], scope="module")
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


@pytest.mark.parametrize(
    ("url", "adapter"),
    [
        ("memory://", MemoryBroker),
        ("amqp://guest:guest@127.0.0.1/", AmqpBroker),
        ("amqps://guest:guest@127.0.0.1/", AmqpBroker),
        ("amqp+aiormq://guest:guest@127.0.0.1/", AiormqBroker),
        ("amqps+aiormq://guest:guest@127.0.0.1/", AiormqBroker),
    ],
)
async def test_the_scheme_decides(url: str, adapter: type[object]) -> None:
    assert isinstance(open_broker(url), adapter)


@pytest.mark.parametrize("url", ["kafka://localhost", "localhost:5672", ""])
def test_an_unknown_scheme_is_refused_with_those_that_are_known(url: str) -> None:
    repair = r"none of amqp://, .*memory://" if "://" in url else f"no scheme: write amqp://{url or 'host'}"
    with pytest.raises(ConfigurationError, match=repair):
        open_broker(url)


async def test_the_error_of_aiormq_on_trio_names_the_alternative(anyio_backend_name: str) -> None:
    if anyio_backend_name == "trio":
        with anyio.fail_after(5), pytest.raises(ConfigurationError, match=r"use amqp:// instead.*--backend asyncio"):
            async with open_broker(WITHOUT_CONTROL):
                pytest.fail("entered")
    else:
        with anyio.fail_after(5):
            async with open_broker(WITHOUT_CONTROL) as broker:
                assert not broker.statistics().connected
