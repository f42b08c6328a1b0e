"""Pages of other sites cannot send unsafe requests (cross-site request forgery)."""

from __future__ import annotations

import pytest

from hub.http.middleware.cors import origins_of
from tests.http.helpers import asking

APP = "https://app.example.com"

FOREIGN = [
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "http://"},
    {"Origin": "http://hub.localhost:1"},
    {"Origin": "http://evil.example#hub.localhost"},
    {"Origin": "http://hub.localhost.evil.example"},
    {"Origin": "http://[hub.localhost"},
    {"Origin": "http://hub.localhost:port"},
    {"Origin": "http://hub.localhost http://evil.example"},
    {"Origin": APP},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "who-knows"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://hub.localhost"},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://hub.localhost:1"},
    {"X-Forwarded-Host": "hub.example.com", "Origin": "http://evil.example"},
    {"X-Forwarded-Host": "", "Origin": "http://"},
]

OWN = [
    {},
    {"Sec-Fetch-Site": "same-origin", "Origin": "https://hub.example.com"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": "http://hub.localhost"},
    {"Origin": "HTTP://HUB.localhost:80"},
    {"Origin": "https://hub.localhost"},
    {"Origin": "https://hub.localhost", "Host": "hub.localhost:443"},
    {"Origin": "http://127.0.0.1:8000", "Host": "127.0.0.1:8000"},
    {"Origin": "http://[::1]:8000", "Host": "[::1]:8000"},
    {"Origin": "https://hub.example.com", "X-Forwarded-Host": "hub.example.com"},
    {"Origin": "https://hub.example.com:8443", "X-Forwarded-Host": "hub.example.com:8443, inner"},
]


def names(cases: list[dict[str, str]]) -> list[object]:
    return [pytest.param(case, id=", ".join(f"{name}={value}" for name, value in case.items())) for case in cases]


@pytest.mark.parametrize("headers", names(FOREIGN))
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/echo"), ("DELETE", "/both/a"), ("PUT", "/echo"), ("BREW", "/none")]
)
async def test_a_page_of_another_origin_changes_nothing(headers: dict[str, str], method: str, path: str) -> None:
    async with asking() as client:
        reply = await client.request(method, path, headers=headers)
        assert (reply.status_code, reply.json()["code"]) == (403, "cross_site_request")
        assert "HUB_CORS_ORIGINS" in reply.json()["detail"]


@pytest.mark.parametrize("headers", names(OWN))
async def test_programs_and_pages_of_the_server_itself_are_accepted(headers: dict[str, str]) -> None:
    async with asking() as client:
        assert (await client.post("/echo", headers=headers, content=b"x")).content == b"x"


@pytest.mark.parametrize("site", ["cross-site", "same-site", "same-origin", None])
async def test_pages_of_named_origins_are_accepted_and_others_refused(site: str | None) -> None:
    given = {} if site is None else {"Sec-Fetch-Site": site}
    async with asking(cors_origins=origins_of(f"{APP}, http://localhost:5173")) as client:
        assert (await client.post("/echo", headers={**given, "Origin": APP})).status_code == 200
        other = await client.post("/echo", headers={**given, "Origin": "https://evil.example"})
        assert other.status_code == (200 if site == "same-origin" else 403)
        twice = [*given.items(), ("Origin", APP), ("Origin", "https://evil.example")]
        assert (await client.post("/echo", headers=twice)).status_code == other.status_code
    async with asking(cors_origins=origins_of("*")) as client:
        assert (await client.post("/echo", headers={**given, "Origin": "null"})).status_code == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
async def test_links_of_other_sites_may_be_followed(method: str) -> None:
    async with asking() as client:
        headers = {"Sec-Fetch-Site": "cross-site", "Origin": "http://evil.example"}
        assert (await client.request(method, "/typed?type=text/plain", headers=headers)).status_code < 300


async def test_below_a_root_path_the_same_holds() -> None:
    async with asking(root_path="/hub") as client:
        assert (await client.post("/hub/echo", headers={"Origin": "http://hub.localhost"})).status_code == 200
        assert (await client.post("/hub/echo", headers={"Origin": "http://evil.example"})).status_code == 403
