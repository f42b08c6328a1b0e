"""The metrics of the gateway."""

from __future__ import annotations

import anyio
from prometheus_client.parser import text_string_to_metric_families

from hub.types import ModelName
from tests.gateway.fixtures import CONTRACT_DIGITS, DIGITS, MODEL_A, LocalGateway, echo_a
from tests.gateway.test_tasks import submit

Samples = dict[tuple[str, ...], float]


async def samples(gateway: LocalGateway, name: str) -> Samples:
    """The samples of this name, by the values of their labels."""
    text = (await gateway.client.get("/metrics")).text
    return {
        tuple(sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


async def test_a_model_has_its_series_before_the_first_submit(gateway: LocalGateway) -> None:
    await gateway.model(live=0)
    results = ("accepted", "replayed", "model_unavailable", "queue_full")
    assert await samples(gateway, "hub_submits_total") == {(MODEL_A, result): 0 for result in results}
    assert await samples(gateway, "hub_submit_seconds_count") == {(MODEL_A,): 0}
    states = ("succeeded", "failed")
    assert await samples(gateway, "hub_call_seconds_count") == {(MODEL_A, state): 0 for state in states}
    assert await samples(gateway, "hub_tasks_total") == {(MODEL_A, "cancelled"): 0, (MODEL_A, "expired"): 0}


async def test_the_outcomes_that_the_gateway_gives_are_counted_where_it_gives_them(gateway: LocalGateway) -> None:
    await gateway.model()
    cancelled = await submit(gateway)
    await gateway.client.delete(cancelled)
    await gateway.client.delete(cancelled)
    await gateway.client.delete(await submit(gateway))
    assert await samples(gateway, "hub_tasks_total") == {(MODEL_A, "cancelled"): 2, (MODEL_A, "expired"): 0}


async def test_what_an_instance_has_ended_is_not_counted_here(gateway: LocalGateway) -> None:
    await gateway.model(answer=echo_a)
    done = await submit(gateway)
    assert (await gateway.client.get(done, params={"wait": 5})).json()["state"] == "succeeded"
    assert (await gateway.client.delete(done)).status_code == 409
    assert set((await samples(gateway, "hub_tasks_total")).values()) == {0}


async def test_series_end_with_the_model_and_begin_anew_with_it(gateway: LocalGateway) -> None:
    await gateway.model()
    await gateway.model(DIGITS, CONTRACT_DIGITS)
    await submit(gateway)
    gateway.watch.forget(MODEL_A)
    with anyio.fail_after(5):
        await gateway.parts.catalog.changed()
    assert {model for model, _ in await samples(gateway, "hub_submits_total")} == {DIGITS}
    assert set(await samples(gateway, "hub_submit_seconds_count")) == {(DIGITS,)}
    await gateway.model()
    assert (await samples(gateway, "hub_submits_total"))[MODEL_A, "accepted"] == 0


async def test_a_model_without_instances_keeps_its_counts(gateway: LocalGateway) -> None:
    await gateway.model()
    await submit(gateway)
    await gateway.model(live=0)
    assert (await samples(gateway, "hub_submits_total"))[MODEL_A, "accepted"] == 1


async def test_unknown_names_in_requests_get_no_series(gateway: LocalGateway) -> None:
    await gateway.model()
    for name in ("Unknown", "Else"):
        assert (await gateway.client.post(f"/v1/models/{name}/tasks", json={})).status_code == 404
    models = {ModelName(model) for model, _ in await samples(gateway, "hub_submits_total")}
    assert models == {MODEL_A}


async def test_batches_are_counted_by_the_tasks_that_were_accepted_in_them(gateway: LocalGateway) -> None:
    await gateway.model()
    async with anyio.create_task_group() as tg:
        for _ in range(20):
            tg.start_soon(submit, gateway)
    [total] = (await samples(gateway, "hub_submit_group_size_sum")).values()
    [groups] = (await samples(gateway, "hub_submit_group_size_count")).values()
    assert total == 20
    assert 1 <= groups <= 20
