"""What an instance makes of tasks that were written for other contracts, by the word of the registry."""

from __future__ import annotations

import anyio
import pytest
import trio.testing
from typing_extensions import override

from hub.contract import Contract
from hub.errors import ConnectionLost
from hub.model.instance.compatibility import PAUSE, ContractSource, RegistryCompatibility
from hub.registry.client.contract_schemas import ContractBody, SchemaHistoryBody
from hub.registry.client.login import LoginResult
from hub.types import Fingerprint, InstanceState, ModelName
from tests.registry.helpers import BROKEN, GROWN, PLAIN

MODEL = ModelName("Grower")

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


@pytest.fixture(scope="module")
def anyio_backend() -> object:
    return ("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)})


class FakeRegistry(ContractSource):
    """A registry that has accepted PLAIN and GROWN. `up` has an instance each."""

    def __init__(self, *up: Contract) -> None:
        self.up = up
        self.down = False

    @override
    async def contract(self, model: ModelName, fingerprint: Fingerprint) -> Contract | None:
        await anyio.lowlevel.checkpoint()
        return {known.fingerprint: known for known in (PLAIN, GROWN)}.get(fingerprint)

    @override
    async def schema_history(self, model: ModelName) -> SchemaHistoryBody:
        await anyio.lowlevel.checkpoint()
        if self.down:
            raise ConnectionLost("registry", "down")
        contracts = (
            ContractBody(
                fingerprint=known.fingerprint,
                request=known.request,
                response=known.response,
                first_seen_at=1.0,
                first_seen_from="another instance",
                present=known is PLAIN,
                instances=int(known in self.up),
            )
            for known in (PLAIN, GROWN)
        )
        return SchemaHistoryBody(model=model, contracts=tuple(contracts))


async def test_nothing_is_settled_before_the_first_login() -> None:
    reading = RegistryCompatibility(FakeRegistry(), MODEL, GROWN)
    assert not reading.can_read(PLAIN.fingerprint)
    with anyio.move_on_after(1000) as scope:
        await reading.wait_ready()
    assert scope.cancelled_caught
    async with anyio.create_task_group() as tg:
        tg.start_soon(reading.wait_ready)
        await anyio.sleep(5)
        reading.on_login(LoginResult(state=InstanceState.LIVE, accepts=frozenset([PLAIN.fingerprint])))
    assert reading.can_read(PLAIN.fingerprint)
    assert not reading.can_read(BROKEN.fingerprint)


async def test_a_task_that_others_can_run_is_left_to_them_after_a_pause() -> None:
    reading = RegistryCompatibility(FakeRegistry(PLAIN, GROWN), MODEL, PLAIN)
    started = anyio.current_time()
    assert await reading.describe_mismatch(GROWN.fingerprint) is None
    assert anyio.current_time() - started >= PAUSE


async def test_a_task_of_a_contract_without_instances_is_explained() -> None:
    reading = RegistryCompatibility(FakeRegistry(PLAIN), MODEL, PLAIN)
    words = await reading.describe_mismatch(GROWN.fingerprint)
    assert words is not None
    assert "field 'tone' (string, number 2) is gone from grow.v1.Ask" in words


async def test_without_the_registry_nothing_is_explained() -> None:
    registry = FakeRegistry(PLAIN, GROWN)
    reading = RegistryCompatibility(registry, MODEL, PLAIN)
    assert await reading.describe_mismatch(BROKEN.fingerprint) == ""
    registry.down = True
    assert await reading.describe_mismatch(GROWN.fingerprint) == ""
