"""Dashboard and alert rules: valid, about metrics that there are, and explained."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from grafana_foundation_sdk.models.dashboard import Dashboard

from infra.grafana.dashboard import TARGET, made
from pipelines.observe.metrics import RunMetrics
from pipelines.observe.of_tables import table_metrics

ROOT = Path(__file__).resolve().parents[2]
RULES = yaml.safe_load((ROOT / "infra/prometheus/alerts.yaml").read_text(encoding="utf-8"))
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"]]
TRIED = yaml.safe_load((ROOT / "infra/prometheus/alerts.test.yaml").read_text(encoding="utf-8"))
DASHBOARD = json.loads(TARGET.read_text(encoding="utf-8"))


def queries() -> Iterator[str]:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"].replace("$instance", ".*")


def selected(query: str) -> set[str]:
    """Names of the metrics that a query reads; raises where it is no PromQL."""
    promql_parser.parse(query)
    return set(re.findall(r"\b(?:distilwatch_\w+|up)\b(?=\s*[{\[>=<)/]|\s*$|\s+[-<>=a-z])", query))


def there() -> set[str]:
    """Names that are told, of counters as they are scraped."""
    run = RunMetrics("r", "b", "prism").registry
    names = {
        metric.name + ("_total" if metric.type == "counter" else "") for metric in run.collect()
    }
    text = table_metrics(lambda _: ((), ())).decode()
    return names | set(re.findall(r"# TYPE (\w+)", text)) | {"up"}


def test_the_dashboard_is_what_its_program_makes() -> None:
    assert TARGET.read_text(encoding="utf-8") == made(), "python -m infra.grafana.dashboard"
    again = Dashboard.from_json(DASHBOARD)
    assert again.uid == "distilwatch"
    assert again.panels is not None
    assert len(again.panels) == len(DASHBOARD["panels"])


@pytest.mark.parametrize("query", [*queries(), *(rule["expr"] for rule in ALERTS)])
def test_queries_are_promql_about_metrics_that_there_are(query: str) -> None:
    names = selected(query)
    assert names
    assert names <= there()


def test_no_panel_hides_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["summary"]
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^### (\w+)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert anchor in {heading.lower() for heading in headings}
    if "for" in rule:
        assert promql_parser.parse_duration(rule["for"])


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_is_tried_at_a_time_when_it_fires_and_at_one_when_it_does_not(
    rule: dict[str, Any],
) -> None:
    """`promtool test rules` then finds that it is so (docs/observability.md)."""
    times = [t for one in TRIED["tests"] for t in one["alert_rule_test"]]
    mine = [t["exp_alerts"] for t in times if t["alertname"] == rule["alert"]]
    assert [] in mine
    [fires] = [alerts for alerts in mine if alerts]
    for alert in fires:
        assert rule["labels"].items() <= alert["exp_labels"].items()
        assert alert["exp_annotations"]["summary"]
        assert alert["exp_annotations"]["runbook"] == rule["annotations"]["runbook"]
