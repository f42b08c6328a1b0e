"""Pages and assets: complete, cacheable, and with a strict content security policy."""

from __future__ import annotations

import re
from html import unescape

import pytest
from httpx2 import AsyncClient

from hub.web.charts import CHARTS

PAGES = ["/docs", "/dashboard", "/models", "/tasks", "/tasks/x"]


@pytest.mark.parametrize("page", PAGES)
async def test_every_url_in_a_page_is_served_and_cached_for_good(client: AsyncClient, page: str) -> None:
    html = (await client.get(page)).text
    named = re.findall(r'(?:src|href)="(/assets[^"]*)"', html)
    assert len(named) >= 4
    for address in named:
        reply = await client.get(address)
        assert reply.status_code == 200
        assert "immutable" in reply.headers["cache-control"]


async def test_every_imported_module_is_served(client: AsyncClient) -> None:
    left, seen = ["dashboard.js", "models.js", "tasks.js", "task.js"], set[str]()
    while left:
        name = left.pop()
        if name not in seen:
            seen.add(name)
            reply = await client.get(f"/assets/hub/{name}")
            assert reply.status_code == 200, name
            left += re.findall(r'^import .* from "\./([^"]+)";$', reply.text, re.MULTILINE)
    assert {"stream.js", "charts.js", "format.js"} <= seen


@pytest.mark.parametrize("page", PAGES)
async def test_the_content_security_policy_allows_only_our_scripts_and_server(client: AsyncClient, page: str) -> None:
    reply = await client.get(page)
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "http" not in policy
    assert not re.search(r"<script(?![^>]*\bsrc=)", reply.text)
    assert not re.search(r'(?:src|href)="(?:https?:)?//(?!gateway\.test)', reply.text)


@pytest.mark.parametrize("page", ["/dashboard", "/models", "/tasks", "/tasks/x"])
async def test_pages_have_no_inline_styles(client: AsyncClient, page: str) -> None:
    reply = await client.get(page)
    assert "style-src 'self';" in reply.headers["content-security-policy"]
    assert "unsafe" not in reply.headers["content-security-policy"]
    assert not re.search(r"<style| style=| on\w+=", reply.text)


async def test_the_dashboard_has_every_chart_with_its_help_and_its_queries(client: AsyncClient) -> None:
    html = unescape((await client.get("/dashboard")).text)
    places = [html.index(f'id="chart-{chart.id}"') for chart in CHARTS]
    assert len(set(places)) == len(CHARTS)
    assert min(places) == places[0]  # the most important one comes first
    for chart, place in zip(CHARTS, places, strict=True):
        figure = html[place : html.index("</figure>", place)]
        assert chart.title in figure
        assert chart.help in figure
        assert all(f"<code>{query.promql}</code>" in figure for query in chart.queries)


@pytest.mark.parametrize("page", ["/dashboard", "/models", "/tasks", "/tasks/x"])
async def test_every_page_links_to_the_others_and_to_a_task(client: AsyncClient, page: str) -> None:
    html = (await client.get(page)).text
    for link in ('href="/"', 'href="/models"', 'href="/tasks"', 'href="/docs"', 'href="#main"', 'action="/tasks"'):
        assert link in html
    assert html.count('aria-current="page"') == (0 if page == "/tasks/x" else 1)


async def test_a_url_cannot_inject_content_into_the_page_of_a_task(client: AsyncClient) -> None:
    html = (await client.get("/tasks/%22%3E%3Cscript%3E$title")).text
    assert 'data-task="&quot;&gt;&lt;script&gt;$title"' in html


async def test_values_in_a_page_are_text(client: AsyncClient) -> None:
    html = (await client.get("/docs")).text
    assert "<title>A &quot;quoted&quot; &lt;title&gt;</title>" in html
    assert 'data-openapi="/openapi.json"' in html


async def test_a_known_page_is_a_304(client: AsyncClient) -> None:
    etag = (await client.get("/docs")).headers["etag"]
    reply = await client.get("/docs", headers={"If-None-Match": etag})
    assert (reply.status_code, reply.content) == (304, b"")


async def test_an_asset_without_its_digest_in_the_url_is_revalidated(client: AsyncClient) -> None:
    first = await client.get("/assets/hub/docs.js")
    again = await client.get("/assets/hub/docs.js", headers={"If-None-Match": first.headers["etag"]})
    assert (first.headers["cache-control"], again.status_code) == ("no-cache", 304)


async def test_assets_are_compressed_for_clients_that_accept_it(client: AsyncClient) -> None:
    address = "/assets/swagger-ui/swagger-ui-bundle.js"
    plain = await client.get(address, headers={"Accept-Encoding": "identity"})
    packed = await client.get(address, headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) * 3 < int(plain.headers["content-length"])
    assert packed.content == plain.content
    assert packed.headers["etag"] == f"W/{plain.headers['etag']}"  # other bytes, so not the same strong one
    unwanted = await client.get(address, headers={"Accept-Encoding": "gzip;q=0"})
    assert "content-encoding" not in unwanted.headers


@pytest.mark.parametrize("path", ["../pages.py", "..%2fpages.py", "hub/../../pages.py", "hub", "", "hub/none.js"])
async def test_no_file_but_assets_can_be_reached(client: AsyncClient, path: str) -> None:
    assert (await client.get(f"/assets/{path}")).status_code == 404


@pytest.mark.parametrize("licence", ["swagger-ui/LICENSE", "swagger-ui/NOTICE", "uplot/LICENSE"])
async def test_licences_of_other_projects_ship_beside_their_files(client: AsyncClient, licence: str) -> None:
    assert (await client.get(f"/assets/{licence}")).status_code == 200


async def test_the_icon_is_at_the_default_path(client: AsyncClient) -> None:
    reply = await client.get("/favicon.ico")
    assert reply.headers["content-type"].startswith("image/svg+xml")
