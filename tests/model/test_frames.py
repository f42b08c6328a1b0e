"""The bytes between an instance and the process of its model."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from hub.model.errors import FrameTooLarge, MalformedFrame
from hub.model.execution.process.frames import (
    FROM_PROCESS,
    TO_PROCESS,
    BatchFrame,
    ErrorFrame,
    FromProcess,
    InitFrame,
    InitializedFrame,
    PipeFrameReader,
    ProgressFrame,
    RequestFrame,
    ResponseFrame,
    StartedFrame,
    TaskInfo,
    ToProcess,
    encode,
)
from hub.observability.tracebacks import Described, Place

texts = st.text(max_size=20)
to_process = st.one_of(
    st.builds(InitFrame, texts, st.lists(texts), texts),
    st.builds(BatchFrame, st.integers(0, 9999)),
    st.builds(
        RequestFrame,
        st.binary(),
        st.none() | st.builds(TaskInfo, texts, st.integers(0, 9), st.none() | st.floats(allow_nan=False), texts, texts),
    ),
)
descriptions = st.builds(
    Described,
    texts,
    texts,
    texts,
    st.lists(texts).map(tuple),
    st.lists(st.builds(Place, texts, st.integers(0, 9999), texts, texts), max_size=3).map(tuple),
    st.integers(0, 9999),
    st.integers(0, 9999),
    st.booleans(),
)
from_process = st.one_of(
    st.builds(InitializedFrame),
    st.builds(StartedFrame),
    st.builds(ProgressFrame, st.none() | st.floats(0, 1), texts, st.integers(0, 9999)),
    st.builds(ResponseFrame, st.binary()),
    st.builds(
        ErrorFrame,
        texts,
        st.lists(texts).map(tuple),
        texts,
        st.lists(descriptions, max_size=3).map(tuple),
        st.lists(texts).map(tuple),
    ),
)


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({min(place, len(data)) for place in cuts} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(places)]


CUTS = st.lists(st.integers(0, 400))


@given(st.lists(to_process), CUTS)
def test_frames_of_requests_survive_any_splitting(messages: list[ToProcess], cuts: list[int]) -> None:
    reader = PipeFrameReader(TO_PROCESS)
    pieces = cut(b"".join(map(encode, messages)), cuts)

    assert [message for piece in pieces for message in reader.feed(piece)] == messages


@given(st.lists(from_process), CUTS)
def test_frames_of_answers_survive_any_splitting(messages: list[FromProcess], cuts: list[int]) -> None:
    reader = PipeFrameReader(FROM_PROCESS)
    pieces = cut(b"".join(map(encode, messages)), cuts)

    assert [message for piece in pieces for message in reader.feed(piece)] == messages


@given(from_process, st.data())
def test_a_partial_frame_is_not_a_message(message: FromProcess, data: st.DataObject) -> None:
    frame = encode(message)

    assert PipeFrameReader(FROM_PROCESS).feed(frame[: data.draw(st.integers(0, len(frame) - 1))]) == []


@given(st.binary(min_size=4), CUTS)
def test_bytes_that_are_not_frames_raise_malformed_frame(junk: bytes, cuts: list[int]) -> None:
    reader = PipeFrameReader(FROM_PROCESS, limit=64)
    with suppress(MalformedFrame):
        for piece in cut(junk, cuts):
            reader.feed(piece)


def test_a_message_for_the_other_side_is_refused() -> None:
    with pytest.raises(MalformedFrame, match="Invalid value 'InitializedFrame'"):
        PipeFrameReader(TO_PROCESS).feed(encode(InitializedFrame()))


def test_a_frame_over_the_limit_is_refused_by_the_encoder_and_by_the_reader_at_its_header() -> None:
    frame = encode(ResponseFrame(bytes(100)), limit=200)

    with pytest.raises(FrameTooLarge, match="and 50 are allowed: send a reference"):
        encode(ResponseFrame(bytes(100)), limit=50)
    with pytest.raises(MalformedFrame, match="and 50 are allowed"):
        PipeFrameReader(FROM_PROCESS, limit=50).feed(frame[:4])
