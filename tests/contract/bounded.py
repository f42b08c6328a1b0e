"""How much the property tests try.

By default always the same examples, few enough for every run of the tests. `HUB_EXAMPLES=5000` searches with new ones.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

from tests.support.examples import examples

_wanted = os.environ.get("HUB_EXAMPLES")

bounded = settings(
    deadline=None,
    derandomize=_wanted is None,
    max_examples=int(_wanted or examples(150)),
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
