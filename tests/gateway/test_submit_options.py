"""The headers of a submit, valid and invalid."""

from __future__ import annotations

import pytest

from hub.gateway.errors import BadParameter, TimeoutTooLong
from hub.gateway.tasks.options import MAX_KEY, MAX_TIMEOUT, ResultTtls, SubmitOptions
from hub.ports.directory import ModelLimits

TTLS = ResultTtls(default=100.0, least=10.0, most=1000.0)
BOUNDED = ModelLimits(default_timeout=5.0, max_timeout=60.0)


def read(headers: dict[str, str], limits: ModelLimits = ModelLimits()) -> SubmitOptions:
    return SubmitOptions.from_headers(headers, limits, TTLS)


def test_without_headers_there_is_no_deadline_and_the_default_lifetime() -> None:
    assert read({}) == SubmitOptions(result_ttl=100.0)


@pytest.mark.parametrize(
    ("text", "seconds"), [("30", 30.0), ("2.5", 2.5), (" 1 ", 1.0), ("0.001", 0.001), ("1e2", 100.0), ("5E-1", 0.5)]
)
def test_a_timeout_is_a_number_of_seconds(text: str, seconds: float) -> None:
    assert read({"hub-timeout": text}).timeout == seconds


@pytest.mark.parametrize(
    "text", ["0", "-1", "soon", "", "1e999", "0e5", "1e", "inf", "nan", "1.", ".5", "٣", "1,5", "0.0"]
)
def test_a_timeout_that_is_no_positive_number_is_refused_with_the_repair(text: str) -> None:
    with pytest.raises(BadParameter, match="number above 0, such as 30"):
        read({"hub-timeout": text})


@pytest.mark.parametrize(
    ("limits", "seconds"),
    [
        (ModelLimits(), None),
        (ModelLimits(max_timeout=60.0), 60.0),
        (BOUNDED, 5.0),
    ],
)
def test_a_client_that_sets_no_timeout_gets_the_default_of_the_model_or_else_its_maximum(
    limits: ModelLimits, seconds: float | None
) -> None:
    assert read({}, limits).timeout == seconds


def test_a_timeout_up_to_the_limit_of_the_model_is_accepted_and_no_longer_one() -> None:
    assert read({"hub-timeout": "60"}, BOUNDED).timeout == 60.0
    with pytest.raises(TimeoutTooLong, match=r"60\.5 s.* 60 s at most") as raised:
        read({"hub-timeout": "60.5"}, BOUNDED)
    assert (raised.value.status, raised.value.code, raised.value.extensions) == (
        400,
        "timeout_too_long",
        {"max_timeout": 60.0},
    )


def test_every_deadline_can_be_written_as_a_date() -> None:
    assert read({"hub-timeout": f"{MAX_TIMEOUT:.0f}"}).timeout == MAX_TIMEOUT
    with pytest.raises(TimeoutTooLong):
        read({"hub-timeout": "999999999999"})


@pytest.mark.parametrize("text", ["10", "1000", "10.5"])
def test_a_result_is_kept_as_long_as_the_client_asks(text: str) -> None:
    assert read({"hub-result-ttl": text}).result_ttl == float(text)


@pytest.mark.parametrize("text", ["9.9", "1000.1", "0", "long", "", "-10"])
def test_a_lifetime_out_of_range_is_refused_with_the_range(text: str) -> None:
    with pytest.raises(BadParameter, match="from 10 to 1000"):
        read({"hub-result-ttl": text})


@pytest.mark.parametrize("key", ["k", "x" * MAX_KEY, '"quoted"', "!~"])
def test_a_key_is_visible_ascii(key: str) -> None:
    assert read({"idempotency-key": key}).idempotency_key == key


@pytest.mark.parametrize("key", ["", "x" * (MAX_KEY + 1), "two words", "tab\t", "schlüssel", "\x7f"])
def test_any_other_key_is_refused(key: str) -> None:
    with pytest.raises(BadParameter, match="1 to 255 visible ASCII characters"):
        read({"idempotency-key": key})


def test_keys_belong_to_the_credential_of_the_request() -> None:
    assert read({"authorization": "Bearer one"}).client == read({"x-api-key": "one"}).client == "one"
    assert read({}).client == ""


def test_each_line_of_a_batch_has_a_key_of_its_own_if_the_batch_has_one() -> None:
    options = read({"idempotency-key": "k"})
    assert [options.for_line(index).idempotency_key for index in (0, 1)] == ["k:0", "k:1"]
    assert read({}).for_line(0).idempotency_key == ""
