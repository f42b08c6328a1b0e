"""A model that streams: it writes a text, word by word."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pydoc_data.topics import topics
from random import Random
from typing import Final, TypeAlias

from anyio import sleep
from typing_extensions import override

import hub
from examples.writer.v1.writer_pb2 import WriterRequest, WriterResponse

WORDS: Final = 40
"""Words that are written unless the request has another number."""

MOST_WORDS: Final = 10_000
"""Words that one request may ask for."""

Pair: TypeAlias = tuple[str, str]


class Writer(hub.Model[WriterRequest, WriterResponse]):
    """A language model of the smallest kind: which word follows two others, learnt from the documentation of Python."""

    concurrency = 16

    def __init__(self) -> None:
        self._next: Mapping[Pair, Sequence[str]] = {}
        self._begins: Sequence[Pair] = []

    @override
    def setup(self) -> None:
        """Learns from the texts of Python's `help()`, which are part of every Python."""
        following: defaultdict[Pair, list[str]] = defaultdict(list)
        for text in topics.values():
            words = text.split()
            for first, second, third in zip(words, words[1:], words[2:], strict=False):
                following[first, second].append(third)
        self._next = dict(following)
        self._begins = [pair for pair in following if pair[0][0].isupper() and pair[0].isalpha()]

    @override
    async def process_request(self, request: WriterRequest) -> AsyncIterator[WriterResponse]:
        """Yields one word at a time.

        Raises:
            ValueError: The request asks for too many words.
        """
        if request.words > MOST_WORDS:
            raise ValueError(f"{request.words} words; ask for {MOST_WORDS} at most")
        for word in self._words(request.prompt.split(), request.words or WORDS, Random(request.seed)):  # noqa: S311 - no secret
            yield WriterResponse(text=word)
            if request.words_per_second > 0:
                await sleep(1 / request.words_per_second)

    @override
    @classmethod
    def example(cls) -> WriterRequest:
        return WriterRequest(prompt="A class is", words=20, seed=17, words_per_second=10)

    def _words(self, prompt: Sequence[str], count: int, chance: Random) -> Iterator[str]:
        pair: Pair | None = (prompt[-2], prompt[-1]) if len(prompt) > 1 else None
        for _ in range(count):
            candidates = self._next.get(pair) if pair is not None else None
            if pair is None or candidates is None:  # nothing is known to follow: a new sentence
                pair = chance.choice(self._begins)
                yield f"\n{pair[0]}"
            else:
                word = chance.choice(candidates)
                pair = pair[1], word
                yield f" {word}"
