"""Names that were meant to be hub's are named where the class is defined; an author's own are left alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any

import pytest
from typing_extensions import override

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.cli.load import load_model
from hub.model.errors import InvalidModel
from hub.model.model import require_process_request


class Plain(hub.Model[ModelARequest, ModelAResponse]):
    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        return ModelAResponse(reply=request.messages)


def method(self: object) -> None: ...


def model_with(**own: Any) -> type[hub.Model[Any, Any]]:
    made: type[hub.Model[Any, Any]] = type("Own", (Plain,), own)
    return made


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("concurency", 4, "`concurrency`"),
        ("concurrancy", 4, "`concurrency`"),
        ("max_concurrency", 4, "`concurrency`"),
        ("timeout", 3.0, "`default_timeout` or `max_timeout`"),
        ("default_time_out", 3.0, "`default_timeout`"),
        ("defaultTimeout", 3.0, "`default_timeout`"),
        ("max_timout", 3.0, "`max_timeout`"),
        ("retries", 3, "`retry`"),
        ("rerty", hub.Retry(), "`retry`"),
        ("run_in_proces", True, "`run_in_process`"),
        ("kil_grace", 1.0, "`kill_grace`"),
        ("nmae", "other", "`name`"),
        ("set_up", method, "`setup`"),
        ("setUp", method, "`setup`"),
        ("tear_down", method, "`teardown`"),
        ("healt", method, "`health`"),
        ("health_check", method, "`health`"),
        ("exmaple", classmethod(method), "`example`"),
        ("get_request_fromat", method, "`get_request_format`"),
        ("num_workers", 4, "`concurrency`"),
        ("in_process", True, "`run_in_process`"),
        ("stream", True, "`streaming`"),
        ("on_startup", method, "`setup`"),
        ("shutdown", method, "`teardown`"),
    ],
)
def test_a_misspelt_name_is_refused_with_the_name_that_was_meant(name: str, value: object, meant: str) -> None:
    with pytest.raises(InvalidModel) as caught:
        type("Misspelt", (Plain,), {name: value})
    assert f"`{name}`: did you mean {meant}?" in str(caught.value)


class Batches(hub.Model[ModelARequest, ModelAResponse]):
    @override
    def process_batch(self, requests: Sequence[ModelARequest]) -> list[ModelAResponse]:
        return [ModelAResponse(reply=request.messages) for request in requests]


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("max_batch_sise", 4, "`max_batch_size`"),
        ("batch_size", 4, "`max_batch_size`"),
        ("max_batch", 4, "`max_batch_size`"),
        ("max_batchwait", 4, "`max_batch_wait`"),
        ("batch_timeout", 4, "`max_batch_wait`"),
        ("max_batch_delay", 4, "`max_batch_wait`"),
        ("batch_wait_timeout_s", 4, "`max_batch_wait`"),
    ],
)
def test_a_misspelt_limit_of_batches_is_refused_if_the_model_has_batches(name: str, value: object, meant: str) -> None:
    with pytest.raises(InvalidModel) as caught:
        type("Misspelt", (Batches,), {name: value})
    assert f"`{name}`: did you mean {meant}?" in str(caught.value)
    assert model_with(**{name: value}).name == "Own"


def test_a_misspelt_process_batch_is_reported_at_once() -> None:
    with pytest.raises(InvalidModel, match="`proces_batch`: did you mean `process_batch`"):
        type("NoMethod", (Base,), {"proces_batch": method})


def test_all_misspellings_are_reported_at_once() -> None:
    with pytest.raises(InvalidModel, match="hub has no concurency, set_up"):
        type("Misspelt", (Plain,), {"concurency": 4, "set_up": method})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name_of", method),
        ("names", ["a"]),
        ("fname", "weights.bin"),
        ("name2", "x"),
        ("timeouts", {"a": 1}),
        ("TIMEOUT", 3.0),
        ("_timeout", 3.0),
        ("connect_timeout", 3.0),
        ("examples", []),
        ("wealth", 1),
        ("entry", "x"),
        ("setups", method),
        ("set_up", True),  # a value is no method
        ("retries", method),  # a method is no value
        ("timeout", property(lambda _: 3)),
        ("timeout", cached_property(lambda _: 3)),
        ("Name", type("Name", (), {})),
        ("process_requests", method),
        ("predict", method),
        ("model_name", "bert"),
        ("batch_size", 8),
    ],
)
def test_names_of_the_author_are_accepted(name: str, value: Any) -> None:
    assert model_with(**{name: value}).name == "Own"


def test_a_similar_name_beside_the_correct_one_is_accepted() -> None:
    assert model_with(timeout=3.0, default_timeout=60.0).default_timeout == 60.0


def test_annotations_and_inherited_names_are_accepted() -> None:
    class Mixin:
        timeout = 3

        def set_up(self) -> None: ...

    class Mixed(Mixin, Plain):
        concurency: int

    assert Mixed.name == "Mixed"


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("concurrency", "4", "its concurrency is '4'"),
        ("concurrency", 1.5, "its concurrency is 1.5"),
        ("concurrency", True, "its concurrency is True"),
        ("concurrency", float("inf"), "its concurrency is inf"),
        ("concurrency", float("nan"), "its concurrency is nan"),
        ("default_timeout", "3", "its default_timeout is '3'"),
        ("retry", 3, "its retry is 3"),
        ("kill_grace", None, "its kill_grace is None"),
        ("setup", True, "its setup is True"),
        ("health", "fine", "its health is 'fine'"),
        ("run_in_process", "no", "its run_in_process is 'no'. Set it to True or False"),
        ("shares_loop", None, "its shares_loop is None"),
        ("streaming", 1, "its streaming is 1"),
        ("name", 3, "Set `name` in the class"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_where_the_class_is_defined(
    name: str, value: object, complaint: str
) -> None:
    with pytest.raises(InvalidModel, match=complaint):
        type("Wrong", (Plain,), {name: value})


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        (
            "process_request",
            lambda _: None,
            r"with one argument \(too many.*Write `def process_request\(self, request\)`",
        ),
        ("process_request", lambda _, __, ___: None, "missing a required argument: '___'"),
        ("process_request", staticmethod(lambda: None), "with one argument"),
        (
            "setup",
            lambda _, path: path,
            r"setup cannot be called with no argument.*'path'\). Write `def setup\(self\)`",
        ),
        ("setup", lambda: None, "setup cannot be called with no argument"),
        ("health", lambda _, x: x, "health cannot be called"),
        ("get_request_format", lambda _, x: x, "get_request_format cannot be called"),
        ("example", lambda _: None, "example is no class method. Write `@classmethod`"),
    ],
)
def test_a_method_that_hub_cannot_call_is_refused_where_the_class_is_defined(
    name: str, value: object, complaint: str
) -> None:
    with pytest.raises(InvalidModel, match=complaint):
        type("Wrong", (Plain,), {name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("process_request", staticmethod(lambda request: request)),
        ("process_request", lambda _, request, retries=3: (request, retries)),
        ("process_request", lambda *arguments, **options: (arguments, options)),
        ("process_request", partial(print, end="")),
        ("setup", classmethod(lambda cls: cls)),
        ("example", staticmethod(lambda: None)),
    ],
)
def test_methods_that_hub_can_call_are_accepted(name: str, value: object) -> None:
    assert model_with(**{name: value}).name == "Own"


@pytest.mark.parametrize("on", [ConnectionError, (), ("ConnectionError",), (KeyboardInterrupt,), [ValueError]])
def test_retry_takes_a_tuple_of_exceptions(on: Any) -> None:
    with pytest.raises(ValueError, match=r"^on "):
        hub.Retry(on=on)


class Base(hub.Model[ModelARequest, ModelAResponse]):
    """Of models: it may leave process_request open."""


class PredictsBatches(Base):
    def predict_batch(self, requests: list[ModelARequest]) -> list[ModelAResponse]:
        return [ModelAResponse(reply=request.messages) for request in requests]


class Predicts(Base):
    def predict(self, request: ModelARequest) -> ModelAResponse:
        return ModelAResponse(reply=request.messages)


@pytest.mark.parametrize(
    ("target", "repair"),
    [
        ("Base", "Write `def process_request(self, request)`, or `def process_batch(self, requests)`"),
        ("Predicts", "Rename its predict to process_request"),
        ("PredictsBatches", "Rename its predict_batch to process_batch"),
    ],
)
def test_a_missing_process_request_is_one_line(target: str, repair: str) -> None:
    with pytest.raises(InvalidModel) as caught:
        load_model(f"{__name__}:{target}")
    assert f"model {target}: it has no process_request. {repair}" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(InvalidModel):
        require_process_request(globals()[target])


def test_a_misspelt_process_request_is_reported_at_once() -> None:
    with pytest.raises(InvalidModel, match="`proces_request`: did you mean `process_request`"):
        type("NoMethod", (Base,), {"proces_request": method})
