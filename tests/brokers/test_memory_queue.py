"""The bookkeeping of the memory broker: what the contract cannot see from outside."""

from __future__ import annotations

import pytest
from typing_extensions import override

from hub.brokers.memory import queue as memory_queue
from hub.brokers.memory.queue import MemoryQueue, QueueConsumer, QueuedMessage
from hub.ports.broker import Publication


class Hand(QueueConsumer):
    def __init__(self, room: int) -> None:
        self.room = room
        self.held: list[QueuedMessage] = []
        self.looks = 0

    @property
    @override
    def has_room(self) -> bool:
        return len(self.held) < self.room

    @override
    def put(self, message: QueuedMessage) -> None:
        self.held.append(message)

    @override
    def due_changed(self) -> None:
        self.looks += 1


def publication(number: int) -> Publication:
    return Publication(queue="q", body=b"%d" % number, message_id="", timestamp=0.0)


def queue(*, max_length: int = 100, limit: int = 2) -> tuple[MemoryQueue, MemoryQueue]:
    dead = MemoryQueue("q.dead", max_length=3, delivery_limit=limit)
    return MemoryQueue("q", max_length=max_length, delivery_limit=limit, dead=dead), dead


def test_consumers_with_room_are_served_in_turn() -> None:
    it, _ = queue()
    hands = [Hand(2), Hand(1), Hand(3)]
    for hand in hands:
        it.attach(hand)
    for number in range(10):
        it.publish(publication(number))
    assert [[m.position for m in hand.held] for hand in hands] == [[1, 4], [2], [3, 5, 6]]
    assert it.ready == 4


def test_returned_messages_keep_their_place() -> None:
    it, _ = queue()
    hand = Hand(3)
    it.attach(hand)
    for number in range(5):
        it.publish(publication(number))
    returned, hand.held = hand.held, []
    it.detach(hand)
    it.put_back(reversed(returned), failed=False)
    it.attach(hand)
    assert [message.position for message in hand.held] == [1, 2, 3]
    assert [message.deliveries for message in hand.held] == [2, 2, 2]


def test_only_failures_count_against_a_message() -> None:
    it, dead = queue(limit=2)
    it.publish(publication(0))
    hand = Hand(1)
    for failed in (False, True, False, True, False):
        it.attach(hand)
        it.detach(hand)
        it.put_back([hand.held.pop()], failed=failed)
    assert (it.ready, dead.ready) == (1, 0)
    it.attach(hand)
    it.detach(hand)
    it.put_back([hand.held.pop()], failed=True)
    assert (it.ready, dead.ready) == (0, 1)


def test_a_dead_message_says_where_and_why_it_died() -> None:
    it, dead = queue()
    it.publish(publication(0))
    hand, grave = Hand(1), Hand(1)
    it.attach(hand)
    it.dead_letter(hand.held.pop(), "rejected")
    dead.attach(grave)
    assert grave.held[0].publication.headers == {
        "x-first-death-queue": "q",
        "x-first-death-reason": "rejected",
        "x-last-death-queue": "q",
        "x-last-death-reason": "rejected",
    }


def test_a_full_dead_letter_queue_forgets_its_oldest_message() -> None:
    it, dead = queue()
    hand, grave = Hand(5), Hand(5)
    it.attach(hand)
    for number in range(5):
        it.publish(publication(number))
    for message in hand.held:
        it.dead_letter(message, "rejected")
    dead.attach(grave)
    assert [message.publication.body for message in grave.held] == [b"2", b"3", b"4"]


def test_a_full_queue_says_so() -> None:
    it, _ = queue(max_length=2)
    assert [it.publish(publication(number)) for number in range(3)] == [True, True, False]


def test_a_delayed_message_is_let_go_when_it_is_due_and_not_before() -> None:
    it, _ = queue()
    for number, due in enumerate((30.0, 10.0, 20.0, 10.0)):
        assert it.delay(publication(number), due)
    assert it.next_due == 10.0
    it.release(9.999)
    assert it.ready == 0
    it.release(20.0)
    assert it.next_due == 30.0
    hand = Hand(9)
    it.attach(hand)
    assert [message.publication.body for message in hand.held] == [b"1", b"3", b"2"]


def test_consumers_hear_of_a_message_that_is_due_sooner_than_the_others() -> None:
    it, _ = queue()
    hand = Hand(1)
    it.attach(hand)
    for due in (20.0, 30.0, 10.0):
        it.delay(publication(0), due)
    assert hand.looks == 2


def test_a_full_queue_takes_what_is_due_nevertheless() -> None:
    it, _ = queue(max_length=1)
    it.publish(publication(0))
    it.delay(publication(1), 1.0)
    it.release(1.0)
    assert it.ready == 2


def test_no_more_is_kept_for_later_than_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_queue, "MAX_DELAYED", 2)
    it, _ = queue()
    assert [it.delay(publication(number), 1.0) for number in range(3)] == [True, True, False]
