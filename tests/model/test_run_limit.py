"""How long one run may take, so that the broker never takes a working instance for a dead one."""

from __future__ import annotations

from math import inf
from typing import ClassVar

import pytest

from hub.errors import ConfigurationError
from hub.model.instance.instance import run_limit
from hub.settings.model import ModelSettings
from tests.model.fakes import Echo


def test_a_run_may_take_nearly_as_long_as_the_broker_waits_for_it() -> None:
    assert run_limit(Echo, ModelSettings(consumer_timeout=1000.0)) == 950.0


def test_the_embedded_broker_waits_for_ever() -> None:
    assert run_limit(Echo, ModelSettings(broker_url="memory://")) == inf


def test_a_model_that_promises_more_than_the_broker_waits_is_refused_with_the_repair() -> None:
    class Endless(Echo):
        max_timeout: ClassVar[float | None] = 3600.0

    with pytest.raises(ConfigurationError, match=r"max_timeout of Endless is 3600 s.*HUB_CONSUMER_TIMEOUT"):
        run_limit(Endless, ModelSettings(consumer_timeout=1800.0))
    assert run_limit(Endless, ModelSettings(consumer_timeout=7200.0)) == 6840.0
