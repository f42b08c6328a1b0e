"""The root path of a gateway behind a proxy."""

from __future__ import annotations

import pytest

from hub.errors import ConfigurationError
from hub.http.middleware.root_path import root_path_of


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("", ""),
        ("/", ""),
        ("/hub", "/hub"),
        ("/hub/", "/hub"),
        (" /hub ", "/hub"),
        ("/teams/vision/hub", "/teams/vision/hub"),
        ("/a.b_c~d-e", "/a.b_c~d-e"),
        ("/v1beta", "/v1beta"),
    ],
)
def test_a_root_path_has_no_slash_at_its_end(text: str, path: str) -> None:
    assert root_path_of(text) == path


@pytest.mark.parametrize(
    "text",
    [
        "hub",
        "http://a.example/hub",
        "//hub",
        "/a//b",
        "/a/../b",
        "/.",
        "/a b",
        "/a?b",
        "/a#b",
        "/%68ub",
        "/h\u00fcb",
        "/a\\b",
    ],
)
def test_an_invalid_root_path_is_refused_with_the_repair(text: str) -> None:
    with pytest.raises(ConfigurationError, match="write the path that clients see before /v1, like /hub"):
        root_path_of(text)


@pytest.mark.parametrize(
    "text", ["/v1", "/models", "/tasks/x", "/docs", "/assets", "/health", "/metrics", "/openapi.json"]
)
def test_a_root_path_that_begins_like_a_route_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="choose another one, such as /hub"):
        root_path_of(text)
