"""The metrics of registry, gateway and instances under traffic."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, cast

import anyio
import pytest
from anyio.to_thread import run_sync
from httpx2 import AsyncClient
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from typing_extensions import override

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.brokers.memory.broker import MemoryBroker
from hub.concurrency.services import background_service
from hub.directories.memory import MemoryDirectory
from hub.gateway.service import run_gateway
from hub.http.client import open_client
from hub.model.instance.instance import run_instance
from hub.ports.broker import Broker
from hub.ports.directory import Directory
from hub.ports.result_store import ResultStore
from hub.registry.service import run_registry
from hub.settings.up import UpSettings
from hub.stores.memory.store import MemoryStore
from hub.stores.options import StoreOptions
from tests.system.metrics_page import SECTIONS, documented

TIMEOUT = 60.0
KINDS = ("registry", "gateway", "instance")

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


class Reader(hub.Model[ModelARequest, ModelAResponse]):
    """Has every metric that an instance may have."""

    @override
    async def process_batch(self, requests: Sequence[ModelARequest]) -> Sequence[ModelAResponse | Exception]:
        if requests[0].messages == "call":
            return [await hub.current_tasks()[0].call(Called, requests[0])]
        return [
            ValueError("bad") if request.messages == "bad" else ModelAResponse(reply=request.messages)
            for request in requests
        ]


class Called(hub.Model[ModelARequest, ModelAResponse]):
    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        return ModelAResponse(reply=request.messages)


class Streamer(hub.Model[ModelARequest, ModelAResponse]):
    @override
    async def process_request(self, request: ModelARequest) -> AsyncIterator[ModelAResponse]:
        yield ModelAResponse(reply=request.messages)


class Freezer:
    """Servers whose calls hang while `frozen`."""

    def __init__(self) -> None:
        self._thawed: anyio.Event | None = None
        self.asked = 0

    def freeze(self) -> None:
        self._thawed = anyio.Event()

    def thaw(self) -> None:
        if self._thawed is not None:
            self._thawed.set()

    def holding(self, inner: object) -> Any:
        """`inner`, with calls that hang."""
        return _Frozen(inner, self)

    async def passed(self) -> None:
        if self._thawed is not None:
            self.asked += 1
            await self._thawed.wait()


class _Frozen:
    def __init__(self, inner: object, freezer: Freezer) -> None:
        self._inner = inner
        self._freezer = freezer

    def __getattr__(self, name: str) -> object:
        found = getattr(self._inner, name)
        if not iscoroutinefunction(found):
            return found

        async def call(*arguments: object, **named: object) -> object:
            await self._freezer.passed()
            return await found(*arguments, **named)

        return call


@dataclass
class Whole:
    """A registry, a gateway and an instance in one process, and where each of them answers."""

    http: AsyncClient
    urls: Mapping[str, str]
    freezer: Freezer

    async def call(self, text: str, model: str = "Reader") -> int:
        reply = await self.http.post(f"{self.urls['gateway']}/v1/models/{model}", json={"messages": text})
        return reply.status_code

    async def metrics(self, kind: str, accept: str = "") -> str:
        reply = await self.http.get(f"{self.urls[kind]}/metrics", headers={"Accept": accept} if accept else {})
        assert reply.status_code == 200
        return reply.text

    async def families(self, kind: str) -> dict[str, Metric]:
        return {family.name: family for family in text_string_to_metric_families(await self.metrics(kind))}


@asynccontextmanager
async def whole(
    *others: type[hub.Model[ModelARequest, ModelAResponse]], metric_buckets: str = UpSettings.metric_buckets
) -> AsyncGenerator[Whole]:
    settings = UpSettings(
        gateway_port=0, registry_port=0, dashboard_port=0, depth_period=0.05, metric_buckets=metric_buckets
    )
    freezer = Freezer()
    async with (
        MemoryBroker() as open_broker,
        MemoryStore(StoreOptions(buckets=settings.buckets)) as open_store,
        open_client() as http,
    ):
        broker = cast("Broker", freezer.holding(open_broker))
        store = cast("ResultStore", freezer.holding(open_store))
        directory = cast("Directory", freezer.holding(MemoryDirectory()))
        registry = partial(run_registry, settings, directory=directory, broker=broker)
        async with background_service(registry, name="registry") as registry_url:
            settings = replace(settings, registry_url=registry_url)
            gateway = partial(run_gateway, settings, broker=broker, store=store)
            instance = partial(run_instance, Reader, settings, broker=broker, store=store)
            async with (
                background_service(gateway, name="gateway") as gateway_url,
                background_service(instance, name="instance") as instance_url,
                AsyncExitStack() as stack,
            ):
                for other in others:
                    run = partial(run_instance, other, settings, broker=broker, store=store)
                    await stack.enter_async_context(background_service(run, name=other.name))
                urls = {"registry": registry_url, "gateway": gateway_url, "instance": instance_url}
                it = Whole(http=http, urls=urls, freezer=freezer)
                try:
                    yield it
                finally:
                    freezer.thaw()


async def busy(it: Whole) -> None:
    """Sends traffic of every kind, and waits until all components have counted it."""
    while await it.call("good") != 200:
        await anyio.lowlevel.checkpoint()
    assert await it.call("bad") == 502
    while not (await it.families("registry"))["hub_queue_messages"].samples:
        await anyio.lowlevel.checkpoint()


def faults(text: str) -> tuple[int, str]:
    """Exit code and output of promtool for an exposition."""
    promtool = ["promtool", "check", "metrics"]
    done = subprocess.run(promtool, input=text, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


async def test_promtool_accepts_the_metrics_of_each_component() -> None:
    with anyio.fail_after(TIMEOUT):
        async with whole() as it:
            await busy(it)
            for kind in KINDS:
                text = await it.metrics(kind)
                assert (kind, await run_sync(faults, text)) == (kind, (0, ""))


async def test_each_component_has_its_metrics_in_openmetrics_on_request() -> None:
    with anyio.fail_after(TIMEOUT):
        async with whole() as it:
            await busy(it)
            for kind in KINDS:
                reply = await it.http.get(
                    f"{it.urls[kind]}/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
                )
                assert reply.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
                assert reply.text.endswith("# EOF\n")
                plain = await it.http.get(f"{it.urls[kind]}/metrics")
                assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


async def test_a_scrape_does_no_io() -> None:
    with anyio.fail_after(TIMEOUT):
        async with whole() as it:
            await busy(it)
            it.freezer.freeze()
            while it.freezer.asked == 0:  # the registry's look at the queues hangs
                await anyio.lowlevel.checkpoint()
            with anyio.fail_after(TIMEOUT / 2):  # a scrape that asked anybody would hang, too
                for kind in KINDS:
                    assert await it.families(kind)
                assert (await it.http.get(f"{it.urls['registry']}/v1/stats")).status_code == 200


def values(families: Mapping[str, Metric], family: str, sample: str, label: str) -> dict[str, float]:
    """The samples of one name, by one of their labels."""
    return {each.labels[label]: each.value for each in families[family].samples if each.name == f"{family}{sample}"}


async def test_each_task_and_each_call_of_the_store_is_counted() -> None:
    with anyio.fail_after(TIMEOUT):
        async with whole() as it:
            await busy(it)
            instance = await it.families("instance")
            while sum(values(instance, "hub_tasks", "_total", "outcome").values()) < 2:
                instance = await it.families("instance")  # the client may hear of an outcome before its instance does
            gateway = await it.families("gateway")
    tasks = values(instance, "hub_tasks", "_total", "outcome")
    assert tasks == {"succeeded": 1, "failed": 1, "cancelled": 0, "expired": 0, "dead": 0}
    for families, called, operations in (
        (gateway, "create", {"create", "fetch", "watch", "finish"}),
        (instance, "finish", {"start", "finish"}),
    ):
        for name in ("hub_store_call_seconds", "hub_store_batch_size"):
            counts = values(families, name, "_count", "operation")
            assert operations <= counts.keys()
            assert counts[called] >= 1
        assert families["hub_broker_connected"].samples[0].value == 1
        assert families["hub_store_connected"].samples[0].value == 1
        assert families["hub_broker_reconnects"].samples[0].value == 0
        assert families["hub_store_reconnects"].samples[0].value == 0
    sizes = {sample.name: sample.value for sample in gateway["hub_submit_group_size"].samples}
    assert sizes["hub_submit_group_size_sum"] == 2
    assert values(gateway, "hub_submits", "_total", "result")["accepted"] == 2


async def test_the_page_has_every_metric_and_no_other() -> None:
    with anyio.fail_after(TIMEOUT):
        async with whole(Called, Streamer) as it:
            await busy(it)
            for model, text in (("Streamer", "one"), ("Reader", "call")):
                while await it.call(text, model) != 200:
                    await anyio.sleep(0.05)  # its instance may not be listed yet
            for kind in KINDS:
                shown = {
                    f"{name}_total" if family.type == "counter" else name: (
                        family.type,
                        frozenset(label for sample in family.samples for label in sample.labels) - {"le"},
                    )
                    for name, family in (await it.families(kind)).items()
                    if name.startswith("hub_")  # or else it is an author's, or of Python
                }
                shown.pop("hub_broker_connections", None)  # without samples: the embedded broker has no nodes
                rows = {name: row for section in SECTIONS[kind] for name, row in documented(section).items()}
                rows.pop("hub_broker_connections", None)
                assert shown == rows, kind


async def test_times_are_counted_in_the_configured_buckets() -> None:
    with anyio.fail_after(TIMEOUT):
        async with whole(metric_buckets="0.25,7") as it:
            for kind, names in (
                ("instance", ("hub_task_queue_seconds", "hub_task_run_seconds", "hub_store_call_seconds")),
                ("gateway", ("hub_submit_seconds", "hub_call_seconds", "hub_store_call_seconds")),
            ):
                families = await it.families(kind)
                for name in names:
                    bounds = {sample.labels["le"] for sample in families[name].samples if "le" in sample.labels}
                    assert (name, bounds) == (name, {"0.25", "7.0", "+Inf"})
            ping = (await it.http.get(f"{it.urls['instance']}/ping")).json()
            assert ping["stats"]["run_time"]["bounds"] == ping["stats"]["queue_time"]["bounds"] == [0.25, 7.0]
