"""The running system does what its live description says, tried by schemathesis."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings, strategies
from schemathesis import BaseSchema, Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.browser.conftest import Addresses

ALLOWED = ["/v1/models/ModelA", "/v1/models/ModelA/tasks"]
FORBIDDEN = [*ALLOWED, "/v1/models/Digits/tasks"]
LOOKS = [
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{model}"),
    ("GET", "/v1/overview"),
    ("GET", "/v1/instances"),
    ("GET", "/v1/history"),
    ("GET", "/v1/tasks/{task_id}"),
    ("DELETE", "/v1/tasks/{task_id}"),
    ("GET", "/v1/tasks/{task_id}/result"),
]
CONFORMANCE = [status_code_conformance, content_type_conformance, response_schema_conformance, not_a_server_error]

bounded = settings(
    max_examples=30,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@pytest.fixture(scope="session")
def description(hub_up: Addresses) -> BaseSchema:
    """The live description, loaded as any client would load it."""
    return schemathesis.openapi.from_url(f"{hub_up.gateway}/openapi.json")


@pytest.mark.parametrize("path", ALLOWED)
def test_whatever_the_schema_of_a_model_allows_is_accepted(description: BaseSchema, path: str) -> None:
    @bounded
    @given(description[path]["POST"].as_strategy(GenerationMode.POSITIVE, media_type="application/json", headers={}))
    def accepted(case: Case[Any]) -> None:
        case.headers.pop("Hub-Timeout", None)  # a call that is given no time is answered 504, and rightly
        case.call_and_validate(checks=[*CONFORMANCE, positive_data_acceptance])

    accepted()


@pytest.mark.parametrize("path", FORBIDDEN)
def test_whatever_the_schema_of_a_model_forbids_is_refused(description: BaseSchema, path: str) -> None:
    @bounded
    @given(description[path]["POST"].as_strategy(GenerationMode.NEGATIVE, media_type="application/json", headers={}))
    def refused(case: Case[Any]) -> None:
        case.call_and_validate(checks=[*CONFORMANCE, negative_data_rejection])

    refused()


@pytest.mark.parametrize(("method", "path"), LOOKS)
def test_every_reply_is_one_that_the_description_tells_of(description: BaseSchema, method: str, path: str) -> None:
    @bounded
    @given(strategies.sampled_from([*GenerationMode]).flatmap(description[path][method].as_strategy))
    def conforms(case: Case[Any]) -> None:
        case.call_and_validate(checks=CONFORMANCE)

    conforms()
