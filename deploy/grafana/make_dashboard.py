#!/usr/bin/env python3
"""Writes essaim.json, the Grafana dashboard: panels are declared here, places are computed. `make_dashboard.py --check` compares."""
import json
import pathlib
import sys

OUT = pathlib.Path(__file__).with_name("essaim.json")
I = '{instance=~"$instance"}'

# (title, unit, width of 24, [(expression, legend)], kind)
PANELS = [
    ("Tokens a second", "short", 6, [(f"sum(essaim:decode_tokens:rate1m{I})", "answers"), (f"sum(essaim:prefill_tokens:rate1m{I})", "prompts")], "timeseries"),
    ("First token", "s", 6, [(f"essaim:time_to_first_token:p95{I}", "p95 {{instance}}")], "timeseries"),
    ("Between tokens", "s", 6, [(f"essaim:time_per_token:p95{I}", "p95 {{instance}}")], "timeseries"),
    ("Requests", "short", 6, [(f"sum(essaim_answers_running{I})", "running"), (f"sum(essaim_answers_waiting{I})", "waiting"), (f"sum(essaim_requests_queued{I})", "queued")], "timeseries"),
    ("Answers by outcome", "short", 8, [(f"sum by (outcome) (rate(essaim_answers_total{I}[5m]))", "{{outcome}}"), (f"sum(rate(essaim_requests_refused_total{I}[5m]))", "refused")], "timeseries"),
    ("HTTP by status", "short", 8, [(f"sum by (code) (rate(essaim_http_requests_total{I}[5m]))", "{{code}}")], "timeseries"),
    ("KV cache", "percentunit", 8, [(f"essaim_kv_pages_used{I} / essaim_kv_pages", "used {{instance}}"), (f"essaim_kv_pages_idle{I} / essaim_kv_pages", "prefixes {{instance}}"), (f"essaim:cache_hits:ratio5m{I}", "hits {{instance}}")], "timeseries"),
    ("Nodes up", "short", 4, [(f"sum(essaim_node_up{I})", "up")], "stat"),
    ("Calls: median and slowest in a hundred", "s", 10, [(f"essaim:node_call:p50{I}", "p50 {{node}}"), (f"essaim:node_call:p99{I}", "p99 {{node}}")], "timeseries"),
    ("Nodes at work", "percentunit", 10, [(f"rate(essaim_node_compute_seconds_total{I}[1m])", "{{node}}")], "timeseries"),
    ("To and from nodes", "Bps", 12, [(f"rate(essaim_node_sent_bytes_total{I}[1m])", "to {{node}}"), (f"rate(essaim_node_received_bytes_total{I}[1m])", "from {{node}}")], "timeseries"),
    ("Rows of a step", "short", 12, [(f"histogram_quantile(0.5, sum by (le) (rate(essaim_step_rows_bucket{I}[5m])))", "median"), (f"histogram_quantile(0.99, sum by (le) (rate(essaim_step_rows_bucket{I}[5m])))", "p99")], "timeseries"),
]
DESCRIPTIONS = {
    "Nodes at work": "Share of the time that a node computed for this coordinator.",
    "KV cache": "Pages used by answers and prefixes; pages that prefixes alone hold are given up when answers need them; share of prompt tokens found.",
}


def panel(number, title, unit, width, targets, kind, x, y):
    return {
        "id": number, "title": title, "type": kind, "description": DESCRIPTIONS.get(title, ""),
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "gridPos": {"h": 8, "w": width, "x": x, "y": y},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [{"refId": chr(ord("A") + i), "expr": e, "legendFormat": legend} for i, (e, legend) in enumerate(targets)],
    }


def dashboard():
    panels, x, y = [], 0, 0
    for number, (title, unit, width, targets, kind) in enumerate(PANELS, 1):
        if x + width > 24:
            x, y = 0, y + 8
        panels.append(panel(number, title, unit, width, targets, kind, x, y))
        x += width
    return {
        "uid": "essaim", "title": "Essaim", "tags": ["essaim"], "schemaVersion": 37, "refresh": "15s", "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [
            {"name": "datasource", "type": "datasource", "query": "prometheus"},
            {"name": "instance", "type": "query", "datasource": {"type": "prometheus", "uid": "${datasource}"}, "query": "label_values(essaim_ready, instance)",
             "includeAll": True, "multi": True, "refresh": 2, "current": {"text": "All", "value": "$__all"}},
        ]},
        "panels": panels,
    }


def main():
    text = json.dumps(dashboard(), indent=1) + "\n"
    if sys.argv[1:] == ["--check"]:
        sys.exit(0 if OUT.read_text() == text else f"{OUT} is not what {__file__} writes")
    OUT.write_text(text)


main()
