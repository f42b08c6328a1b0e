"""What RabbitMQ is told about queues, and what it tells about deaths."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from hub.brokers import BrokerOptions, QueueType
from hub.brokers.topology import (
    LONGEST_DELAY,
    dead_letter_arguments,
    delay_arguments,
    delay_queue,
    expiration,
    queue_arguments,
)
from hub.brokers.x_death import with_last_death_headers
from hub.ports.broker import Delivery

KNOWN_TO_3_10 = {
    QueueType.QUORUM: {
        "x-queue-type",
        "x-delivery-limit",
        "x-dead-letter-exchange",
        "x-dead-letter-routing-key",
        "x-dead-letter-strategy",
        "x-max-length",
        "x-overflow",
    },
    QueueType.CLASSIC: {
        "x-queue-type",
        "x-dead-letter-exchange",
        "x-dead-letter-routing-key",
        "x-max-length",
        "x-overflow",
    },
}


@given(st.floats(min_value=0, exclude_min=True, allow_nan=False))
def test_a_delay_queue_holds_delays_of_its_seconds_up_to_twice_as_many(delay: float) -> None:
    prefix, _, level = delay_queue("model", delay).rpartition(".")
    assert prefix == "model.delay"
    assert int(level) <= max(min(delay, LONGEST_DELAY), 1) < 2 * int(level)
    assert int(level).bit_count() == 1


@given(st.floats(min_value=0, max_value=LONGEST_DELAY, exclude_min=True))
def test_a_message_expires_when_its_delay_is_over_and_not_before(delay: float) -> None:
    assert delay * 1000 <= expiration(delay) < delay * 1000 + 1.001


@pytest.mark.parametrize("delay", [LONGEST_DELAY, 1e18, float("inf")])
def test_the_longest_delay_fits_into_what_rabbitmq_counts_with(delay: float) -> None:
    assert expiration(delay) == LONGEST_DELAY * 1000 < 2**32


@pytest.mark.parametrize("kind", list(QueueType))
def test_only_arguments_that_every_version_knows_are_used(kind: QueueType) -> None:
    options = BrokerOptions(queue_type=kind, max_length=5)
    for arguments in (queue_arguments(options), dead_letter_arguments(options), delay_arguments("model", options)):
        assert arguments.keys() <= KNOWN_TO_3_10[kind]


def test_nothing_that_waits_or_is_dead_is_ever_dropped() -> None:
    """RabbitMQ 4 drops what was delivered 20 times unless the queue says more, and an expired queue with all it holds."""
    options = BrokerOptions(max_length=5)
    dead, delay = dead_letter_arguments(options), delay_arguments("model", options)
    assert int(dead["x-delivery-limit"]) >= 2**31 - 1
    assert delay["x-dead-letter-strategy"] == "at-least-once"
    assert delay["x-overflow"] == "reject-publish"
    for arguments in (dead, delay):
        assert "x-max-length" not in arguments
        assert "x-expires" not in arguments


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"x-death": [{"queue": "q", "reason": "rejected"}, {"queue": "q.delay.1", "reason": "expired"}]}, "rejected"),
        ({"x-death": [{"reason": "expired"}], "x-last-death-reason": "rejected"}, "rejected"),
        ({"x-death": [{}]}, ""),
        ({"x-death": []}, None),
        ({"x-death": "a foreign header"}, None),
        ({"x-death": ["foreign"]}, None),
        ({}, None),
    ],
)
def test_the_last_death_of_a_letter_is_told(headers: dict[str, object], reason: str | None) -> None:
    letter = Delivery(tag=1, body=b"", message_id="", redelivered=False, deliveries=0, headers=headers)
    [told] = with_last_death_headers([letter])
    assert told.headers.get("x-last-death-reason") == reason
    assert headers.items() <= told.headers.items()
