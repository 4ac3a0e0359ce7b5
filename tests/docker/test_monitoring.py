"""Prometheus' rules, Grafana's dashboard and the documentation against what a live server exports."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.server.live import LiveServer

ROOT = Path(__file__).parents[2]
RULES = ROOT / "docker" / "prometheus"
DASHBOARD = json.loads((ROOT / "docker" / "grafana" / "dashboards" / "tidar.json").read_text())
NAME = re.compile(r"\b((?:tidar|vllm):\w+)(?:\{([^}]*)\})?")
#: labels that Prometheus adds
TARGET_LABELS = {"instance", "job"}

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: apt-get install prometheus)"
)


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def dashboard_queries() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((RULES / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *arguments], cwd=RULES, capture_output=True, text=True)


@pytest.fixture(scope="module")
def exported(server: LiveServer) -> dict[str, set[str]]:
    """The labels of every sample that a server exports after some work, by name."""
    server.complete(prompt="def f(", temperature=100, seed=1, max_tokens=30, ignore_eos=True)
    server.post("/v1/completions", {"prompt": "x", "n": 0})
    server.wait_until_idle()
    labels: dict[str, set[str]] = {}
    for line in server.get("/metrics").text.splitlines():
        if not line.startswith("#"):
            name, _, rest = line.partition("{")
            labels.setdefault(name, set()).update(re.findall(r'(\w+)="', rest))
    return labels


@pytest.mark.parametrize("query", dashboard_queries() + [rule["expr"] for rule in alerts()])
def test_every_metric_and_label_of_a_query_is_exported(query: str, exported: dict[str, set[str]]) -> None:
    for name, selector in NAME.findall(query):
        assert name in exported
        wanted = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector)) - TARGET_LABELS
        assert wanted <= exported[name], f"{name} has the labels {sorted(exported[name])}"
    known = TARGET_LABELS.union(*(exported[name] for name, _ in NAME.findall(query)))
    for grouping in re.findall(r"by \(([^)]*)\)", query):
        assert {label.strip() for label in grouping.split(",")} <= known


def test_queries_ask_for_something() -> None:
    assert len(dashboard_queries()) > 40
    assert all(NAME.search(query) or query.startswith("sum(up{") for query in dashboard_queries())


def test_every_metric_is_documented(exported: dict[str, set[str]]) -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exported}
    assert not sorted(name for name in families if f"`{name}`" not in text)


def test_every_alert_is_documented_and_has_a_test_in_which_it_fires() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    tests = yaml.safe_load((RULES / "alerts_test.yml").read_text())["tests"]
    fired = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case["exp_alerts"]}
    for rule in alerts():
        assert f"`{rule['alert']}`" in text
        assert rule["alert"] in fired
        assert rule["labels"]["severity"] in ("critical", "warning", "info")


def test_the_dashboard_answers_four_questions_from_top_to_bottom() -> None:
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert rows == ["Is it up?", "Is it fast?", "Is it full?", "Are the drafts paying?"]
    heights = [panel["gridPos"]["y"] for panel in DASHBOARD["panels"]]
    assert heights == sorted(heights)
    assert all(panel["description"] and panel["targets"] for panel in panels())


def test_panels_lie_side_by_side_and_not_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24 and taken.isdisjoint(cells), panel["title"]
        taken |= cells


def test_prometheus_scrapes_the_name_that_compose_gives_the_server() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    scrape = yaml.safe_load((RULES / "prometheus.yml").read_text())["scrape_configs"][0]
    host, _, port = scrape["static_configs"][0]["targets"][0].partition(":")
    for name in ("server", "server-cpu"):
        service = compose["services"][name]
        assert host in service["networks"]["default"]["aliases"]
        assert service["ports"][0].endswith(f":{port}")
    assert scrape["authorization"]["credentials_file"] == "/run/secrets/api_key"
    assert "api_key" in compose["services"]["prometheus"]["secrets"]


def test_grafanas_data_source_is_the_prometheus_of_compose() -> None:
    provisioning = ROOT / "docker" / "grafana" / "provisioning"
    source = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"][0]
    assert source["url"] == "http://prometheus:9090" and source["isDefault"]
    provider = yaml.safe_load((provisioning / "dashboards" / "tidar.yml").read_text())["providers"][0]
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert f"./docker/grafana/dashboards:{provider['options']['path']}:ro" in compose["services"]["grafana"]["volumes"]


@needs_promtool
def test_prometheus_takes_its_configuration_and_rules() -> None:
    for arguments in (("check", "config", "--syntax-only", "prometheus.yml"), ("check", "rules", "alerts.yml")):
        done = promtool(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_alerts_fire_when_they_should_and_only_then() -> None:
    done = promtool("test", "rules", "alerts_test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_prometheus_understands_every_query_of_the_dashboard(tmp_path: Path) -> None:
    queries = [
        query.replace("$__rate_interval", "1m").replace("$model", ".*").replace("$instance", ".*")
        for query in dashboard_queries()
    ]
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = promtool("check", "rules", str(tmp_path / "rules.yml"))
    assert done.returncode == 0, done.stdout + done.stderr
