from __future__ import annotations

from hub.cli.resources import store_options
from hub.settings.gateway import GatewaySettings
from hub.settings.model import ModelSettings


def test_stores_count_in_the_buckets_that_are_set() -> None:
    assert store_options(GatewaySettings(metric_buckets="1,2")).buckets == (1.0, 2.0)
    assert store_options(ModelSettings(metric_buckets="3")).buckets == (3.0,)
