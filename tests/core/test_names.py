"""Names of models, against the names of queues that hub makes out of them."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest
from anyio import fail_after
from httpx2 import AsyncClient, MockTransport, Response
from hypothesis import example, given, strategies as st

from examples.model_a import ModelA
from hub.brokers.topology import DEAD_LETTER_EXCHANGE, delay_queue
from hub.errors import InvalidName
from hub.model.errors import InvalidModel
from hub.ports.directory import RegisteredContract
from hub.registry.client.client import RegistryClient
from hub.registry.core.state import RegistryState
from hub.types import ModelName, dead_letter_queue, model_name, new_instance_id
from tests.registry.helpers import TEXTS

NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_.-]{0,63}", fullmatch=True)


def valid(name: str) -> bool:
    try:
        model_name(name)
    except InvalidName:
        return False
    return True


@given(NAMES, st.floats(min_value=0, max_value=1e12))
@example("x", 1.0)
@example("ModelA", 2.0**22)
def test_no_model_is_named_like_a_queue_that_hub_makes_for_another(name: str, delay: float) -> None:
    for queue in (name, dead_letter_queue(name)):
        assert not valid(dead_letter_queue(queue))
        assert not valid(delay_queue(queue, delay))


@pytest.mark.parametrize(
    "name",
    [
        "ModelA.dead",
        "hub.dead",
        "hub.x",
        "x.delay.1",
        "x.delay.4194304",
        "x.dead.delay.2",
        "amq.gen",
        "amq.",
        "x.delay.3",
    ],
)
def test_names_of_other_queues_are_refused_with_the_reason(name: str) -> None:
    with pytest.raises(InvalidName) as refused:
        model_name(name)
    assert "reserved" in str(refused.value)
    assert "another name" in str(refused.value)
    assert str(pickle.loads(pickle.dumps(refused.value))) == str(refused.value)


@pytest.mark.parametrize(
    "name", ["ModelA", "dead", "hub", "amq", "hubs.x", "x.delay", "x.delay.y", "x.deadly", "x.dead.1"]
)
def test_names_that_resemble_reserved_ones_are_valid(name: str) -> None:
    assert model_name(name) == name
    assert name not in {dead_letter_queue(name), delay_queue(name, 1), DEAD_LETTER_EXCHANGE}


async def test_a_gateway_ignores_a_listed_model_whose_name_is_reserved() -> None:
    listed = {
        "name": "ModelA.dead",
        "active": True,
        "fingerprint": "0" * 64,
        "request": "a.A",
        "response": "a.A",
        "instances": [],
    }
    reply = Response(200, json={"models": [listed]}, headers={"ETag": '"1"'})
    async with AsyncClient(transport=MockTransport(lambda _request: reply)) as http:
        with fail_after(5):
            assert (await RegistryClient("http://registry", http).models()).models == {}


async def test_a_registry_ignores_a_remembered_model_whose_name_is_reserved() -> None:
    state = RegistryState()
    known = RegisteredContract(
        model=ModelName("x.delay.1"), contract=TEXTS, first_seen_at=1.0, first_seen_from=new_instance_id()
    )
    state.add_contracts([known, replace(known, model=ModelName("x"))])
    assert [model.name for model in state.models()] == ["x"]


def test_a_model_class_with_such_a_name_is_refused_where_it_is_defined() -> None:
    with pytest.raises(InvalidModel, match="reserved"):
        type("Bad", (ModelA,), {"name": "ModelA.dead"})
