"""Names that the snippets of docs/models.md use and do not define."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import anyio
from google.protobuf.wrappers_pb2 import StringValue as FetchRequest, StringValue as FetchResponse

import hub
from examples.digits import Digits
from examples.digits.v1.digits_pb2 import DigitsRequest, DigitsResponse
from examples.number.v1.number_pb2 import NumberRequest, NumberResponse
from examples.writer.v1.writer_pb2 import WriterRequest, WriterResponse

__all__ = [
    "Digits",
    "DigitsRequest",
    "DigitsResponse",
    "FetchRequest",
    "FetchResponse",
    "NumberRequest",
    "NumberResponse",
    "Sequence",
    "WriterRequest",
    "WriterResponse",
    "anyio",
    "hub",
    "load_classifier",
]


class Row(Protocol):
    """The probabilities of one picture."""

    def argmax(self) -> int: ...

    def __iter__(self) -> Iterator[float]: ...


class Classifier(Protocol):
    """What scikit-learn trains."""

    def predict_proba(self, pictures: Sequence[Sequence[float]]) -> Sequence[Row]: ...


def load_classifier() -> Classifier:
    """Reads it from a file."""
    raise NotImplementedError
