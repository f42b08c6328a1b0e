"""What the dashboard and Prometheus see."""

from __future__ import annotations

import anyio
import pytest

from hub.brokers import open_broker
from hub.errors import ConnectionLost
from hub.histogram import HistogramSnapshot
from hub.ports.directory import HistoryEvent
from hub.registry.client.errors import RegistryRefused
from hub.registry.client.schemas import InstanceBody, ModelStatsBody, QueueBody, StatsBody
from hub.types import InstanceState, ModelName, TaskState
from tests.gateway.faults import LOST, FaultyBroker
from tests.gateway.stage import CONTRACT_A, CONTRACT_DIGITS, DIGITS, INSTANCE, MODEL_A, Stage, echo_a, open_stage


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
    assert model_a["states"] == {"live": 2, "not_consuming": 0, "suspect": 0, "loading": 0}
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


def instance(number: int, *, answered: float | None = 200.5) -> InstanceBody:
    return InstanceBody(
        id=f"01890000-0000-7000-8000-00000000000{number}",
        model="ModelA",
        url="http://10.0.0.7:1234",
        fingerprint="f",
        state=InstanceState.SUSPECT,
        reason="it has not answered",
        misses=1,
        logged_in_at=100.25,
        answered_at=answered,
        in_flight=3 if answered else None,
    )


async def test_instances_are_shown_as_the_registry_sees_them(stage: Stage) -> None:
    stage.registry.listed = [instance(1), instance(2, answered=None)]
    reply = await stage.client.get("/v1/instances")
    first, second = reply.json()["instances"]
    assert reply.headers["cache-control"] == "no-store"
    assert (first["state"], first["reason"], first["misses"], first["in_flight"]) == (
        "suspect",
        "it has not answered",
        1,
        3,
    )
    assert (first["logged_in_at"], first["answered_at"]) == (
        "1970-01-01T00:01:40.250000Z",
        "1970-01-01T00:03:20.500000Z",
    )
    assert (second["answered_at"], second["in_flight"]) == (None, None)


async def test_the_history_of_instances_is_shown_and_may_be_of_one_model(stage: Stage) -> None:
    def event(model: ModelName, after: InstanceState | None) -> HistoryEvent:
        return HistoryEvent(
            at=1.0, instance=INSTANCE, model=model, url="u", before=None, after=after, reason="it was refused"
        )

    stage.registry.events = [event(DIGITS, None), event(MODEL_A, InstanceState.LIVE), event(MODEL_A, None)]
    everything = (await stage.client.get("/v1/history")).json()["events"]
    assert [(found["model"], found["after"]) for found in everything] == [
        ("Digits", None),
        ("ModelA", "live"),
        ("ModelA", None),
    ]
    assert everything[0]["reason"] == "it was refused"
    one = (await stage.client.get("/v1/history", params={"model": "ModelA", "limit": 1})).json()["events"]
    assert [(found["model"], found["after"]) for found in one] == [("ModelA", "live")]


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "model=%20"])
async def test_a_question_for_the_history_that_makes_no_sense_is_refused(stage: Stage, query: str) -> None:
    assert (await stage.client.get(f"/v1/history?{query}")).status_code in {400, 422}


@pytest.mark.parametrize("path", ["/v1/instances", "/v1/history"])
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConnectionLost("registry", "nobody answers"), 503),
        (RegistryRefused(401, "unauthorized", "send a token"), 502),
    ],
)
async def test_a_registry_out_of_reach_is_a_problem(stage: Stage, path: str, error: Exception, status: int) -> None:
    stage.registry.error = error
    reply = await stage.client.get(path)
    assert reply.status_code == status
    assert reply.headers["content-type"] == "application/problem+json"


async def test_figures_follow_the_registry_and_outlast_its_absence(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def until(fresh: bool) -> None:
        while stage.figures.fresh is not fresh:
            await anyio.lowlevel.checkpoint()

    monkeypatch.setattr("hub.gateway.dashboard.stats.PERIOD", 0.01)
    times = HistogramSnapshot(bounds=(1.0,), counts=(4, 0), sum=1.0)
    queue = QueueBody(ready=5, unacked=2, consumers=1, dead=0, oldest_seconds=7.25)
    figures = ModelStatsBody(
        model="ModelA", in_flight=2, outcomes={TaskState.SUCCEEDED: 4}, queue_time=times, run_time=times, queue=queue
    )
    await stage.model()
    stage.registry.told = StatsBody(at=10.0, models=(figures,))
    stage.tg.start_soon(stage.figures.watch, name="hub.test figures")
    await until(fresh=True)
    (model,) = (await stage.client.get("/v1/overview")).json()["models"]
    assert (model["queue"]["unacked"], model["queue"]["oldest_seconds"]) == (2, 7.25)
    assert (model["queue"]["ready"], model["work"]["in_flight"]) == (0, 2)  # depths are the gateway's own look
    stage.registry.error = ConnectionLost("registry", "nobody answers")
    await until(fresh=False)
    assert (await stage.client.get("/v1/overview")).json()["models"][0]["queue"]["unacked"] is None
    stage.registry.error = None
    await until(fresh=True)


async def test_what_the_gateway_itself_ends_is_among_what_was_finished(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.gateway.dashboard.stats.PERIOD", 0.01)

    async def work() -> dict[str, float | None]:
        (model,) = (await stage.client.get("/v1/overview")).json()["models"]
        return model["work"] or {}

    await stage.model()
    told = ModelStatsBody(
        model="ModelA",
        in_flight=0,
        outcomes={},
        queue_time=HistogramSnapshot(),
        run_time=HistogramSnapshot(),
        queue=None,
    )
    stage.registry.told = StatsBody(at=10.0, models=(told,))
    stage.tg.start_soon(stage.figures.watch, name="hub.test figures")
    while not await work():
        await anyio.lowlevel.checkpoint()

    accepted = await stage.client.post("/v1/models/ModelA/tasks", json={"messages": "for nobody"})
    cancelled = await stage.client.delete(accepted.headers["location"])
    assert cancelled.json()["state"] == "cancelled"

    stage.registry.told = StatsBody(at=12.0, models=(told,))
    while (await work())["finished_per_second"] is None:
        await anyio.lowlevel.checkpoint()
    assert await work() | {"finished_per_second": 0.5, "failed_per_second": 0, "failed": 0} == await work()
