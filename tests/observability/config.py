"""The committed configuration of Prometheus, made to run on one machine and in a hurry."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[2]
CONFIG: Final = ROOT / "deploy" / "prometheus" / "prometheus.yml"
RULES: Final = ROOT / "deploy" / "prometheus" / "hub.rules.yml"

_DURATION: Final = re.compile(r"\b(\d+)([smh])\b")
_SECONDS: Final = re.compile(r"(_seconds\)? [<>]=? )(\d+)\b")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600}


def rules(text: str | None = None) -> list[dict[str, Any]]:
    """All rules of the committed file, or of `text`."""
    document = yaml.safe_load(RULES.read_text() if text is None else text)
    return [rule for group in document["groups"] for rule in group["rules"]]


def shortened(factor: int) -> str:
    """The rules file with every duration divided by `factor`, at least a second each, and with nothing else changed.

    Durations are the values of `for`, what stands in brackets behind a series, and the number that a metric whose name
    ends in `_seconds` is compared with.
    """

    def divided(match: re.Match[str]) -> str:
        return f"{math.ceil(int(match[1]) * _UNITS[match[2]] / factor)}s"

    document = yaml.safe_load(RULES.read_text())
    for group in document["groups"]:
        for rule in group["rules"]:
            if "for" in rule:
                rule["for"] = _DURATION.sub(divided, rule["for"])
            expr = re.sub(r"\[[^\]]+\]", lambda window: _DURATION.sub(divided, window[0]), rule["expr"])
            rule["expr"] = _SECONDS.sub(lambda bound: f"{bound[1]}{math.ceil(int(bound[2]) / factor)}", expr)
    return yaml.safe_dump(document)


def adapted(folder: Path, *, registry: str, gateway: str, token: str, rules_text: str | None = None) -> Path:
    """Writes the committed configuration into `folder`, with the addresses, the token and the haste of a test.

    Args:
        folder: Where it goes.
        registry: `host:port`.
        gateway: `host:port`.
        token: What Prometheus shows.
        rules_text: The rules; without them the committed ones.
    """
    secret = folder / "hub_token"
    secret.write_text(f"{token}\n")
    text = CONFIG.read_text().replace("/run/secrets/hub_token", str(secret))
    text = text.replace("registry:8001", registry).replace("gateway:8000", gateway)
    config = yaml.safe_load(text)
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "900ms", "evaluation_interval": "1s"}
    for job in config["scrape_configs"]:
        for discovery in job.get("http_sd_configs", []):
            discovery["refresh_interval"] = "1s"
    (folder / "hub.rules.yml").write_text(rules_text or RULES.read_text())
    written = folder / "prometheus.yml"
    written.write_text(yaml.safe_dump(config))
    return written
