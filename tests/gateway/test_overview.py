"""What the dashboard and Prometheus see."""

from __future__ import annotations

import anyio

from hub.brokers import open_broker
from hub.vocabulary import ModelName
from tests.gateway.faults import LOST, FaultyBroker
from tests.gateway.stage import CONTRACT_A, CONTRACT_DIGITS, DIGITS, Stage, echo_a, open_stage


async def test_the_overview_joins_models_with_their_queues(stage: Stage) -> None:
    await stage.model(live=2)
    await stage.model(DIGITS, CONTRACT_DIGITS, live=0)
    for _ in range(3):
        await stage.client.post("/v1/models/ModelA/tasks", json={})
    await stage.queues.look()

    overview = (await stage.client.get("/v1/overview")).json()

    assert (overview["registry"], overview["broker"]) == (True, True)
    digits, model_a = overview["models"]
    assert (digits["name"], digits["active"], digits["live"], digits["instances"]) == ("Digits", False, 0, 0)
    assert digits["queue"] == {"ready": 0, "consumers": 0, "dead": 0, "unacked": None, "oldest_seconds": None}
    assert (model_a["name"], model_a["active"], model_a["live"], model_a["instances"]) == ("ModelA", True, 2, 2)
    assert model_a["states"] == {"live": 2, "deaf": 0, "suspect": 0}
    assert (model_a["fingerprint"], model_a["request"]) == (CONTRACT_A.fingerprint, CONTRACT_A.request)
    assert model_a["queue"]["ready"] == 3


async def test_a_queue_that_does_not_exist_is_null(stage: Stage) -> None:
    await stage.tell(ModelName("Ghost"), CONTRACT_A, live=1)
    assert (await stage.client.get("/v1/overview")).json()["models"][0]["queue"] is None


async def test_a_broker_out_of_reach_is_part_of_the_overview() -> None:
    with anyio.fail_after(10):
        async with open_broker("memory://") as memory:
            broker = FaultyBroker(memory)
            async with open_stage(broker=broker) as stage:
                await stage.model()
                broker.error = LOST
                await stage.queues.look()
                overview = (await stage.client.get("/v1/overview")).json()
                assert (overview["broker"], overview["models"][0]["queue"]) == (False, None)


async def test_metrics_count_submits_and_time_calls(stage: Stage) -> None:
    await stage.model(answer=echo_a)
    await stage.client.post("/v1/models/ModelA", json={})
    await stage.client.post("/v1/models/Nobody", json={})

    reply = await stage.client.get("/metrics")

    assert reply.headers["content-type"].startswith("text/plain")
    assert 'hub_submits_total{model="ModelA",result="accepted"} 1.0' in reply.text
    assert 'hub_call_seconds_count{model="ModelA",state="succeeded"} 1.0' in reply.text
    assert "hub_gateway_models 1.0" in reply.text
    assert "Nobody" not in reply.text
