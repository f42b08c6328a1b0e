"""Splitting a stream into lines, and answers in the order of the lines."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given, strategies as st

from hub.gateway.batch import responses as responses_module
from hub.gateway.batch.ndjson import LineSplitter, LongLine
from hub.gateway.batch.responses import IN_FLIGHT, IN_FLIGHT_BYTES, PENDING, PENDING_BYTES, OrderedResponses

LIMIT = 8

streams = st.lists(st.sampled_from([b"a", b"{}", b"\n", b"\r\n", b" ", b"\t", b"x" * LIMIT, b"\xff"]), max_size=40).map(
    b"".join
)


def split(stream: bytes, cuts: list[int]) -> list[bytes | LongLine]:
    splitter = LineSplitter(LIMIT)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    lines = [line for start, end in pairwise(edges) for line in splitter.feed(stream[start:end])]
    return [*lines, *splitter.finish()]


def expected(stream: bytes) -> list[bytes | LongLine]:
    """The same, from the whole stream at once."""
    lines = [line for line in stream.split(b"\n") if line.strip()]
    return [LongLine() if len(line) > LIMIT else line.removesuffix(b"\r") for line in lines]


@given(streams, st.lists(st.integers(0, 200), max_size=8))
@example(b"x" * LIMIT + b"\n", [LIMIT])
@example(b"x" * LIMIT + b"y\n{}\n", [LIMIT, LIMIT + 1])
def test_lines_do_not_depend_on_how_a_stream_is_cut_into_chunks(stream: bytes, cuts: list[int]) -> None:
    assert split(stream, cuts) == expected(stream)


def test_a_line_that_is_too_long_is_not_buffered() -> None:
    splitter = LineSplitter(LIMIT)
    for _ in range(1000):
        assert not list(splitter.feed(b"x" * LIMIT))
        assert len(splitter._buffer) <= LIMIT
    assert list(splitter.feed(b"\n{}\n")) == [LongLine(), b"{}"]


@given(streams, st.lists(st.integers(0, 200), max_size=8))
@example(b" " * 3 * LIMIT + b"x\n" + b"\r\n" * 3, [LIMIT, 2 * LIMIT])
def test_every_byte_is_counted_as_of_a_blank_line_or_of_another(stream: bytes, cuts: list[int]) -> None:
    splitter = LineSplitter(LIMIT)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    for start, end in pairwise(edges):
        list(splitter.feed(stream[start:end]))
    list(splitter.finish())
    blank = sum(len(line) for line in stream.splitlines(keepends=True) if not line.strip())
    assert (splitter.blanks, splitter.accepted) == (blank, len(stream) - blank)


def test_blank_lines_of_a_chunk_are_skipped_in_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = 0

    def count(self: LineSplitter, chunk: bytes, start: int, end: int) -> None:
        nonlocal steps
        steps += 1
        original(self, chunk, start, end)

    original = LineSplitter._extend
    monkeypatch.setattr(LineSplitter, "_extend", count)
    for blank in (b"\n", b"\r\n", b" " * 65 + b"\n", b"\t \r\n", b" " * 5000 + b"\n"):
        steps = 0
        splitter = LineSplitter(100)
        assert list(splitter.feed(blank * 1000 + b"{}\n")) == [b"{}"]
        assert steps <= 2, blank
        assert splitter.blanks == 1000 * len(blank)


@given(st.permutations(range(20)), st.integers(1, 30))
def test_answers_come_in_the_order_of_the_lines(order: list[int], size: int) -> None:
    answers = OrderedResponses()
    for _ in order:
        answers.start(1)
    taken = b""
    for index in order:
        answers.answer(index, b"%d\n" % index)
        taken += answers.pop_ready(size)
    while answers.ready:
        taken += answers.pop_ready(size)
    assert taken.split() == [b"%d" % index for index in range(20)]
    assert answers.statistics() == responses_module.OrderedResponsesStatistics(started=20, pending=0, in_flight=0)


def test_the_number_of_lines_in_flight_is_bounded() -> None:
    answers = OrderedResponses()
    while answers.has_room(1):
        answers.start(1)
    assert answers.statistics().in_flight == IN_FLIGHT
    answers.answer(IN_FLIGHT - 1, b"last")
    assert answers.has_room(1)


def test_the_bytes_of_lines_in_flight_are_bounded_but_a_lone_line_always_starts() -> None:
    answers = OrderedResponses()
    assert answers.has_room(IN_FLIGHT_BYTES + 1)
    answers.start(IN_FLIGHT_BYTES + 1)
    assert not answers.has_room(0)
    answers.answer(0, b"done")
    assert answers.has_room(IN_FLIGHT_BYTES)
    assert not answers.has_room(IN_FLIGHT_BYTES + 1)
    answers.pop_ready(1)
    assert answers.has_room(IN_FLIGHT_BYTES + 1)


@pytest.mark.parametrize(("size", "most"), [(1, PENDING), (PENDING_BYTES // 4, 4)])
def test_the_number_and_the_bytes_of_unsent_answers_are_bounded(size: int, most: int) -> None:
    answers = OrderedResponses()
    while answers.has_room(0):
        answers.answer(answers.start(0), b"x" * size)
    assert answers.statistics().pending == most
    answers.pop_ready(1)
    assert answers.has_room(0)
