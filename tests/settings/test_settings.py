"""Settings that cannot work are refused, with the repair."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import pytest

from hub.errors import ConfigurationError
from hub.histogram import SECONDS
from hub.settings.gateway import GatewaySettings
from hub.settings.model import ModelSettings
from hub.settings.process import ProcessSettings
from hub.settings.registry import RegistrySettings
from hub.settings.tools import DoctorSettings
from hub.settings.up import UpSettings


@pytest.mark.parametrize("kind", [RegistrySettings, GatewaySettings, ModelSettings, UpSettings])
def test_the_defaults_work(kind: type[ProcessSettings]) -> None:
    kind()


def test_default_buckets_are_from_5_ms_to_10_minutes() -> None:
    assert ModelSettings().buckets == SECONDS == GatewaySettings().buckets
    assert (SECONDS[0], SECONDS[-1]) == (0.005, 600)
    assert UpSettings(metric_buckets="0.1, 7").buckets == (0.1, 7.0)


@pytest.mark.parametrize(
    ("kind", "values", "repair"),
    [
        (RegistrySettings, {"ping_timeout": 10.0}, "below ping_period"),
        (RegistrySettings, {"ping_misses": 0}, "at least 1"),
        (GatewaySettings, {"result_ttl": 10.0}, "between result_ttl_min"),
        (GatewaySettings, {"result_ttl_min": 0.0}, "above 0"),
        (GatewaySettings, {"publish_timeout": 0.0}, "above 0"),
        (GatewaySettings, {"publish_timeout": 16.0}, "at most 15 s"),
        (GatewaySettings, {"queue_limit": -1}, "0 for no limit"),
        (GatewaySettings, {"busy_after": -1.0}, "0 for no limit"),
        (GatewaySettings, {"busy_after": math.inf}, "0 for no limit"),
        (GatewaySettings, {"busy_after": math.nan}, "write a number"),
        (GatewaySettings, {"compress_above": -1}, "0 for never"),
        (GatewaySettings, {"cors_origins": "https://a.example/page"}, "write https://a.example"),
        (GatewaySettings, {"cors_origins": "*, https://a.example"}, r"write \* alone"),
        (GatewaySettings, {"root_path": "http://a.example/hub"}, "without scheme and host"),
        (GatewaySettings, {"root_path": "/models"}, "choose another one"),
        (ModelSettings, {"attempt_limit": 0}, "at least 1 attempt"),
        (ModelSettings, {"metric_buckets": "1,1"}, "does not rise: write seconds above 0"),
        (GatewaySettings, {"metric_buckets": "0"}, "not above 0"),
    ],
)
def test_invalid_settings_are_refused_alone_and_in_combination(
    kind: type[ProcessSettings], values: dict[str, Any], repair: str
) -> None:
    for each in (kind, UpSettings):
        with pytest.raises(ConfigurationError, match=repair):
            each(**values)


NUMBERS = {
    each.name: each.default
    for each in fields(DoctorSettings)
    if isinstance(each.default, int | float) and not isinstance(each.default, bool)
}
"""The numbers among all settings, with their defaults."""


def made(name: str, value: Any) -> DoctorSettings:
    values: dict[str, Any] = {name: value}
    return DoctorSettings(**values)


@pytest.mark.parametrize("name", [*NUMBERS, "queue_max_length"])
def test_every_number_has_a_lower_bound(name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        made(name, -1)


@pytest.mark.parametrize("name", [name for name, default in NUMBERS.items() if isinstance(default, float)])
def test_no_time_is_nan(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} is nan; write a number"):
        made(name, math.nan)
