from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Callable
from functools import partial

import anyio
import pytest
from httpx2 import AsyncClient, MockTransport, Request, Response
from structlog.testing import capture_logs

from hub.concurrency.retrying import ExponentialBackoff
from hub.contract import diff
from hub.errors import ConnectionLost, ConnectionRefused
from hub.http.client import open_client
from hub.ports.directory import ModelLimits
from hub.registry.client.client import RegistryClient
from hub.registry.client.errors import RegistryRefused
from hub.registry.client.snapshot import ModelsSnapshot
from hub.registry.client.watch import ModelWatch
from hub.testing.proxy import FaultProxy
from hub.types import Fingerprint, ModelName
from tests.registry.fakes import ping_server
from tests.registry.fixtures import ServedRegistry, served_registry
from tests.registry.helpers import DIGITS, MODEL, TEXTS, TIMEOUT

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")

NO_DELAY = ExponentialBackoff(initial=0.001, maximum=0.002)


@pytest.fixture
async def registry() -> AsyncGenerator[ServedRegistry]:
    with anyio.fail_after(TIMEOUT):
        async with served_registry() as served:
            yield served


async def next_with(watch: ModelWatch, satisfied: Callable[[ModelsSnapshot], bool]) -> ModelsSnapshot:
    while True:
        snapshot = await anext(watch)
        if satisfied(snapshot):
            return snapshot


async def test_the_models_of_a_registry_come_with_their_contracts(registry: ServedRegistry) -> None:
    async with ping_server() as one, ping_server() as two, ping_server() as other:
        await registry.login(one)
        await registry.login(two)
        await registry.login(other, "Digits", DIGITS)
        other.consuming = False
        await registry.login(other, "Digits", DIGITS)
        snapshot = await registry.client.models()
    assert {name: model.contract for name, model in snapshot.models.items()} == {MODEL: TEXTS, "Digits": DIGITS}
    assert snapshot.models[MODEL].instances == {"live": 2}
    assert snapshot.models[MODEL].live == 2
    assert snapshot.models[ModelName("Digits")].instances == {"not_consuming": 1}
    assert set(snapshot.active) == {MODEL}


async def test_a_contract_is_fetched_once(registry: ServedRegistry) -> None:
    requests: list[str] = []

    async def note(request: Request) -> None:
        requests.append(request.url.path)

    registry.http.event_hooks = {"request": [note]}
    async with ping_server() as server:
        await registry.login(server)
        for _ in range(3):
            await registry.client.models()
    assert requests.count(f"/v1/schemas/{MODEL}") == 1


async def test_a_model_has_the_limits_and_example_of_its_newest_instance(registry: ServedRegistry) -> None:
    old, new = (
        ModelLimits(concurrency=2, max_timeout=60.0),
        ModelLimits(concurrency=4, default_timeout=5.0, max_timeout=30.0),
    )
    async with ping_server() as first, ping_server() as second:
        await registry.login(first, example='{"messages": "old"}', limits=old)
        await registry.login(second, limits=new)
        model = (await registry.client.models()).models[MODEL]
        assert (model.limits, model.example) == (new, '{"messages": "old"}')
        await registry.client.logout(second.id)
        assert (await registry.client.models()).models[MODEL].limits == old
        await registry.client.logout(first.id)
        assert (await registry.client.models()).models[MODEL].limits == ModelLimits()


async def test_a_model_has_the_comments_of_its_newest_instance_and_its_contract_stays(registry: ServedRegistry) -> None:
    old, new = ((("a.v1.Ask", text),) for text in ("Old.", "New."))
    async with ping_server() as first, ping_server() as second, ping_server() as third:
        await registry.login(first, comments=old)
        before = await registry.client.models()
        await registry.login(second, comments=new)
        await registry.login(third)
        after = await registry.client.models()
        assert (before.models[MODEL].comments, after.models[MODEL].comments) == (old, new)
        assert before.models[MODEL].fingerprint == after.models[MODEL].fingerprint
        assert before.etag != after.etag
        assert len((await registry.client.schema_history(MODEL)).contracts) == 1


async def test_an_earlier_contract_is_found_by_its_fingerprint_and_is_whole(registry: ServedRegistry) -> None:
    async with ping_server() as server:
        await registry.login(server)
        await registry.client.logout(server.id)
        await registry.login(server, contract=DIGITS)
    newcomer = RegistryClient(registry.url, registry.http)
    assert await newcomer.contract(MODEL, TEXTS.fingerprint) == TEXTS
    assert await newcomer.contract(MODEL, DIGITS.fingerprint) == DIGITS
    assert diff(TEXTS, DIGITS)
    assert await newcomer.contract(MODEL, Fingerprint("0" * 64)) is None
    assert await newcomer.contract(MODEL, Fingerprint("&model=x/?")) is None
    assert await newcomer.contract(ModelName("Unknown"), TEXTS.fingerprint) is None


@pytest.mark.parametrize(
    "reply",
    [
        Response(200, content=TEXTS.files, headers={"Content-Type": "application/x-protobuf"}),
        Response(200, content=b"\xff", headers={"Content-Type": "application/x-protobuf; proto=hub.v1.Contract"}),
        Response(404, json={"code": "not_found", "detail": "no such route"}),
    ],
)
async def test_an_unreadable_contract_is_a_lost_connection_and_not_none(reply: Response) -> None:
    with pytest.raises((ConnectionLost, RegistryRefused)):
        await answering(reply).contract(MODEL, TEXTS.fingerprint)


async def test_a_watch_begins_with_the_present_list_and_goes_on_with_each_change(registry: ServedRegistry) -> None:
    watch = ModelWatch(registry.client)
    assert (await anext(watch)).models == {}
    assert watch.connected
    async with ping_server() as server:
        seen = anyio.Event()

        async def follow() -> None:
            await next_with(watch, lambda snapshot: MODEL in snapshot.active)
            seen.set()
            await next_with(watch, lambda snapshot: MODEL in snapshot.models and MODEL not in snapshot.active)

        async with anyio.create_task_group() as tg:
            tg.start_soon(follow)
            await registry.login(server)
            await seen.wait()
            await registry.client.logout(server.id)


async def test_a_watch_gets_only_what_has_changed_and_has_the_whole_list(registry: ServedRegistry) -> None:
    sizes: list[int] = []

    async def note(reply: Response) -> None:
        if reply.request.url.path == "/v1/models":
            sizes.append(len(await reply.aread()))

    registry.http.event_hooks = {"response": [note]}
    watcher = RegistryClient(registry.url, registry.http)
    async with ping_server() as one, ping_server() as two, ping_server() as other:
        await registry.login(one)
        await registry.login(two)
        snapshot = await watcher.models()
        for change in (
            partial(registry.login, other, "Digits", DIGITS),
            partial(registry.client.logout, two.id),
            partial(registry.client.logout, other.id),
            partial(registry.login, other, "Digits", DIGITS),
        ):
            await change()
            sizes.clear()
            after = await watcher.models_after(snapshot.etag, wait=0)
            assert after is not None
            changed = sizes[0]
            whole = await RegistryClient(registry.url, registry.http).models()
            assert (after.etag, dict(after.models)) == (whole.etag, dict(whole.models))
            assert list(after.models) == list(whole.models)
            assert changed < sizes[-1]
            snapshot = after
        assert await watcher.models_after(snapshot.etag, wait=0) is None
        reply = await registry.json("/v1/models?changes=true")
        assert (reply["partial"], [each["name"] for each in reply["models"]]) == (False, ["Digits", MODEL])
        assert reply["models"][1]["states"] == {"live": 1}


async def test_a_cancelled_wait_loses_nothing(registry: ServedRegistry) -> None:
    watch = ModelWatch(registry.client)
    await anext(watch)
    async with anyio.create_task_group() as tg:
        tg.start_soon(anext, watch)
        await registry.watched()
        tg.cancel_scope.cancel()
    async with ping_server() as server:
        await registry.login(server)
        await next_with(watch, lambda snapshot: MODEL in snapshot.active)


async def test_a_watch_survives_its_connection(registry: ServedRegistry) -> None:
    host, port = registry.url.removeprefix("http://").split(":")
    async with FaultProxy(host, int(port)) as proxy, open_client() as http, ping_server() as server:
        watch = ModelWatch(RegistryClient(f"http://127.0.0.1:{proxy.port}", http), backoff=NO_DELAY)
        await anext(watch)
        async with anyio.create_task_group() as tg:
            tg.start_soon(next_with, watch, lambda snapshot: MODEL in snapshot.active)
            await registry.watched()
            proxy.cut()
            await registry.login(server)
    assert watch.connected


async def test_a_watch_continues_at_the_successor_of_a_lost_registry() -> None:
    with anyio.fail_after(TIMEOUT):
        async with open_client() as http:
            async with served_registry() as first, ping_server() as server:
                watch = ModelWatch(RegistryClient(first.url, http), backoff=NO_DELAY, rng=random.Random(1))
                await first.login(server)
                await next_with(watch, lambda snapshot: MODEL in snapshot.active)
            lost = anyio.Event()
            async with anyio.create_task_group() as tg:

                async def follow() -> None:
                    assert (await anext(watch)).models == {}  # a new registry, a new list

                tg.start_soon(follow)
                while watch.connected:
                    await anyio.lowlevel.checkpoint()
                lost.set()
                async with served_registry(port=int(first.url.rpartition(":")[2])):
                    while not watch.connected:
                        await anyio.lowlevel.checkpoint()


async def test_a_registry_that_stops_answers_its_watchers_at_once() -> None:
    replies: list[Response] = []
    with anyio.fail_after(TIMEOUT):
        async with open_client() as http, anyio.create_task_group() as tg:
            async with served_registry() as registry:
                etag = (await registry.get("/v1/models")).headers["etag"]
                url = f"{registry.url}/v1/models"

                async def watch() -> None:
                    replies.append(await http.get(url, headers={"If-None-Match": etag, "Prefer": "wait=60"}))

                tg.start_soon(watch)
                await registry.watched()
    assert [reply.status_code for reply in replies] == [304]


async def test_a_wrong_token_ends_a_watch() -> None:
    with anyio.fail_after(TIMEOUT):
        async with served_registry(token="sesame") as registry:
            watch = ModelWatch(RegistryClient(registry.url, registry.http, token="wrong"))
            with pytest.raises(ConnectionRefused, match=r"does not accept the token \(401\): set HUB_TOKEN"):
                await anext(watch)


async def test_a_token_that_is_wrong_later_is_a_loss_that_may_pass() -> None:
    with anyio.fail_after(TIMEOUT):
        async with served_registry(token="sesame") as registry:
            client = RegistryClient(registry.url, registry.http, token="sesame")
            watch = ModelWatch(client)
            await anext(watch)
            client._headers["Authorization"] = "Bearer of old"
            watch._connected = False
            with capture_logs() as lines, anyio.move_on_after(2):
                await anext(watch)
    assert lines[0]["event"] == "connection lost, trying again"
    assert "401" in lines[0]["reason"]


async def test_after_a_loss_the_first_request_does_not_wait() -> None:
    waits: list[str | None] = []

    def answer(request: Request) -> Response:
        waits.append(request.headers.get("Prefer"))
        if len(waits) == 3:
            return Response(503)
        return Response(304) if 1 < len(waits) < 6 else Response(200, json={"models": []}, headers={"ETag": '"1"'})

    client = RegistryClient("http://registry", AsyncClient(transport=MockTransport(answer)))
    watch = ModelWatch(client, backoff=NO_DELAY)
    for _ in range(2):
        await anext(watch)
    assert waits == [None, "wait=30", "wait=30", "wait=0", "wait=30", "wait=30"]


def answering(reply: Response) -> RegistryClient:
    return RegistryClient("http://registry", AsyncClient(transport=MockTransport(lambda _: reply)))


@pytest.mark.parametrize(
    "reply",
    [
        Response(200, content=b"<html>"),
        Response(200, json={"models": 5}),
        Response(500, json={"code": "internal_error", "detail": "a bug"}),
        Response(502, content=b"bad gateway"),
        Response(503, json={"code": "connection_lost", "detail": "no Redis"}),
        Response(304),
    ],
)
async def test_an_unreadable_reply_or_a_5xx_is_a_lost_connection(reply: Response) -> None:
    with pytest.raises(ConnectionLost, match="registry"):
        await answering(reply).models()


async def test_a_registry_out_of_reach_is_a_lost_connection() -> None:
    with anyio.fail_after(TIMEOUT):
        async with ping_server() as server:
            pass
        async with open_client() as http:
            with pytest.raises(ConnectionLost):
                await RegistryClient(server.url, http).models()
