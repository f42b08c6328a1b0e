"""What the client retries, and for how long, in virtual time."""

from __future__ import annotations

import pytest
import trio.testing
from anyio import create_task_group, current_time, fail_after, move_on_after, sleep

from hub.client import BadRequest, Client, GatewayError, GatewayFault, GatewayUnreachable, Overloaded, Unavailable
from hub.client.errors import error_of
from hub.client.transport import RetryLimit, is_temporary
from tests.gateway.fixtures import CONTRACT_A, MODEL_A, echo_a, open_gateway

URL = "http://hub.localhost"
LIMIT = 30.0


@pytest.fixture
def anyio_backend() -> object:
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


async def pauses(limit: RetryLimit, error: GatewayError | GatewayUnreachable) -> list[float]:
    """The pauses before all further attempts that fail with `error` at once."""
    found: list[float] = []
    while True:
        began = current_time()
        try:
            await limit.pause(error)
        except (GatewayError, GatewayUnreachable):
            return found
        found.append(current_time() - began)


async def test_a_lost_connection_is_retried_with_growing_pauses_until_the_limit() -> None:
    limit = RetryLimit(LIMIT)
    found = await pauses(limit, GatewayUnreachable("gateway", "closed"))
    assert 0.05 <= found[0] <= 0.1
    assert all(pause <= 5.0 for pause in found)
    assert LIMIT - 5.0 <= sum(found) <= LIMIT
    assert sum(found) + sum(await pauses(limit, GatewayUnreachable("gateway", "closed"))) <= LIMIT
    limit.succeeded()
    assert await pauses(limit, GatewayUnreachable("gateway", "closed"))


async def test_no_attempt_is_earlier_than_retry_after_or_later_than_the_deadline() -> None:
    full = error_of({"code": "queue_full"}, 429, 7.0)
    found = await pauses(RetryLimit(LIMIT), full)
    assert len(found) in {3, 4}  # by the random part of the pauses
    assert sum(found) <= LIMIT
    assert all(7.0 <= pause <= 9.0 for pause in found)
    assert await pauses(RetryLimit(LIMIT, current_time() + 6.9), full) == []
    assert await pauses(RetryLimit(0), full) == []


@pytest.mark.parametrize(
    ("problem", "status", "kind", "temporary"),
    [
        ({"code": "queue_full"}, 429, Overloaded, True),
        ({"code": "gateway_busy"}, 503, Overloaded, True),
        ({"code": "model_loading"}, 503, Unavailable, True),
        ({"code": "contract_unavailable"}, 503, GatewayFault, False),
        ({"code": "internal_error"}, 500, GatewayFault, False),
        ({"code": "content_too_large"}, 413, BadRequest, False),
        ({}, 502, GatewayFault, True),
        ({"code": "not_json_representable"}, 502, GatewayFault, False),
    ],
)
def test_only_what_passes_is_retried(problem: dict[str, object], status: int, kind: type, temporary: bool) -> None:
    error = error_of(problem, status)

    assert type(error) is kind
    assert is_temporary(error) is temporary


async def test_a_call_waits_for_a_model_that_comes_back() -> None:
    with fail_after(200):
        async with open_gateway() as gateway, Client(URL, http=gateway.client) as client:
            await gateway.list_model(MODEL_A, CONTRACT_A, live=0)
            with pytest.raises(Unavailable) as error:
                await client.call(MODEL_A, {})
            assert error.value.code == "model_unavailable"
            async with create_task_group() as tg:
                call = tg.start_soon(client.call, MODEL_A, {"messages": "hi"})
                await sleep(8)
                await gateway.model(answer=echo_a)
            assert call.return_value == {"reply": "Processed message: hi\n"}
            assert len(gateway.received) == 1


async def test_a_submit_waits_for_room_in_the_queue() -> None:
    with fail_after(200):
        async with open_gateway(queue_limit=1) as gateway, Client(URL, http=gateway.client) as client:
            await gateway.model()
            with move_on_after(10):
                while True:
                    await client.submit(MODEL_A, {"messages": "fills it"})
            async with Client(URL, http=gateway.client, retry_for=0) as impatient:
                with pytest.raises(Overloaded) as error:
                    await impatient.submit(MODEL_A, {})
            assert error.value.code == "queue_full"
            assert error.value.retry_after is not None
            assert error.value.retry_after >= 1
            async with create_task_group() as tg:
                submit = tg.start_soon(client.submit, MODEL_A, {"messages": "hi"})
                await sleep(3)
                await gateway.model(answer=echo_a)
            assert await submit.return_value.result() == {"reply": "Processed message: hi\n"}
