"""The handwritten digits that scikit-learn ships: 1797 pictures of 8 x 8 pixels, each with its true label."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Pixels: TypeAlias = NDArray[np.float64]
Labels: TypeAlias = NDArray[np.int64]

SIDE = 8
PIXELS = SIDE * SIDE
BLACK = 16


@dataclass(frozen=True, slots=True)
class Pictures:
    """One picture per row, and the digit that it shows."""

    pixels: Pixels
    labels: Labels


@cache
def split() -> tuple[Pictures, Pictures]:
    """The training data, and a quarter held out, the same each time."""
    from sklearn.datasets import load_digits  # noqa: PLC0415 - takes a second, which only what needs pictures waits for
    from sklearn.model_selection import train_test_split  # noqa: PLC0415 - likewise

    pixels, labels = load_digits(return_X_y=True)
    seen_pixels, held_pixels, seen_labels, held_labels = train_test_split(
        pixels, labels, test_size=0.25, random_state=0, stratify=labels
    )
    return Pictures(seen_pixels, seen_labels), Pictures(held_pixels, held_labels)
