"""pytest plugin of hub: models for a test, and virtual time. It imports hub when a test uses it, not when pytest begins.

```python
@pytest.fixture
def hub_models() -> list[type[hub.Model]]:
    return [Sentiment]


async def test_the_label(hub_client: hub.testing.LocalClient) -> None:
    assert await hub_client.call(Sentiment, SentimentRequest(text="good")) == SentimentResponse(label="positive")
```

Tests run on the backends of anyio's own plugin. `docs/testing.md` describes the fixtures.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, cast

import pytest

_NO_MODELS = "hub_client needs the models to run: write a fixture hub_models that returns their classes, [MyModel]"
_NOT_ASYNC = "hub_client needs an `async def` test, which the pytest plugin of anyio runs"


@pytest.fixture
def hub_models() -> Sequence[type[Any]]:
    """The models that `hub_client` runs: to be overridden in a module of tests or a conftest.py."""
    return ()


@pytest.fixture
def hub_client(request: pytest.FixtureRequest, hub_models: Sequence[type[Any]]) -> Sequence[type[Any]]:
    """A `hub.testing.LocalClient` of the `hub_models`, which run in the task of the test.

    In an event loop in virtual time (`hub_virtual_backend`) they run in virtual time. Only the test itself gets the client,
    not a fixture: there the tasks of the models would have to outlive a cancellation of the test.
    """
    if not hub_models:
        pytest.fail(_NO_MODELS, pytrace=False)
    if not iscoroutinefunction(request.function):
        pytest.fail(_NOT_ASYNC, pytrace=False)
    return hub_models  # `pytest_pyfunc_call` runs them


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def hub_virtual_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    """Each backend in virtual time, for a fixture `anyio_backend` that returns it."""
    from hub.testing import virtual_backend  # noqa: PLC0415 - hub is imported by the tests that use it

    return virtual_backend(request.param)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Runs the models around a test that takes `hub_client`."""
    if "hub_client" not in pyfuncitem.funcargs:
        return (yield)
    from hub.testing import run  # noqa: PLC0415
    from hub.testing.virtual_time import in_virtual_time  # noqa: PLC0415

    test = pyfuncitem.obj
    models = cast("Sequence[type[Any]]", pyfuncitem.funcargs["hub_client"])  # what the fixture has returned

    @wraps(test)
    async def with_models(**arguments: Any) -> None:
        async with run(*models, virtual_time=in_virtual_time()) as client:
            if "hub_client" in arguments:  # not with `usefixtures`
                arguments["hub_client"] = client
            await test(**arguments)

    pyfuncitem.obj = with_models
    try:
        return (yield)
    finally:
        pyfuncitem.obj = test
