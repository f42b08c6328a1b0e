"""The pages that are made from code have all of it, and tables of codes on other pages are right."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

import hub.client
import hub.testing
from hub.cli.app import app
from hub.cli.config import AllSettings
from hub.errors import HubError
from scripts.site import errors, python_api
from scripts.site.commands import commands_page
from scripts.site.settings import settings_page
from tests.docs.blocks import ROOT

CODES_WITHOUT_A_CLASS = {"method_not_allowed"}
"""Codes of replies that an exception of Litestar becomes."""


def statuses() -> dict[str, set[int]]:
    """Each code of the tree of errors with its statuses."""
    found: dict[str, set[int]] = {}
    for each in errors.errors_of_hub():
        found.setdefault(each.code, set()).add(each.status)
    return found


def test_every_setting_is_in_the_reference_once() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", settings_page(), re.MULTILINE)

    assert sorted(rows) == sorted(field.name for field in fields(AllSettings))


def test_defaults_types_and_secrets_of_settings_are_shown() -> None:
    rows = {row.split("`")[1]: row for row in settings_page().splitlines() if row.startswith("| `")}

    assert rows["gateway_port"].startswith("| `gateway_port` | whole number | `8000` | up, gateway, doctor |")
    assert "`memory://` (up, doctor)" in rows["store_url"]
    assert "`HUB_STORE_URL_FILE` may name a file" in rows["store_url"]
    assert "`quorum`, `classic`" in rows["queue_type"]


def test_every_code_is_in_the_reference() -> None:
    page = errors.errors_page()

    assert len(statuses()) > 50
    assert [code for code in statuses() if f"| `{code}` |" not in page] == []


def test_codes_and_statuses_on_the_page_of_the_api_are_those_of_the_errors() -> None:
    section = (ROOT / "docs/api.md").read_text().split("\n## Errors\n")[1].split("\n## ")[0]
    wrong = {}
    for row in re.findall(r"^\| ([\d, ]+) \| ([^|]+) \|", section, re.MULTILINE):
        allowed = {int(status) for status in row[0].split(",")}
        for code in re.findall(r"`(\w+)`", row[1]):
            if code not in CODES_WITHOUT_A_CLASS and not statuses().get(code, set()) & allowed:
                wrong[code] = statuses().get(code)

    assert wrong == {}
    assert sorted(CODES_WITHOUT_A_CLASS & statuses().keys()) == []
    assert [code for code in CODES_WITHOUT_A_CLASS if f"`{code}`" not in section] == []


def test_every_command_is_in_the_reference() -> None:
    page = commands_page()
    found = re.findall(r"^#{2,} hub ([\w -]+)$", page, re.MULTILINE)

    assert {name for name in app if not name.startswith("-")} <= set(found) | {"--help"}
    assert "dead replay" in found
    assert "scripts.site" not in page


@pytest.mark.parametrize("module", python_api.MODULES)
def test_every_public_name_is_described_or_linked(module: str) -> None:
    page = python_api.page(module)
    names = python_api.exported(module)

    assert len(names) > 5
    assert [name for name in names if f"\n## {name}\n" not in page and f"[{name}](" not in page] == []


def test_signatures_and_docstrings_are_shown() -> None:
    page = python_api.page("hub.client")

    assert "async def call(" in page
    assert "\n### Client.submit\n" in page
    assert "* `retry_for`: Seconds that failures in a row are retried; 0 for no retries." in page
    assert isinstance(hub.client.Client, type)


def test_classes_in_the_table_of_the_client_exist() -> None:
    section = (ROOT / "docs/client.md").read_text().split("\n## Errors\n")[1].split("\n## ")[0]
    names = re.findall(r"^\| (?:\.\.\. )?`(\w+)` \|", section, re.MULTILINE)

    assert len(names) > 10
    assert [name for name in names if not issubclass(getattr(hub.client, name, int), HubError)] == []
