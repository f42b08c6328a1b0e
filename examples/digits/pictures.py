"""The handwritten digits that scikit-learn ships: 1797 pictures of 8 x 8 pixels, each with its true label."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

Pixels: TypeAlias = NDArray[np.float64]
Labels: TypeAlias = NDArray[np.int64]

SIDE = 8
PIXELS = SIDE * SIDE
BLACK = 16


@dataclass(frozen=True, slots=True)
class Pictures:
    """One picture a row, and the digit that each shows."""

    pixels: Pixels
    labels: Labels


@cache
def split() -> tuple[Pictures, Pictures]:
    """Pictures to learn from, and pictures that were held out: a quarter, the same ones each time."""
    pixels, labels = load_digits(return_X_y=True)
    seen_pixels, held_pixels, seen_labels, held_labels = train_test_split(
        pixels, labels, test_size=0.25, random_state=0, stratify=labels
    )
    return Pictures(seen_pixels, seen_labels), Pictures(held_pixels, held_labels)
