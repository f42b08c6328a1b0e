"""Cutting a conversation at random places."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import strategies as st

cuts = st.lists(st.integers(min_value=1, max_value=60), min_size=1, max_size=30)
"""Lengths of pieces, used over and over."""


def cut(data: bytes, lengths: list[int]) -> Iterator[bytes]:
    """`data` in pieces of these lengths, over and over until nothing is left."""
    at = 0
    while at < len(data):
        for length in lengths:
            yield data[at : at + length]
            at += length
