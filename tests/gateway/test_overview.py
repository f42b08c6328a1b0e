"""The overview, instances and history, and the metrics of submits."""

from __future__ import annotations

import anyio
import pytest

from hub.brokers import open_broker
from hub.errors import ConnectionLost
from hub.histogram import HistogramSnapshot
from hub.ports.directory import HistoryEvent, ModelLimits
from hub.registry.client.errors import RegistryRefused
from hub.registry.client.schemas import InstanceBody, ModelStatsBody, QueueBody, StatsBody
from hub.types import InstanceState, ModelName, TaskState
from tests.gateway.fakes import LOST, FaultyBroker
from tests.gateway.fixtures import (
    CONTRACT_A,
    CONTRACT_DIGITS,
    DIGITS,
    INSTANCE,
    MODEL_A,
    LocalGateway,
    echo_a,
    open_gateway,
)


async def test_the_overview_joins_models_with_their_queues(gateway: LocalGateway) -> None:
    await gateway.model(live=2, limits=ModelLimits(concurrency=3, max_batch_size=64))
    await gateway.model(DIGITS, CONTRACT_DIGITS, live=0)
    for _ in range(3):
        await gateway.client.post("/v1/models/ModelA/tasks", json={})
    await gateway.parts.queues.poll()

    overview = (await gateway.client.get("/v1/overview")).json()

    assert (overview["registry"], overview["broker"]) == (True, True)
    digits, model_a = overview["models"]
    assert (digits["name"], digits["active"], digits["live"], digits["instances"]) == ("Digits", False, 0, 0)
    assert digits["queue"] == {"ready": 0, "consumers": 0, "dead": 0, "unacked": None, "oldest_seconds": None}
    assert (model_a["name"], model_a["active"], model_a["live"], model_a["instances"]) == ("ModelA", True, 2, 2)
    assert model_a["states"] == {"live": 2, "not_consuming": 0, "suspect": 0, "loading": 0}
    assert (model_a["fingerprint"], model_a["request"]) == (CONTRACT_A.fingerprint, CONTRACT_A.request)
    assert model_a["queue"]["ready"] == 3
    assert [(each["concurrency"], each["max_batch_size"]) for each in (digits, model_a)] == [(1, 1), (3, 64)]


async def test_a_page_of_the_overview_has_the_models_that_were_asked_for_and_the_totals_of_all(
    gateway: LocalGateway,
) -> None:
    for name in ("Ab", "Bb", "Cb", "Dd"):
        await gateway.model(ModelName(name), live=1)
    for name in ("Bb", "Cb", "Cb"):
        await gateway.client.post(f"/v1/models/{name}/tasks", json={})
    await gateway.parts.queues.poll()

    async def names(**parameters: str | int) -> list[str]:
        overview = (await gateway.client.get("/v1/overview", params=parameters)).json()
        assert (overview["totals"]["known"], overview["totals"]["active"], overview["totals"]["waiting"]) == (4, 4, 3)
        assert overview["matching"] == (3 if parameters.get("name") == "B" else 4)
        return [model["name"] for model in overview["models"]]

    assert await names() == ["Ab", "Bb", "Cb", "Dd"]
    assert await names(sort="waiting") == ["Cb", "Bb", "Ab", "Dd"]
    assert await names(sort="waiting", name="B", offset=1, limit=2) == ["Bb", "Ab"]
    assert await names(limit=1, offset=4) == []


@pytest.mark.parametrize("query", ["sort=size", "limit=-1", "offset=-1", "limit=many"])
@pytest.mark.parametrize("path", ["/v1/overview", "/v1/overview/events"])
async def test_invalid_pages_of_the_overview_are_refused(gateway: LocalGateway, path: str, query: str) -> None:
    assert (await gateway.client.get(f"{path}?{query}")).status_code == 400


async def test_a_queue_that_does_not_exist_is_null(gateway: LocalGateway) -> None:
    await gateway.list_model(ModelName("Ghost"), CONTRACT_A, live=1)
    assert (await gateway.client.get("/v1/overview")).json()["models"][0]["queue"] is None


async def test_a_broker_out_of_reach_is_part_of_the_overview() -> None:
    with anyio.fail_after(10):
        async with open_broker("memory://") as memory:
            broker = FaultyBroker(memory)
            async with open_gateway(broker=broker) as gateway:
                await gateway.model()
                broker.error = LOST
                await gateway.parts.queues.poll()
                overview = (await gateway.client.get("/v1/overview")).json()
                assert (overview["broker"], overview["models"][0]["queue"]) == (False, None)


async def test_metrics_count_submits_and_time_calls(gateway: LocalGateway) -> None:
    await gateway.model(answer=echo_a)
    await gateway.client.post("/v1/models/ModelA", json={})
    await gateway.client.post("/v1/models/Unknown", json={})

    reply = await gateway.client.get("/metrics")

    assert reply.headers["content-type"].startswith("text/plain")
    assert 'hub_submits_total{model="ModelA",result="accepted"} 1.0' in reply.text
    assert 'hub_call_seconds_count{model="ModelA",state="succeeded"} 1.0' in reply.text
    assert "hub_gateway_models 1.0" in reply.text
    assert "Unknown" not in reply.text


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


async def test_instances_are_listed_as_in_the_registry(gateway: LocalGateway) -> None:
    gateway.registry.instance_list = [instance(1), instance(2, answered=None)]
    reply = await gateway.client.get("/v1/instances")
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


async def test_the_history_of_instances_is_shown_and_may_be_of_one_model(gateway: LocalGateway) -> None:
    def event(model: ModelName, after: InstanceState | None) -> HistoryEvent:
        return HistoryEvent(
            at=1.0, instance=INSTANCE, model=model, url="u", before=None, after=after, reason="it was refused"
        )

    gateway.registry.events = [event(DIGITS, None), event(MODEL_A, InstanceState.LIVE), event(MODEL_A, None)]
    everything = (await gateway.client.get("/v1/history")).json()["events"]
    assert [(found["model"], found["after"]) for found in everything] == [
        ("Digits", None),
        ("ModelA", "live"),
        ("ModelA", None),
    ]
    assert everything[0]["reason"] == "it was refused"
    one = (await gateway.client.get("/v1/history", params={"model": "ModelA", "limit": 1})).json()["events"]
    assert [(found["model"], found["after"]) for found in one] == [("ModelA", "live")]


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "model=%20"])
async def test_invalid_parameters_of_the_history_are_refused(gateway: LocalGateway, query: str) -> None:
    assert (await gateway.client.get(f"/v1/history?{query}")).status_code in {400, 422}


@pytest.mark.parametrize("path", ["/v1/instances", "/v1/history"])
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConnectionLost("registry", "no answer"), 503),
        (RegistryRefused(401, "unauthorized", "send a token"), 502),
    ],
)
async def test_a_registry_out_of_reach_is_a_problem(
    gateway: LocalGateway, path: str, error: Exception, status: int
) -> None:
    gateway.registry.error = error
    reply = await gateway.client.get(path)
    assert reply.status_code == status
    assert reply.headers["content-type"] == "application/problem+json"


async def test_stats_follow_the_registry_and_survive_its_absence(
    gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def until(fresh: bool) -> None:
        while gateway.parts.stats.is_fresh is not fresh:
            await anyio.lowlevel.checkpoint()

    monkeypatch.setattr("hub.gateway.dashboard.stats.POLL_INTERVAL", 0.01)
    times = HistogramSnapshot(bounds=(1.0,), counts=(4, 0), sum=1.0)
    queue = QueueBody(ready=5, unacked=2, consumers=1, dead=0, oldest_seconds=7.25)
    figures = ModelStatsBody(
        model="ModelA", in_flight=2, outcomes={TaskState.SUCCEEDED: 4}, queue_time=times, run_time=times, queue=queue
    )
    await gateway.model()
    gateway.registry.stats_reply = StatsBody(at=10.0, models=(figures,))
    gateway.tg.start_soon(gateway.parts.stats.run, name="hub.test figures")
    await until(fresh=True)
    (model,) = (await gateway.client.get("/v1/overview")).json()["models"]
    assert (model["queue"]["unacked"], model["queue"]["oldest_seconds"]) == (2, 7.25)
    assert (model["queue"]["ready"], model["work"]["in_flight"]) == (0, 2)  # depths are the gateway's own look
    gateway.registry.error = ConnectionLost("registry", "no answer")
    await until(fresh=False)
    assert (await gateway.client.get("/v1/overview")).json()["models"][0]["queue"]["unacked"] is None
    gateway.registry.error = None
    await until(fresh=True)


async def test_outcomes_of_the_gateway_are_among_the_finished_tasks(
    gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.gateway.dashboard.stats.POLL_INTERVAL", 0.01)

    async def work() -> dict[str, float | None]:
        (model,) = (await gateway.client.get("/v1/overview")).json()["models"]
        return model["work"] or {}

    await gateway.model()
    told = ModelStatsBody(
        model="ModelA",
        in_flight=0,
        outcomes={},
        queue_time=HistogramSnapshot(),
        run_time=HistogramSnapshot(),
        queue=None,
    )
    gateway.registry.stats_reply = StatsBody(at=10.0, models=(told,))
    gateway.tg.start_soon(gateway.parts.stats.run, name="hub.test figures")
    while not await work():
        await anyio.lowlevel.checkpoint()

    accepted = await gateway.client.post("/v1/models/ModelA/tasks", json={"messages": "unused"})
    cancelled = await gateway.client.delete(accepted.headers["location"])
    assert cancelled.json()["state"] == "cancelled"

    gateway.registry.stats_reply = StatsBody(at=12.0, models=(told,))
    while (await work())["finished_per_second"] is None:
        await anyio.lowlevel.checkpoint()
    assert await work() | {"finished_per_second": 0.5, "failed_per_second": 0, "failed": 0} == await work()
