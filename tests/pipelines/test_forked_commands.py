"""Commands that tests fork are what a user starts: nothing of a person's session."""

from __future__ import annotations

from pathlib import Path

from tests.support import commands


def _setting(path: Path) -> None:
    import duckdb

    [(shown,)] = duckdb.sql("SELECT current_setting('enable_progress_bar')").fetchall()
    path.write_text(str(shown))


def test_duckdb_shows_no_progress_among_results(tmp_path: Path) -> None:
    process = commands.forked(_setting, tmp_path / "shown")
    process.join()
    assert (tmp_path / "shown").read_text() == "False"
