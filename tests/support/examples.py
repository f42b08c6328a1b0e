"""How many examples the property tests try: a fifth in `make test-fast`, which sets `HUB_TEST_EXAMPLE_SHARE`."""

from __future__ import annotations

import os
from typing import Final

_SHARE: Final = float(os.environ.get("HUB_TEST_EXAMPLE_SHARE", "1"))


def examples(usual: int) -> int:
    """The `max_examples` of a test that tries `usual` in the whole suite; at least 5."""
    return max(5, int(usual * _SHARE))
