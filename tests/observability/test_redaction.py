"""No password is shown, however it breaks the URL that it is in."""

from __future__ import annotations

import logging
from collections.abc import Callable
from urllib.parse import quote

import pytest
import structlog
from hypothesis import example, given, strategies as st

from hub.brokers import open_broker
from hub.cli.app import main
from hub.cli.command import redactor
from hub.directories import open_directory
from hub.errors import ConfigurationError
from hub.observability.logs import configure_logging
from hub.observability.redaction import Redactor, redacted, redacted_url
from hub.settings.connections import DeadSettings
from hub.settings.gateway import GatewaySettings
from hub.settings.registry import RegistrySettings
from hub.stores import open_store

PIECES = ("k9Qz", "Xw3v", "7mRt")
"""Parts of each password between its special characters. No text of hub holds one of them."""

joints = st.text(st.sampled_from("/@#?&= :%[]\\\n\t'\"ä,;+*"), max_size=3)
passwords = st.tuples(joints, joints, joints, joints).map(
    lambda gaps: "".join(gap + piece for gap, piece in zip(gaps, (*PIECES, ""), strict=True))
)
urls = st.builds(
    lambda scheme, user, password, hosts, rest: f"{scheme}{user}:{password}@{hosts}{rest}",
    st.sampled_from(
        ["amqp://", "amqps+aiormq://", "redis://", "rediss://", "redis+sentinel://", "http://", "ftp://", ""]
    ),
    st.sampled_from(["ann", ""]),
    passwords,
    st.sampled_from(["broker.test", "127.0.0.1:5672", "a:1,b:2,c", "[::1]:99999"]),
    st.sampled_from(["", "/", "/0", "/v?heartbeat=3", "/a/b"]),
)


def shows_nothing(text: str) -> bool:
    return not any(piece in text for piece in PIECES)


def refusal_of(call: Callable[[], object]) -> str:
    """What a call is refused with; empty if it is not."""
    try:
        call()
    except ConfigurationError as error:
        return str(error)
    return ""


@given(urls)
@example("amqp://ann:k9Qz/Xw3v@h")
@example("amqp://ann:12?k9Qz@h")
def test_a_url_shows_its_user_and_hosts_but_no_part_of_its_password(url: str) -> None:
    shown = redacted_url(url)
    assert shows_nothing(shown)
    assert shown.endswith(url.rpartition("@")[2])


@example("ann:k9QzXw3v7mRt://@broker.test")  # what is in front of :// is no scheme
@given(urls)
def test_no_refused_setting_repeats_its_password(url: str) -> None:
    for kind, name in (
        (GatewaySettings, "broker_url"),
        (GatewaySettings, "store_url"),
        (GatewaySettings, "registry_url"),
        (RegistrySettings, "directory_url"),
        (DeadSettings, "broker_url"),
    ):
        said = refusal_of(lambda kind=kind, name=name: kind(**{name: url}))  # type: ignore[misc]
        assert shows_nothing(said)
        assert not said or name in said


@given(urls)
def test_no_adapter_repeats_a_password_that_breaks_its_url(url: str) -> None:
    for opens in (open_broker, open_store, open_directory):
        assert shows_nothing(refusal_of(lambda opens=opens: opens(url)))  # type: ignore[misc]


@given(passwords, st.sampled_from(["{}", "failed: {!r}", '{{"url": "{}"}}', "a {} b"]))
def test_no_log_line_shows_a_secret_setting(password: str, text: str) -> None:
    encoded = quote(password, safe="")
    carried = password.isascii() and password.isprintable() and password == password.strip()  # by a header of HTTP
    settings = GatewaySettings(
        broker_url=f"amqp://ann:{encoded}@h",
        store_url=f"redis://:{encoded}@h",
        api_keys=f"one,{password}" if carried else "",
        token=password if carried else "",
    )
    redact = redactor(settings)
    for secret in (password, encoded, settings.broker_url, settings.store_url):
        assert shows_nothing(redact(text.format(secret)))


@given(st.text(st.characters(exclude_characters="@:")))
def test_a_text_without_credentials_stays_as_it_is(text: str) -> None:
    assert redacted(text) == text
    assert Redactor().redact(text) == text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://user:pa%40ss@host:5672/v", "amqp://user:***@host:5672/v"),
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("redis://hunter2@host", "redis://***@host"),  # meant as a password
        ("redis://host/0?password=p@ss&x=1", "redis://host/0?password=***"),
        ("amqp://ann:hunter2", "amqp://ann:***"),
        ("ann:hunter2@host", "ann:***@host"),
        ("amqp://a:5672,b:5672,[::1]:5672/v", "amqp://a:5672,b:5672,[::1]:5672/v"),
        ("amqp://u:p@a,u:q@b", "amqp://u:***@b"),
        ("localhost:6379", "localhost:6379"),
        ("amqp://host:99999", "amqp://host:99999"),
        ("redis://:PASSWORD@host:port", "redis://:PASSWORD@host:port"),  # how our own messages put it
        ("", ""),
    ],
)
def test_redacted_urls(url: str, shown: str) -> None:
    assert redacted_url(url) == shown


def test_a_text_keeps_all_but_the_credentials() -> None:
    text = "link to http://ann:hunter2@h:1/x lost: see http://h:1/docs, or write to ann@example.org"
    assert redacted(text) == "link to http://ann:***@h:1/x lost: see http://h:1/docs, or write to ann@example.org"


@pytest.mark.parametrize("form", ["console", "json"])
def test_log_lines_of_libraries_are_redacted(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", form, redact=Redactor(["s3cr/et-of-ours"]).redact)  # type: ignore[arg-type]  # both are forms
    try:
        raise RuntimeError("cannot open redis://ann:hunter2@h/0 with s3cr/et-of-ours")  # noqa: TRY301 - to be caught
    except RuntimeError as error:
        structlog.get_logger("hub.test").error("failed", url="amqp://ann:hunter2@h", exc_info=error)
    logging.getLogger("foreign").warning("connecting to %s", "http://ann:hunter2@h")
    said = capsys.readouterr().err
    assert "hunter2" not in said
    assert "s3cr" not in said
    assert said.count("ann:***@h") >= 3  # a traceback in full shows the source line too


@pytest.mark.parametrize(
    "url", ["amqp://ann:k9Qz/Xw3v@h:5672/", "amqp://ann:k9Qz Xw3v@h", "ann:k9Qz@h", "amqp://ann:k9Qz"]
)
def test_the_command_line_and_config_show_hide_a_password_that_breaks_its_url(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (
        ["config", "show", "gateway", "--broker-url", url],
        ["gateway", f"--broker-url={url}"],
        ["gateway", "--borker-url", url],
        ["gateway", url],
        ["config", "show", url],
    ):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
        said = capsys.readouterr()
        assert shows_nothing(said.out + said.err)
    monkeypatch.setenv("HUB_STORE_URL", url)
    with pytest.raises(SystemExit):
        main(["config", "show", "model"])
    said = capsys.readouterr()
    assert "store_url" in said.out + said.err
    assert shows_nothing(said.out + said.err)
