"""The configuration of nginx in docs/how-to/proxy.md, run by nginx in front of a gateway: paths, names, streams, batches."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse

import pytest

from tests.browser.conftest import running_hub
from tests.docs.blocks import blocks_to_check
from tests.support.server import ServerMissing, ServerProcess, free_port

MODELS = ("examples.model_a:ModelA", "examples.writer:Writer")
NAME = "example.com"
PREFIX = "/hub"
CONFIGURATION = """
daemon off;
pid {folder}/pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {server}
}}
"""


@pytest.fixture(scope="module")
def gateway() -> Iterator[str]:
    with running_hub(MODELS, free_port(), root_path=PREFIX, allowed_hosts=NAME) as addresses:
        yield addresses.gateway


@pytest.fixture(scope="module", params=["cut off", "passed on"])
def proxy(gateway: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of nginx, with the block of the page as it is, and without the slash that cuts the path off."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin") or shutil.which("nginx")
    if program is None:
        raise ServerMissing("nginx is not installed: apt-get install nginx")
    (block,) = blocks_to_check("nginx")
    port, folder = free_port(), tmp_path_factory.mktemp("nginx")
    server = block.text.replace("listen 80;", f"listen 127.0.0.1:{port};")
    server = server.replace("http://127.0.0.1:8000/", f"{gateway}{'/' if request.param == 'cut off' else ''}")
    assert f"listen 127.0.0.1:{port};" in server
    (folder / "nginx.conf").write_text(CONFIGURATION.format(folder=folder, server=server))
    process = ServerProcess(
        [program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"],
        env={"PATH": "/usr/bin:/bin"},
        log=folder / "log",
        ready=lambda: _answers(port),
    )
    try:
        process.start()
        yield port
    finally:
        process.terminate()
        process.kill()


def _answers(port: int) -> bool:
    try:
        return asked(port, "GET", f"{PREFIX}/health/live")[0] == 200
    except OSError:
        return False


def opened(
    port: int, method: str, path: str, body: str | None = None, **headers: str
) -> tuple[HTTPConnection, HTTPResponse]:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, {"host": NAME, "content-type": "application/json"} | named)
    return connection, connection.getresponse()


def asked(
    port: int, method: str, path: str, body: str | None = None, **headers: str
) -> tuple[int, dict[str, str], str]:
    connection, reply = opened(port, method, path, body, **headers)
    try:
        return reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read().decode()
    finally:
        connection.close()


def test_a_task_has_its_address_below_the_path(proxy: int) -> None:
    status, headers, body = asked(proxy, "POST", f"{PREFIX}/v1/models/ModelA/tasks", '{"messages":"hello"}')
    location = headers["location"]

    assert status == 202
    assert location.startswith(f"{PREFIX}/v1/tasks/{json.loads(body)['id']}")
    assert json.loads(asked(proxy, "GET", f"{location}?wait=20")[2])["state"] == "succeeded"


def test_the_pages_link_below_the_path(proxy: int) -> None:
    for page in ("/", "/docs", "/models"):
        status, _, body = asked(proxy, "GET", f"{PREFIX}{page}")
        links = re.findall(r'(?:href|src)="(/[^"]*)"', body)

        assert status == 200
        assert links
        assert [link for link in links if not link.startswith(f"{PREFIX}/")] == []


def test_a_page_of_the_proxy_may_call_and_one_of_another_site_may_not(proxy: int) -> None:
    call = f"{PREFIX}/v1/models/ModelA"
    own = asked(proxy, "POST", call, '{"messages":"a"}', origin=f"http://{NAME}")
    other = asked(proxy, "POST", call, '{"messages":"a"}', origin="http://evil.example", sec_fetch_site="cross-site")

    assert (own[0], other[0]) == (200, 403)
    assert json.loads(other[2])["code"] == "cross_site_request"


def test_another_name_is_refused(proxy: int) -> None:
    assert asked(proxy, "GET", f"{PREFIX}/v1/models", host="evil.example")[0] == 421


def test_chunks_arrive_while_the_model_runs_and_leaving_cancels_it(proxy: int) -> None:
    request = '{"words":200,"words_per_second":10}'
    connection, reply = opened(proxy, "POST", f"{PREFIX}/v1/models/Writer", request, accept="text/event-stream")
    task = f"{PREFIX}/v1/tasks/{reply.headers['hub-task']}"
    try:
        while not reply.readline().startswith(b"id: 1-1"):
            pass
        assert json.loads(asked(proxy, "GET", task)[2])["state"] == "running"
    finally:
        reply.close()
        connection.close()
    ended = json.loads(asked(proxy, "GET", f"{task}?wait=15")[2])

    assert ended["state"] == "cancelled"


def test_lines_of_a_batch_are_answered_while_it_is_sent(proxy: int) -> None:
    def chunk(text: str) -> bytes:
        return f"{len(text):x}\r\n{text}\r\n".encode()

    line = '{"messages":"a"}\n'
    connection = HTTPConnection("127.0.0.1", proxy, timeout=30)
    try:
        connection.putrequest("POST", f"{PREFIX}/v1/models/ModelA/batches", skip_host=True)
        for name, value in (
            ("Host", NAME),
            ("Content-Type", "application/x-ndjson"),
            ("Transfer-Encoding", "chunked"),
        ):
            connection.putheader(name, value)
        connection.endheaders()
        connection.send(chunk(line))
        reply = connection.getresponse()
        first = json.loads(reply.readline())
        connection.send(chunk(line * 49) + b"0\r\n\r\n")
        rest = [json.loads(each) for each in reply]
    finally:
        connection.close()

    assert (reply.status, first["index"], first["state"]) == (200, 0, "queued")
    assert [each["index"] for each in rest] == list(range(1, 50))
