from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

_A = TypeVar("_A", bound=NDArray[Any])
_B = TypeVar("_B", bound=NDArray[Any])

def train_test_split(
    a: _A, b: _B, /, *, test_size: float, random_state: int, stratify: NDArray[np.int64] | None = None
) -> tuple[_A, _A, _B, _B]: ...
