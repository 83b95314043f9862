"""Makes `distilwatch.json` beside this file: `python -m infra.grafana.dashboard`.

Built with Grafana's own SDK, so that what is written fits its schema.
"""

from __future__ import annotations

import json
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.builders.dashboard import DatasourceVariable, QueryVariable
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DataSourceRef

TARGET = Path(__file__).with_name("distilwatch.json")
_SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
_ON = 'instance=~"$instance"'

# Row: (title, [(kind, title, what it says, unit, [(query, legend)])])
ROWS = (
    ("Is it alive?", (
        ("stat", "Records a second", "Read just now", "short",
         ((f'sum(rate(distilwatch_records_total{{{_ON},outcome="read"}}[5m]))', ""),)),
        ("stat", "Behind", "Records that are not committed yet", "short",
         ((f"sum(distilwatch_lag_records{{{_ON}}})", ""),)),
        ("stat", "Last commit", "How long ago results were written", "s",
         ((f"time() - max(distilwatch_last_commit_timestamp_seconds{{{_ON}}})", ""),)),
        ("stat", "Newest event", "How long ago it happened", "s",
         ((f"time() - max(distilwatch_newest_event_timestamp_seconds{{{_ON}}})", ""),)),
        ("stat", "Flagged clusters", "By now", "short",
         ((f"sum(distilwatch_flagged_clusters{{{_ON}}})", ""),)),
        ("stat", "Refused", "Share of what was read in the last hour", "percentunit",
         ((f'sum(increase(distilwatch_records_total{{{_ON},outcome="refused"}}[1h])) / '
           f'sum(increase(distilwatch_records_total{{{_ON},outcome="read"}}[1h]))', ""),)),
    )),
    ("Traffic", (
        ("timeseries", "Records by what became of them", "A second", "short",
         ((f"sum by (outcome) (rate(distilwatch_records_total{{{_ON}}}[5m]))", "{{outcome}}"),)),
        ("timeseries", "Behind, by partition", "Records", "short",
         ((f"distilwatch_lag_records{{{_ON}}}", "{{brokers}} {{topic}} {{partition}}"),)),
        ("timeseries", "Refused, by reason", "A second; distilwatch dlq list has each", "short",
         ((f"sum by (reason) (rate(distilwatch_dead_letters_total{{{_ON}}}[5m]))", "{{reason}}"),)),
        ("timeseries", "Rows written", "A second, new and changed", "short",
         ((f"sum by (table) (rate(distilwatch_rows_total{{{_ON}}}[5m]))", "{{table}}"),)),
    )),
    ("Findings and drift", (
        ("timeseries", "Flagged", "Clusters, and accounts in them", "short",
         ((f"sum(distilwatch_flagged_clusters{{{_ON}}})", "clusters"),
          (f"sum(distilwatch_flagged_accounts{{{_ON}}})", "accounts"))),
        ("timeseries", "Commits that failed", "In five minutes; they are tried again", "short",
         ((f"increase(distilwatch_commit_failures_total{{{_ON}}}[5m])", "{{instance}}"),)),
        ("timeseries", "Messages that did not reach who is on call", "Tried again, and given up: "
         "distilwatch alerts outbox list", "short",
         ((f"distilwatch_untold_messages{{{_ON}}}", "{{instance}} {{state}}"),)),
        ("timeseries", "Outside of normal", "Share of the newest day's rows, by feature; "
         "from distilwatch tables metrics", "percentunit",
         (("distilwatch_tables_feature_outside_share", "{{level}} {{feature}}"),)),
        ("timeseries", "Clusters by status", "From distilwatch tables metrics", "short",
         (("sum by (status, severity) (distilwatch_tables_clusters)", "{{status}} {{severity}}"),)),
    )),
)  # fmt: skip
_SIZES = {"stat": (4, 4), "timeseries": (8, 12)}
_BUILDERS = {"stat": stat.Panel, "timeseries": timeseries.Panel}


def made() -> str:
    """The dashboard as JSON."""
    board = (
        dashboard.Dashboard("distilwatch")
        .uid("distilwatch")
        .description("Whether distilwatch runs, keeps up, and still fits its traffic.")
        .tags(["distilwatch"])
        .refresh("30s")
        .time("now-6h", "now")
        .timezone("utc")
        .editable()
        .with_variable(DatasourceVariable("datasource").type("prometheus"))
        .with_variable(
            QueryVariable("instance")
            .datasource(_SOURCE)
            .query("label_values(distilwatch_run_info, instance)")
            .include_all(True)
            .multi(True)
        )
    )
    for title, panels in ROWS:
        board = board.with_row(dashboard.Row(title))
        for kind, name, about, unit, queries in panels:
            height, span = _SIZES[kind]
            panel = (
                _BUILDERS[kind]()
                .title(name)
                .description(about)
                .datasource(_SOURCE)
                .unit(unit)
                .height(height)
                .span(span)
            )
            for i, (query, legend) in enumerate(queries):
                target = prometheus.Dataquery().expr(query).ref_id("AB"[i])
                panel = panel.with_target(target.legend_format(legend) if legend else target)
            board = board.with_panel(panel)
    plain = json.loads(JSONEncoder(sort_keys=True).encode(board.build()))
    # Of Grafana 10; the schema of later ones has them no more.
    del plain["style"]
    for variable in plain["templating"]["list"]:
        del variable["id"]
    return json.dumps(plain, indent=1) + "\n"


if __name__ == "__main__":
    TARGET.write_text(made(), encoding="utf-8")
