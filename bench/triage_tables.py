"""Made-up tables of any size, for the triage pages: written by DuckDB itself, in seconds.

Nothing in them was detected. They have the shape that pages care about: severities and exposures
with long tails, clusters of one to forty accounts, things that members share, sessions, a map.
Sessions are in no order that helps, as where runs wrote them day by day.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from schemas.tables import TABLES, VIEWS

START = "TIMESTAMPTZ '2026-06-01 00:00:00+00'"

# A number in [0, 1) that depends on a row and a purpose only.
_DRAW = """CREATE OR REPLACE TEMP MACRO draw(i, what) AS
    (hash(i * 7919 + hash(what) % 104729) % 1000003) / 1000003.0"""

_CLUSTERS = f"""
    CREATE TEMP TABLE made AS SELECT i, printf('c-%016x', hash(i * 31 + 7)) AS cluster_id,
      CASE WHEN draw(i, 's') < 0.02 THEN 'critical' WHEN draw(i, 's') < 0.12 THEN 'high'
           WHEN draw(i, 's') < 0.55 THEN 'medium' ELSE 'low' END AS severity,
      CASE WHEN draw(i, 'r') < 0.2 THEN 'resolved' ELSE 'open' END AS status,
      1 + CAST(floor(39 * draw(i, 'n') ** 4) AS INT) AS accounts,
      {START} + to_minutes(CAST(40000 * draw(i, 't') AS INT)) AS first_seen,
    FROM range(?) AS t(i)"""

_FLAGGED = f"""
    INSERT INTO flagged_clusters BY NAME SELECT cluster_id, accounts * 120 AS revision,
      {START} AS window_start, {START} + INTERVAL 28 DAY AS window_end, status, severity,
      1 + 4 * draw(i, 'score') AS score, 0.0001 + 0.01 * draw(i, 'p') AS p_value, first_seen,
      first_seen + INTERVAL 3 DAY AS last_seen, first_seen + INTERVAL 1 DAY AS first_alert,
      accounts AS account_count, 1 + accounts // 3 AS payment_count,
      accounts * 120 AS request_count, accounts * 90000 AS input_tokens,
      accounts * 240000 AS output_tokens, round(5 / (0.002 + draw(i, 'usd')), 2) AS exposure_usd,
      'sum of cost_usd of all requests of all members' AS exposure_method,
      list_transform(range(3), lambda k: {{
        'feature': ['hill_cells', 'effective_rank', 'networks'][k + 1], 'value': ln(310),
        'normal_low': ln(20), 'normal_high': ln(41), 'z': 2.0 + k + 4 * draw(i, 'z'),
        'contribution': 1.0 / (k + 1),
        'words': 'in the words of then, ' || k || ': 310; normal is 20 to 41'}}) AS reasons,
      list_filter(['bulk_sweep', 'divided_labour', 'hand_over', 'fixed_template', 'self_instruct',
        'reasoning_elicitation'], lambda t: draw(i, t) < 0.3) AS tactics,
      'made-up' AS bundle_version, 'made-up' AS run_id,
      list_transform(['code', 'mathematics'], lambda c: {{'name': c, 'requests': 40 * accounts,
        'share': 0.3, 'lift': 2.5, 'covered': 0.6, 'expected': 0.4, 'taken': draw(i, c) < 0.5}})
        AS capabilities,
      list_transform(range(?), lambda k: {{'cell': k, 'x': k % 16, 'y': k // 16,
        'requests': CAST(greatest(0, 9 * draw(i * 256 + k, 'visits') - 4) AS BIGINT),
        'expected': 0.5 + 3 * draw(k, 'usual')}}) AS coverage
    FROM made"""

_MEMBERS = f"""
    CREATE TEMP TABLE joined AS SELECT *, printf('acct-%06x-%02x', i, m) AS account_id
    FROM made, range(40) AS t(m) WHERE m < accounts;
    INSERT INTO cluster_members BY NAME SELECT cluster_id, accounts * 120 AS revision, account_id,
      first_seen + to_hours(CAST(m AS INT)) AS since, 120 AS request_count,
      1 + draw(i * 64 + m, 'own') AS score, 0.01 + 0.9 * draw(i * 64 + m, 'p') AS p_value,
      {START} AS window_start,
      list_filter([
        {{'kind': 'payment', 'thing': printf('%014x', i * 16 + m // 3), 'accounts': 3,
          'weight': 0.9}},
        {{'kind': 'network', 'thing': printf('%014x', i * 16 + m % 2), 'accounts': 20,
          'weight': 0.4}},
        {{'kind': 'hand_over', 'thing': printf('%014x', i * 16 + m // 2), 'accounts': 2,
          'weight': 0.4}}], lambda l: draw(i * 64 + m, l.kind) < 0.8) AS links
    FROM joined"""

_SESSIONS = """
    INSERT INTO session_scores BY NAME SELECT account_id || '-' || s AS session_id, 30 AS revision,
      'session_account' AS level, 'account' AS key_kind, account_id AS key,
      first_seen + to_minutes(CAST(m * 200 + s * 45 AS INT)) AS session_start,
      first_seen + to_minutes(CAST(m * 200 + s * 45 + 25 AS INT)) AS session_end,
      30 AS request_count, 60000 AS output_tokens, 1.0 AS score, 0.5 AS p_value
    FROM joined, range(4) AS t(s) ORDER BY hash(session_id)"""


def make_tables(path: Path, clusters: int, cells: int = 256) -> list[str]:
    """Writes tables; the same for the same numbers.

    Args:
      path: of the database, which must not be there.
      clusters: flagged ones.
      cells: of the map of each.

    Returns:
      Ids of the clusters.
    """
    with duckdb.connect(str(path)) as connection:
        for table in TABLES.values():
            connection.execute(table.duckdb_ddl())
        for view in VIEWS.values():
            connection.execute(view)
        connection.execute(_DRAW)
        connection.execute(_CLUSTERS, [clusters])
        connection.execute(_FLAGGED, [cells])
        connection.execute(_MEMBERS)
        connection.execute(_SESSIONS)
        names = connection.execute("SELECT cluster_id FROM made ORDER BY i").fetchall()
    return [row[0] for row in names]
