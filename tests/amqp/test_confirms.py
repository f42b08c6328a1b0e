from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from hub.amqp import Message, ProtocolViolation, Route
from hub.amqp.protocol.confirms import ConfirmBatch, Confirms
from hub.errors import ConnectionLost, QueueFull, Unroutable

ROUTE = Route(routing_key="q")


def batch_of(*message_ids: str) -> ConfirmBatch:
    return ConfirmBatch([Message(route=ROUTE, body=b"", message_id=each, timestamp=0) for each in message_ids])


def send(confirms: Confirms, *batches: ConfirmBatch) -> None:
    for batch in batches:
        for index in range(len(batch.messages)):
            confirms.sent(batch, index)


def test_a_batch_is_settled_by_the_last_of_its_confirms() -> None:
    confirms, batch = Confirms("broker"), batch_of("1", "2", "3")
    send(confirms, batch)
    for tag in (2, 3):
        confirms.answered(tag, multiple=False, taken=True)
    assert not batch.reply.settled
    confirms.answered(1, multiple=False, taken=True)
    assert batch.reply.result() == [None, None, None]
    assert len(confirms) == 0


def test_an_empty_batch_is_settled_from_the_start() -> None:
    assert list(batch_of().reply.result()) == []


def test_one_confirm_may_stand_for_many_and_over_batches() -> None:
    confirms, first, second = Confirms("broker"), batch_of("1", "2"), batch_of("3", "4")
    send(confirms, first, second)
    confirms.answered(3, multiple=True, taken=True)
    assert first.reply.settled
    assert not second.reply.settled
    confirms.answered(0, multiple=True, taken=True)
    assert second.reply.settled


def test_a_nacked_message_is_a_full_queue() -> None:
    confirms, batch = Confirms("broker"), batch_of("1", "2")
    send(confirms, batch)
    confirms.answered(1, multiple=False, taken=False)
    confirms.answered(2, multiple=False, taken=True)
    refused, taken = batch.reply.result()
    assert isinstance(refused, QueueFull)
    assert (refused.queue, taken) == ("q", None)


def test_a_returned_message_is_unroutable_although_it_is_confirmed() -> None:
    confirms, batch = Confirms("broker"), batch_of("1", "2", "3")
    send(confirms, batch)
    confirms.returned("2", "q", "312 NO_ROUTE")
    confirms.answered(3, multiple=True, taken=True)
    first, second, third = batch.reply.result()
    assert isinstance(second, Unroutable)
    assert (first, third) == (None, None)


def test_returned_messages_with_equal_ids_are_matched_by_their_order() -> None:
    confirms, batch = Confirms("broker"), batch_of("same", "same", "same")
    send(confirms, batch)
    confirms.answered(1, multiple=False, taken=True)
    confirms.returned("same", "q", "312 NO_ROUTE")
    confirms.answered(2, multiple=False, taken=True)
    confirms.returned("same", "q", "312 NO_ROUTE")
    confirms.answered(3, multiple=False, taken=True)
    assert [type(each) for each in batch.reply.result()] == [type(None), Unroutable, Unroutable]


def test_a_message_that_comes_back_late_is_found_behind_later_ones() -> None:
    confirms, batch = Confirms("broker"), batch_of("1", "2", "3")
    send(confirms, batch)
    confirms.returned("3", "q", "312 NO_ROUTE")
    confirms.returned("1", "q", "312 NO_ROUTE")
    confirms.answered(0, multiple=True, taken=True)
    assert [type(each) for each in batch.reply.result()] == [Unroutable, type(None), Unroutable]


def test_an_unknown_return_is_dropped() -> None:
    confirms, batch = Confirms("broker"), batch_of("1")
    send(confirms, batch)
    confirms.returned("other", "q", "312 NO_ROUTE")
    confirms.returned("1", "other", "312 NO_ROUTE")
    confirms.answered(1, multiple=False, taken=True)
    assert batch.reply.result() == [None]


@pytest.mark.parametrize(("tag", "multiple"), [(2, False), (2, True), (0, False), (2**63 - 1, True)])
def test_a_confirm_for_what_was_never_published_is_a_violation(tag: int, multiple: bool) -> None:
    confirms, batch = Confirms("broker"), batch_of("1")
    send(confirms, batch)
    with pytest.raises(ProtocolViolation):
        confirms.answered(tag, multiple=multiple, taken=True)


def test_a_lost_connection_fails_every_batch_once_each_with_an_error_of_its_own() -> None:
    confirms, first, second = Confirms("broker"), batch_of("1", "2"), batch_of("3")
    send(confirms, first, second)
    confirms.fail(ConnectionLost("broker", "gone"))
    raised: list[ConnectionLost] = []
    for batch in (first, second):
        with pytest.raises(ConnectionLost, match="gone") as caught:
            batch.reply.result()
        raised.append(caught.value)
    assert raised[0] is not raised[1]
    assert len(confirms) == 0


answers = st.lists(st.tuples(st.integers(1, 12), st.booleans(), st.booleans()), max_size=15)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=4), answers)
def test_whatever_way_the_broker_confirms_each_message_gets_its_own_answer(
    sizes: list[int], answers: list[tuple[int, bool, bool]]
) -> None:
    confirms = Confirms("broker")
    batches = [batch_of(*(f"{number}.{index}" for index in range(size))) for number, size in enumerate(sizes)]
    send(confirms, *batches)
    total = sum(sizes)
    expected: dict[int, bool] = {}
    in_range = [(min(tag, total), multiple, taken) for tag, multiple, taken in answers if total]
    for tag, multiple, taken in [*in_range, (total, True, True)]:
        for each in range(1, tag + 1) if multiple else (tag,):
            expected.setdefault(each, taken)
        confirms.answered(tag, multiple=multiple, taken=taken)
        assert len(confirms) == total - len(expected)
    outcomes = [outcome is None for batch in batches for outcome in batch.reply.result()]
    assert outcomes == [expected[tag] for tag in range(1, total + 1)]
