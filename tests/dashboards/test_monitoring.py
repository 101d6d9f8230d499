"""Prometheus' and Grafana's files: every name exists, every query parses, every alert fires."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.metrics import METRICS, SWEEP

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
FILES = ROOT / "dashboards"
BOARD = json.loads((FILES / "grafana/dashboards/lotus.json").read_text("utf-8"))
ALERTS = FILES / "prometheus/alerts.yml"
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]

BY_RAY = {"Component", "NodeAddress", "SessionName", "Version", "WorkerId"}
"""Labels that Ray puts on every metric of ours."""

OF_PROMETHEUS = {"up", "ALERTS"}


def ray_names() -> set[str]:
    """Series of Ray itself: of a real scrape, and those of GPUs from its source."""
    from ray.dashboard.modules.reporter.reporter_agent import METRICS_GAUGES

    found = {f"ray_{name}" for name in METRICS_GAUGES if "gpu" in name or "gram" in name}
    for line in (HERE / "ray_metrics.txt").read_text("utf-8").splitlines():
        if not line.startswith("#"):
            name, kind = line.split()
            found |= {name} if kind != "histogram" else {f"{name}_bucket", f"{name}_count"}
    return found


def board_queries() -> Iterator[tuple[str, str]]:
    """Title of the panel and query, with Grafana's variables filled in."""
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel["title"], filled(target["expr"])


def filled(expr: str) -> str:
    """A query as Grafana sends it when everything is selected."""
    for name, value in (("$__rate_interval", "1m"), ("$sweep", ".*"), ("$node", ".*")):
        expr = expr.replace(name, value)
    assert "$" not in expr, expr
    return expr


def rules() -> list[dict[str, Any]]:
    """All alerts."""
    groups = yaml.safe_load(ALERTS.read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def queries() -> list[tuple[str, str]]:
    """Every query of the dashboard and of the alerts, with who asks it."""
    return [*board_queries(), *((rule["alert"], rule["expr"]) for rule in rules())]


def series_of(expr: str) -> set[str]:
    """Names of the series that a query reads."""
    text = re.sub(r'"[^"]*"', '""', expr)
    text = re.sub(r"\b(?:by|on|without|ignoring) \([^)]*\)", "", text)
    text = re.sub(r"\{[^}]*\}", "", text)
    words = set(re.findall(r"[A-Za-z_:][\w:]*(?!\w*\()", text))
    functions = set(re.findall(r"([a-z_]+) ?\(", text))
    return (
        words
        - functions
        - {"and", "or", "unless", "offset", "h", "m", "s", "e", "sum", "count", "max"}
    )


@pytest.fixture(scope="module")
def promtool() -> str:
    """Skips where Prometheus is not installed."""
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("no promtool here: `apt-get install prometheus`")
    return found


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_reader_of_queries_sees_what_is_read() -> None:
    expr = '60 * sum by (a, le) (rate(x_y{z="ray_no"}[1m])) / on (b) ray_q unless up offset 1h'
    assert series_of(expr) == {"x_y", "ray_q", "up"}


def test_every_query_reads_series_that_exist() -> None:
    ours = {name for metric in METRICS.values() for name in metric.exported}
    known = ours | ray_names() | OF_PROMETHEUS
    unknown = {(who, name) for who, expr in queries() for name in series_of(expr) - known}
    assert not unknown
    assert len(queries()) > 40


def test_everything_that_is_measured_is_shown() -> None:
    shown = {name for _, expr in board_queries() for name in series_of(expr)}
    missing = {name for name, metric in METRICS.items() if not shown & set(metric.exported)}
    assert not missing


def test_labels_in_queries_are_those_of_the_metric() -> None:
    labels = {
        name: {SWEEP, "le", *metric.labels} | BY_RAY
        for metric in METRICS.values()
        for name in metric.exported
    }
    for who, expr in queries():
        for name, matchers in re.findall(r"(ray_lotus_\w+)\{([^}]*)\}", expr):
            assert set(re.findall(r"(\w+) ?(?:=|!)", matchers)) <= labels[name], (who, name)
        if own := [labels[name] for name in series_of(expr) if name in labels]:
            grouped = ",".join(re.findall(r"by \(([^)]*)\)", expr))
            used = {label.strip() for label in grouped.split(",")} - {""}
            assert used <= set.union(*own), who


def test_every_query_parses(promtool: str, tmp_path: Path) -> None:
    asked = [{"record": f"q{n}", "expr": expr} for n, (_, expr) in enumerate(queries())]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "q", "rules": asked}]}), encoding="utf-8")
    assert f"{len(asked)} rules found" in run(promtool, "check", "rules", str(path))


def test_prometheus_accepts_its_files(promtool: str) -> None:
    said = run(promtool, "check", "config", str(FILES / "prometheus/prometheus.yml"))
    assert f"{len(rules())} rules found" in said


def test_alerts_fire_when_they_should_and_not_before(promtool: str) -> None:
    assert "SUCCESS" in run(promtool, "test", "rules", str(HERE / "alerts_test.yml"))
    asked = yaml.safe_load((HERE / "alerts_test.yml").read_text("utf-8"))["tests"]
    tried = {one["alertname"] for test in asked for one in test["alert_rule_test"]}
    assert tried == {rule["alert"] for rule in rules()}


def test_every_alert_says_what_to_do() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"].keys() == {"summary", "description"}


def test_every_panel_can_be_read() -> None:
    for panel in PANELS:
        title = panel["title"]
        assert panel["description"].endswith("."), title
        assert panel["fieldConfig"]["defaults"]["unit"], title
        assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"], title
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "lotus-prometheus"
            assert target["legendFormat"] or panel["type"] == "stat", title
            if "ray_lotus_" in target["expr"]:
                assert target["expr"].count("ray_lotus_") == target["expr"].count('sweep=~"$sweep"')


def test_panels_stand_below_rows_and_do_not_overlap() -> None:
    assert BOARD["panels"][0]["type"] == "row"
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    cells: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        own = {(x + at["x"], y + at["y"]) for x in range(at["w"]) for y in range(at["h"])}
        assert not own & cells, panel["title"]
        cells |= own


def test_grafana_knows_every_field_of_the_dashboard() -> None:
    """Read and written by the classes that Grafana generates from its schema, nothing is lost."""
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    register_default_plugins()
    written = json.loads(json.dumps(Dashboard.from_json(BOARD), cls=JSONEncoder))
    of_the_plugin = {".annotations.list[].textFormat", ".annotations.list[].titleFormat"}
    assert set(_lost(BOARD, written)) == of_the_plugin


def _lost(one: Any, other: Any, at: str = "") -> Iterator[str]:
    if isinstance(one, dict):
        for name, value in one.items():
            if name in other:
                yield from _lost(value, other[name], f"{at}.{name}")
            else:
                yield f"{at}.{name}"
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for first, second in zip(one, other, strict=True):
            yield from _lost(first, second, f"{at}[]")
    elif one != other:
        yield f"{at}: {one!r}, not {other!r}"


def test_provisioning_names_the_data_source_that_panels_ask() -> None:
    folder = FILES / "grafana/provisioning"
    (source,) = yaml.safe_load((folder / "datasources/prometheus.yml").read_text())["datasources"]
    assert (source["uid"], source["type"]) == ("lotus-prometheus", "prometheus")
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((folder / "dashboards/lotus.yml").read_text())["providers"]
    assert provider["allowUiUpdates"] is False, "the file is the truth"


def test_compose_mounts_these_files_where_they_are_looked_for() -> None:
    compose = ROOT / "docker-compose.yml"
    if not compose.exists():
        pytest.skip("no docker-compose.yml in this tree")
    services = yaml.safe_load(compose.read_text("utf-8"))["services"]
    (provider,) = yaml.safe_load(
        (FILES / "grafana/provisioning/dashboards/lotus.yml").read_text("utf-8")
    )["providers"]
    mounted = {one for name in ("prometheus", "grafana") for one in services[name]["volumes"]}
    assert f"./dashboards/grafana/dashboards:{provider['options']['path']}:ro" in mounted
    assert "./dashboards/grafana/provisioning:/etc/grafana/provisioning:ro" in mounted
    assert "./dashboards/prometheus:/etc/prometheus:ro" in mounted
    discovery = yaml.safe_load((FILES / "prometheus/prometheus.yml").read_text("utf-8"))
    (files,) = discovery["scrape_configs"][0]["file_sd_configs"]
    places = {one.split(":")[1] for one in mounted}
    assert [str(Path(name).parent) in places for name in files["files"]] == [True]
