"""A page of another origin in a real browser: it changes nothing, and the pages of hub itself go on."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from typing_extensions import override

from tests.browser.conftest import Addresses, Browser, running_hub, until
from tests.support.server import free_port

pytestmark = pytest.mark.timeout(300)

ATTACK = """<!doctype html><title>begun</title><script>
const done = [];
async function attack([gateway, registry, instance]) {
  const body = JSON.stringify({messages: 'csrf'}), bytes = new TextEncoder().encode(body);
  const task = `${gateway}/v1/models/ModelA/tasks`;
  const asked = {
    bytes: [task, {method: 'POST', mode: 'no-cors', body: bytes}],
    blob: [task, {method: 'POST', mode: 'no-cors', body: new Blob([bytes])}],
    text: [task, {method: 'POST', mode: 'no-cors', body}],
    batch: [`${gateway}/v1/models/ModelA/batches`, {method: 'POST', mode: 'no-cors', body: new Blob([bytes])}],
    call: [`${gateway}/v1/models/ModelA`, {method: 'POST', mode: 'no-cors', body: bytes}],
    json: [task, {method: 'POST', headers: {'Content-Type': 'application/json'}, body}],
    resubscribe: [`${instance}/resubscribe`, {method: 'POST', mode: 'no-cors'}],
    login: [`${registry}/v1/instances/01a21a3f-d160-75ea-b83e-85df0a0cb6d8`, {method: 'PUT', body}],
  };
  for (const [name, [url, init]] of Object.entries(asked))
    await fetch(url, init).then((reply) => done.push(`${name} ${reply.type}`), () => done.push(`${name} refused`));
  done.push(`beacon ${navigator.sendBeacon(task, new Blob([bytes]))}`);
  const form = Object.assign(document.createElement('form'), {method: 'post', action: task, enctype: 'text/plain', target: 'f'});
  form.append(Object.assign(document.createElement('input'), {name: '{"messages":"', value: '"}'}));
  document.body.append(Object.assign(document.createElement('iframe'), {name: 'f', onload: () => document.title = 'done'}));
  document.body.append(form);
  form.submit();
}
</script><body>"""


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(ATTACK.encode())

    @override
    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def other_site() -> Generator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://localhost:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def asked(url: str, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, Any]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with urlopen(Request(url, body, named, method=method), timeout=30) as reply:
            return reply.status, json.load(reply)
    except HTTPError as error:
        return error.code, json.load(error)


def attacked(browser: Browser, site: str, hub: Addresses) -> list[str]:
    """What the page of the other site saw of each of its requests."""
    (instance, *_) = asked(f"{hub.registry}/v1/instances")[1]["instances"]
    browser.page.goto(site)
    browser.page.evaluate("urls => void attack(urls)", [hub.gateway, hub.registry, instance["url"]])
    until(browser.page, "document.title === 'done'")
    seen = [str(text) for text in browser.page.evaluate("done")]
    browser.page.goto("about:blank")  # what it has to say of the refusals, it has said by then
    browser.complaints.clear()
    return seen


def accepted(hub: Addresses) -> int:
    """Tasks that the gateway has accepted."""
    with urlopen(f"{hub.gateway}/metrics", timeout=30) as reply:
        found = re.search(r'hub_submits_total\{model="ModelA",result="accepted"\} ([0-9]+)', reply.read().decode())
    assert found
    return int(found[1])


def test_a_page_of_another_origin_runs_nothing_and_pages_of_hub_go_on(browser: Browser) -> None:
    with running_hub(["examples.model_a:ModelA"], free_port()) as hub, other_site() as site:
        seen = attacked(browser, site, hub)
        assert "json refused" in seen  # no preflight was answered for it
        assert "login refused" in seen
        assert accepted(hub) == 0

        for page in (hub.gateway, hub.dashboard):
            browser.page.goto(page)
            reply = browser.page.evaluate(
                """async () => (await fetch('/v1/models/ModelA/tasks', {method: 'POST', body: '{"messages": "own"}',
                    headers: {'Content-Type': 'application/json'}})).status"""
            )
            assert reply == 202
        assert accepted(hub) == 2

        json_type = {"Content_Type": "application/json"}
        assert asked(f"{hub.gateway}/v1/models/ModelA", "POST", b'{"messages": "curl"}', **json_type)[0] == 200
        rebound = asked(f"{hub.gateway}/v1/tasks", Host="evil.example", Origin="http://evil.example")
        assert (rebound[0], rebound[1]["code"]) == (421, "unknown_host")


def test_pages_of_a_named_origin_go_on(browser: Browser) -> None:
    with other_site() as site:
        origin = site.rstrip("/")
        with running_hub(["examples.model_a:ModelA"], free_port(), cors_origins=origin) as hub:
            seen = attacked(browser, site, hub)
            assert "json cors" in seen
            assert "login refused" in seen
            assert accepted(hub) == 1  # the others have no type, or a wrong one
