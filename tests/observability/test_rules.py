"""Configuration and alert rules, by promtool: they are valid, tested, explained, and the tests notice a wrong rule."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.observability.config import CONFIG, ROOT, RULES, adapted, rules, shortened
from tests.observability.server import program

CASES = Path(__file__).with_name("hub.rules.test.yml")
ALERTS = [rule["alert"] for rule in rules()]
PAGE = ROOT / "docs" / "monitoring.md"


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program("promtool"), *arguments], capture_output=True, text=True, check=False)


def cases_of(alert: str) -> list[dict[str, Any]]:
    """The tests of one alert, with every look that they take at it and at nothing else."""
    found = []
    for test in yaml.safe_load(CASES.read_text())["tests"]:
        looks = [look for look in test["promql_expr_test"] if f'alertname="{alert}"' in look["expr"]]
        if looks:
            found.append(test | {"promql_expr_test": looks})
    return found


def outcome_with(rule: dict[str, Any], folder: Path) -> subprocess.CompletedProcess[str]:
    """What the tests of an alert say of `rule` in its place."""
    (folder / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "one", "rules": [rule]}]}))
    document = yaml.safe_load(CASES.read_text()) | {"rule_files": ["rules.yml"], "tests": cases_of(rule["alert"])}
    (folder / "cases.yml").write_text(yaml.safe_dump(document))
    return promtool("test", "rules", folder / "cases.yml")


def test_the_rules_are_valid() -> None:
    done = promtool("check", "rules", RULES)

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_do_what_their_tests_say() -> None:
    done = promtool("test", "rules", CASES)

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_configuration_is_valid_in_its_folder(tmp_path: Path) -> None:
    """As the container sees it: the rules beside it, the token in the file that compose.yaml makes."""
    shutil.copy(RULES, tmp_path)
    (tmp_path / "hub_token").write_text("t")
    config = tmp_path / "prometheus.yml"
    config.write_text(CONFIG.read_text().replace("/run/secrets/", f"{tmp_path}/"))

    done = promtool("check", "config", config)

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(ALERTS)} rules found" in done.stdout


def test_no_secret_is_committed() -> None:
    document = yaml.safe_load(CONFIG.read_text())
    holders = [*document["scrape_configs"], *document["scrape_configs"][-1]["http_sd_configs"]]

    assert {tuple(sorted(holder["authorization"].keys() - {"type"})) for holder in holders} == {("credentials_file",)}


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_is_seen_firing_and_not_firing(alert: str) -> None:
    firing = [bool(look["exp_samples"]) for test in cases_of(alert) for look in test["promql_expr_test"]]

    assert set(firing) == {True, False}


def never(rule: dict[str, Any]) -> dict[str, Any]:
    return rule | {"expr": f"({rule['expr']}) unless on () vector(1)"}


def always(rule: dict[str, Any]) -> dict[str, Any]:
    return rule | {"expr": "vector(1)", "for": "0s"}


def at_once(rule: dict[str, Any]) -> dict[str, Any]:
    return rule | {"for": "0s"}


def much_later(rule: dict[str, Any]) -> dict[str, Any]:
    return rule | {"for": "1d"}


@pytest.mark.parametrize("rule", [pytest.param(rule, id=rule["alert"]) for rule in rules()])
def test_the_tests_detect_a_wrong_rule(rule: dict[str, Any], tmp_path: Path) -> None:
    assert outcome_with(rule, tmp_path).returncode == 0
    for change in (never, always, much_later, *([at_once] if "for" in rule else [])):
        done = outcome_with(change(rule), tmp_path)

        assert done.returncode != 0, change.__name__
        assert rule["alert"] in done.stderr + done.stdout


@pytest.mark.parametrize("rule", [pytest.param(rule, id=rule["alert"]) for rule in rules()])
def test_each_alert_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert set(rule["labels"]) == {"severity"}
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook"}
    assert rule["annotations"]["runbook"] == f"docs/monitoring.md#{rule['alert'].lower()}"
    assert f"### {rule['alert']}\n" in PAGE.read_text()


def test_the_page_explains_no_alert_that_does_not_exist() -> None:
    assert re.findall(r"^### (Hub\w+)$", PAGE.read_text(), re.MULTILINE) == ALERTS


def test_the_configuration_on_the_page_is_valid(tmp_path: Path) -> None:
    """What one adds to a Prometheus that is there already."""
    (snippet,) = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    shutil.copy(RULES, tmp_path)
    (tmp_path / "hub_token").write_text("t")
    config = tmp_path / "prometheus.yml"
    config.write_text(snippet.replace("/etc/prometheus/", f"{tmp_path}/"))

    done = promtool("check", "config", config)

    assert done.returncode == 0, done.stdout + done.stderr
    committed, shown = yaml.safe_load(CONFIG.read_text()), yaml.safe_load(snippet)
    assert [job["job_name"] for job in shown["scrape_configs"]] == [
        job["job_name"] for job in committed["scrape_configs"]
    ]


def test_shortened_rules_are_the_rules_with_shorter_durations(tmp_path: Path) -> None:
    hurried = {rule["alert"]: rule for rule in rules(shortened(60))}

    assert hurried.keys() == set(ALERTS)
    assert hurried["HubBacklogGrows"]["for"] == "5s"
    assert "[5s]" in hurried["HubTasksFail"]["expr"]
    assert "> 0.1" in hurried["HubTasksFail"]["expr"]
    assert "hub_queue_oldest_message_seconds) > 5" in hurried["HubQueueWaitTooLong"]["expr"]
    assert "> 100" in hurried["HubBacklogGrows"]["expr"]
    for rule in rules():
        kept = {key: value for key, value in rule.items() if key not in {"for", "expr"}}
        assert kept == {key: value for key, value in hurried[rule["alert"]].items() if key not in {"for", "expr"}}
    assert rules(shortened(1)) == [
        rule
        | {"expr": rule["expr"].replace("1h", "3600s").replace("[5m]", "[300s]").replace("[10m]", "[600s]")}
        | ({"for": f"{int(rule['for'][:-1]) * 60}s"} if "for" in rule and rule["for"].endswith("m") else {})
        for rule in rules()
    ]
    config = adapted(tmp_path, registry="r:1", gateway="g:1", token="t", rules_text=shortened(60))
    assert promtool("check", "config", config).returncode == 0
