"""One instance over real HTTP: its routes, its start, its end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from functools import partial
from ipaddress import ip_network
from itertools import accumulate
from typing import Any, ClassVar

import anyio
import msgspec
import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorSet
from httpx2 import AsyncClient
from prometheus_client.parser import text_string_to_metric_families
from typing_extensions import override

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.brokers.memory.broker import MemoryBroker
from hub.concurrency.services import background_service
from hub.contract import Contract
from hub.errors import ConnectionLost
from hub.http.client import open_client
from hub.model.errors import ModelNotStarted
from hub.model.instance.instance import run_instance
from hub.model.worker.statistics import OUTCOMES
from hub.ports.directory import ModelLimits
from hub.registry.client.errors import NameTaken
from hub.registry.core.networks import InstanceNetworks
from hub.registry.tasks.descriptor_reader import DescriptorReader
from hub.registry.tasks.instance_http import InstanceHttp
from hub.settings.model import ModelSettings
from hub.stats import InstanceStats
from hub.stores.memory.store import MemoryStore
from hub.stores.options import StoreOptions
from hub.task import Task
from hub.types import InstanceId, ModelName, TaskState, new_task_id
from hub.v1.contract_pb2 import Contract as ContractMessage
from tests.model.fake_registry import FakeRegistry, fake_registry
from tests.model.fakes import TIMEOUT, Echo, ended, reply_of, submit

INSTANCE = InstanceId("0192-instance")
CONTRACT: Contract = Contract.from_descriptors(ModelARequest.DESCRIPTOR, ModelAResponse.DESCRIPTOR)

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


@pytest.fixture
async def registry() -> AsyncIterator[FakeRegistry]:
    async with fake_registry() as it:
        yield it


@pytest.fixture
async def client() -> AsyncIterator[AsyncClient]:
    async with open_client() as http:
        yield http


def settings(registry: FakeRegistry, **changes: object) -> ModelSettings:
    values: dict[str, object] = {"registry_url": registry.url, "start_timeout": 10.0, "drain_grace": 10.0}
    return ModelSettings(**{**values, **changes})  # type: ignore[arg-type]  # fields by name


def new_task(text: str) -> Task:
    return Task(
        id=new_task_id(),
        model=ModelName("Echo"),
        body=ModelARequest(messages=text).SerializeToString(),
        fingerprint=CONTRACT.fingerprint,
        created_at=1_700_000_000.0,
    )


class Choosy(Echo):
    name = "Echo"

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        if request.messages == "fail":
            raise RuntimeError(request.messages)
        return ModelAResponse(reply=request.messages)


async def load_of(client: AsyncClient, url: str) -> InstanceStats:
    return msgspec.convert((await client.get(f"{url}/ping")).json()["stats"], InstanceStats)


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def labels(**pairs: str) -> frozenset[tuple[str, str]]:
    return frozenset({"model": "Echo", **pairs}.items())


class World:
    """What an instance needs around it."""

    def __init__(self, registry: FakeRegistry) -> None:
        self.registry = registry
        self.broker = MemoryBroker()
        self.store = MemoryStore(StoreOptions())

    def instance(
        self, model: type[hub.Model[Any, Any]] = Echo, **changes: object
    ) -> Callable[..., Coroutine[Any, Any, None]]:
        return partial(
            run_instance,
            model,
            settings(self.registry, **changes),
            broker=self.broker,
            store=self.store,
            instance=INSTANCE,
        )


@pytest.fixture
async def world(registry: FakeRegistry) -> AsyncIterator[World]:
    it = World(registry)
    async with it.broker, it.store:
        yield it


async def test_every_get_of_an_instance_has_its_head_and_every_path_one_allow(
    world: World, client: AsyncClient
) -> None:
    with anyio.fail_after(TIMEOUT):
        async with background_service(world.instance(), name="instance") as url:
            paths = ["/ping", "/descriptors", "/descriptors/request", "/descriptors/response", "/metrics"]
            for path in [*paths, "/health/live", "/health/ready"]:
                options, refused = await client.options(url + path), await client.put(url + path)
                assert (options.status_code, refused.status_code) == (204, 405), path
                assert options.headers["allow"] == refused.headers["allow"] == "GET, HEAD, OPTIONS", path
                head, get = await client.head(url + path), await client.get(url + path)
                assert (head.status_code, head.content) == (get.status_code, b"") == (200, b""), path
                assert head.headers["content-type"] == get.headers["content-type"], path
            assert (await client.options(f"{url}/resubscribe")).headers["allow"] == "OPTIONS, POST"
            assert (await client.options(f"{url}/none")).status_code == 404


async def test_an_instance_logs_in_works_and_logs_out(world: World) -> None:
    one = new_task("hello")
    with anyio.fail_after(TIMEOUT):
        async with background_service(world.instance(), name="instance") as url:
            [(instance, login)] = world.registry.logins
            assert instance == INSTANCE
            assert login.model == "Echo"
            assert login.url == url
            assert login.contract is not None
            sent = ContractMessage.FromString(login.contract)
            assert (sent.request, sent.response) == (CONTRACT.request, CONTRACT.response)
            await submit(world.broker, world.store, one)
            assert await reply_of(world.store, one) == "hello"
            assert world.registry.logouts == []
        assert world.registry.logouts == [INSTANCE]


async def test_a_ping_tells_how_the_instance_is(world: World, client: AsyncClient) -> None:
    one = new_task("hello")
    with anyio.fail_after(TIMEOUT):
        async with background_service(world.instance(), name="instance") as url:
            await submit(world.broker, world.store, one)
            await ended(world.store, one)
            response = await client.get(f"{url}/ping")
    assert response.status_code == 200
    ping = response.json()
    assert ping.pop("uptime_seconds") >= 0
    assert ping.pop("in_flight") in (0, 1)
    assert ping.pop("stats")["newest_task_created_at"] == one.created_at
    assert ping == {
        "instance": INSTANCE,
        "model": "Echo",
        "consuming": True,
        "draining": False,
        "attempts": 1,
        "reason": "",
        "loading": False,
    }


async def test_a_ping_is_503_while_nothing_is_consumed(world: World, client: AsyncClient) -> None:
    with anyio.fail_after(TIMEOUT):
        async with background_service(world.instance(), name="instance") as url:
            with world.broker.outage():
                response = await client.get(f"{url}/ping")
                while response.json()["consuming"]:
                    response = await client.get(f"{url}/ping")
                assert response.status_code == 503
                assert response.json()["instance"] == INSTANCE
            while response.status_code != 200:
                response = await client.get(f"{url}/ping")


async def test_a_ping_is_503_while_the_model_says_that_it_is_ill(world: World, client: AsyncClient) -> None:
    class Ill(Echo):
        name = "Echo"

        @override
        async def health(self) -> None:
            raise RuntimeError("no GPU")

    with anyio.fail_after(TIMEOUT):
        async with background_service(world.instance(Ill), name="instance") as url:
            response = await client.get(f"{url}/ping")
    assert response.status_code == 503
    assert response.json()["reason"] == "RuntimeError: no GPU"


async def test_descriptors_come_as_protobuf_or_as_json(world: World, client: AsyncClient) -> None:
    with anyio.fail_after(TIMEOUT):
        async with background_service(world.instance(), name="instance") as url:
            whole = await client.get(f"{url}/descriptors")
            as_json = await client.get(f"{url}/descriptors", headers={"Accept": "application/json"})
            request = await client.get(f"{url}/descriptors/request")
            response = await client.get(f"{url}/descriptors/response", headers={"Accept": "application/json"})
    assert whole.headers["content-type"] == "application/x-protobuf"
    assert FileDescriptorSet.FromString(whole.content) == FileDescriptorSet.FromString(CONTRACT.files)
    assert as_json.json()["file"][0]["package"] == "examples.model_a.v1"
    assert DescriptorProto.FromString(request.content).name == "ModelARequest"
    assert response.json()["name"] == "ModelAResponse"
    names = [each.headers.get("hub-message") for each in (whole, request, response)]
    assert names == [None, CONTRACT.request, CONTRACT.response]


async def test_the_registry_reads_the_contract_from_these_routes(world: World) -> None:
    loopback = InstanceNetworks([ip_network("127.0.0.0/8")])
    with anyio.fail_after(TIMEOUT):
        async with background_service(world.instance(), name="instance") as url, InstanceHttp(loopback) as http:
            assert await DescriptorReader(http).read(url) == CONTRACT


async def test_metrics_tell_what_was_done(world: World, client: AsyncClient) -> None:
    one = new_task("hello")
    with anyio.fail_after(TIMEOUT):
        async with background_service(world.instance(), name="instance") as url:
            await submit(world.broker, world.store, one)
            await ended(world.store, one)
            text = (await client.get(f"{url}/metrics")).text
            while 'hub_tasks_total{model="Echo",outcome="succeeded"} 1.0' not in text:
                text = (await client.get(f"{url}/metrics")).text
    assert 'hub_instance_consuming{model="Echo"} 1.0' in text
    assert 'hub_task_run_seconds_count{model="Echo",outcome="succeeded"} 1.0' in text
    assert 'hub_task_attempts_total{model="Echo"} 1.0' in text


async def test_web_pages_of_others_and_rebound_names_reach_nothing(world: World, client: AsyncClient) -> None:
    with anyio.fail_after(TIMEOUT):
        async with background_service(world.instance(), name="instance") as url:
            for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
                refused = await client.post(f"{url}/resubscribe", headers=headers)
                assert (refused.status_code, refused.json()["code"]) == (403, "cross_site_request")
            for path in ("/ping", "/metrics", "/health/live", "/none"):
                misdirected = await client.get(url + path, headers={"Host": "evil.example"})
                assert (misdirected.status_code, misdirected.json()["code"]) == (421, "unknown_host")
            assert (await client.get(f"{url}/ping", headers={"Host": "localhost"})).status_code == 200


async def test_an_instance_answers_to_the_name_that_it_is_advertised_under(world: World, client: AsyncClient) -> None:
    with anyio.fail_after(TIMEOUT):
        async with background_service(world.instance(advertise_host="localhost.box.example"), name="instance") as url:
            assert (await client.get(f"{url}/ping", headers={"Host": "localhost.box.example:1"})).status_code == 200
            assert (await client.get(f"{url}/ping", headers={"Host": "box.example"})).status_code == 421


@pytest.mark.parametrize("accept", ["text/plain;version=abc", "application/openmetrics-text;version=", ";;;="])
async def test_figures_come_whatever_is_accepted(world: World, client: AsyncClient, accept: str) -> None:
    with anyio.fail_after(TIMEOUT):
        async with background_service(world.instance(), name="instance") as url:
            assert (await client.get(f"{url}/metrics", headers={"Accept": accept})).status_code == 200


async def test_a_ping_and_the_metrics_tell_the_same(world: World, client: AsyncClient) -> None:
    tasks = [new_task("hello"), new_task("world"), new_task("fail")]
    with anyio.fail_after(TIMEOUT):
        async with background_service(world.instance(Choosy), name="instance") as url:
            assert (await load_of(client, url)).outcomes == dict.fromkeys(OUTCOMES, 0)
            for task in tasks:
                await submit(world.broker, world.store, task)
            load = await load_of(client, url)
            while sum(load.outcomes.values()) < len(tasks) or load.in_flight or load.unacked:
                load = await load_of(client, url)
            seen = samples((await client.get(f"{url}/metrics")).text)
    assert load.outcomes == {**dict.fromkeys(OUTCOMES, 0), TaskState.SUCCEEDED: 2, TaskState.FAILED: 1}
    assert load.outcomes == {state: seen["hub_tasks_total", labels(outcome=state)] for state in OUTCOMES}
    assert seen["hub_instance_in_flight", labels()] == 0
    for times, name, states in (
        (load.queue_time, "hub_task_queue_seconds", [{}]),
        (load.run_time, "hub_task_run_seconds", [{"outcome": state.value} for state in OUTCOMES]),
    ):
        assert sum(times.counts) == len(tasks)
        assert times.sum == pytest.approx(sum(seen[f"{name}_sum", labels(**state)] for state in states))
        for bound, below in zip(times.bounds, accumulate(times.counts[:-1]), strict=True):
            keys = [(f"{name}_bucket", labels(le=str(bound), **state)) for state in states]
            assert sum(seen[key] for key in keys) == below


async def test_each_outcome_has_a_series_before_it_happens(world: World, client: AsyncClient) -> None:
    with anyio.fail_after(TIMEOUT):
        async with background_service(world.instance(), name="instance") as url:
            seen = samples((await client.get(f"{url}/metrics")).text)
    for state in OUTCOMES:
        assert seen["hub_tasks_total", labels(outcome=state)] == 0
        assert seen["hub_task_run_seconds_count", labels(outcome=state)] == 0
    assert seen["hub_task_queue_seconds_count", labels()] == 0


async def test_what_is_handed_out_is_unacked_until_it_is_done(world: World, client: AsyncClient) -> None:
    release = anyio.Event()

    class Slow(Echo):
        name = "Echo"
        concurrency = 2

        @override
        async def process_request(self, request: ModelARequest) -> ModelAResponse:
            await release.wait()
            return ModelAResponse(reply=request.messages)

    with anyio.fail_after(TIMEOUT):
        async with background_service(world.instance(Slow), name="instance") as url:
            for text in ("a", "b", "c"):
                await submit(world.broker, world.store, new_task(text))
            load = await load_of(client, url)
            while (load.in_flight, load.unacked) != (2, 2):  # the third waits in the queue
                load = await load_of(client, url)
            release.set()
            while load.outcomes[TaskState.SUCCEEDED] < 3 or load.unacked:
                load = await load_of(client, url)


async def test_routes_ask_for_the_token(world: World, client: AsyncClient) -> None:
    with anyio.fail_after(TIMEOUT):
        async with background_service(world.instance(token="open sesame"), name="instance") as url:
            assert (await client.get(f"{url}/ping")).status_code == 401
            known = await client.get(f"{url}/ping", headers={"Authorization": "Bearer open sesame"})
            assert known.status_code == 200


async def test_a_drain_lets_running_work_finish_and_logs_out_first(world: World) -> None:
    release = anyio.Event()

    class Slow(Echo):
        name = "Echo"

        @override
        async def process_request(self, request: ModelARequest) -> ModelAResponse:
            begun.set()
            await release.wait()
            return ModelAResponse(reply=request.messages)

    begun = anyio.Event()
    one = new_task("slow")
    with anyio.fail_after(TIMEOUT):
        async with anyio.create_task_group() as tg:
            await tg.start(world.instance(Slow))
            await submit(world.broker, world.store, one)
            await begun.wait()
            requested = world.registry.requested
            tg.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await requested.wait()
                assert world.registry.logouts == [INSTANCE]
                release.set()
        assert await reply_of(world.store, one) == "slow"
        assert (await world.broker.depths([ModelName("Echo")]))[ModelName("Echo")] is not None


async def test_a_taken_name_ends_the_instance_with_the_differences(world: World) -> None:
    world.registry.taken = True
    with anyio.fail_after(TIMEOUT), pytest.raises(NameTaken, match="'messages' has another type") as caught:
        await world.instance()()
    assert caught.value.differences == ("request field 'messages' has another type",)


async def test_a_broker_that_stays_away_ends_the_instance(world: World) -> None:
    with anyio.fail_after(TIMEOUT), world.broker.outage(), pytest.raises(ConnectionLost) as caught:
        await world.instance(start_timeout=0.0)()
    assert caught.value.exit_code == 3
    assert world.registry.logins == []


async def test_a_registry_that_stays_away_ends_the_instance(world: World) -> None:
    world.registry.url = "http://127.0.0.1:9"
    with anyio.fail_after(TIMEOUT), pytest.raises(ConnectionLost, match="registry"):
        await world.instance(start_timeout=0.0)()


async def test_a_setup_that_fails_ends_the_instance_before_it_takes_anything(world: World) -> None:
    class Broken(Echo):
        name = "Echo"
        torn_down = False

        @override
        async def setup(self) -> None:
            raise OSError("no weights")

        @override
        def teardown(self) -> None:
            type(self).torn_down = True

    with (
        anyio.fail_after(TIMEOUT),
        pytest.raises(ModelNotStarted, match="setup of model Echo raised OSError: no weights\n  in tests/") as caught,
    ):
        await world.instance(Broken)()
    assert [body.loading for _, body in world.registry.logins] == [True]
    assert world.registry.logouts == [INSTANCE]
    assert isinstance(caught.value.__cause__, OSError)
    assert Broken.torn_down


async def test_an_instance_says_what_holds_for_its_tasks(world: World) -> None:
    class Patient(Echo):
        name = "Echo"
        concurrency = 7
        default_timeout: ClassVar[float | None] = 30.0
        max_timeout: ClassVar[float | None] = 90.0

    with anyio.fail_after(TIMEOUT):
        async with background_service(world.instance(Patient), name="instance"):
            [(_, login)] = world.registry.logins
    assert login.limits == ModelLimits(concurrency=7, default_timeout=30.0, max_timeout=90.0)


async def test_an_instance_with_batches_says_how_large_they_are(world: World) -> None:
    class Gathers(hub.Model[ModelARequest, ModelAResponse]):
        name = "Echo"
        max_batch_size = 48

        @override
        async def process_batch(self, requests: Sequence[ModelARequest]) -> list[ModelAResponse]:
            return [ModelAResponse(reply=request.messages) for request in requests]

    with anyio.fail_after(TIMEOUT):
        async with background_service(world.instance(Gathers), name="instance"):
            [(_, login)] = world.registry.logins
    assert login.limits == ModelLimits(max_batch_size=48)


async def test_an_instance_that_loses_its_queue_says_so_to_the_registry_and_says_when_it_is_back(world: World) -> None:
    with anyio.fail_after(TIMEOUT):
        async with background_service(world.instance(), name="instance"):
            assert len(world.registry.logins) == 1
            with world.broker.outage():
                while len(world.registry.logins) < 2:
                    await world.registry.requested.wait()
            while len(world.registry.logins) < 3:
                await world.registry.requested.wait()
    assert world.registry.logouts == [INSTANCE]
