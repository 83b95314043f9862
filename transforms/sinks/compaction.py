"""Joins the small files of Parquet tables, beside a run that writes and others that read."""

from __future__ import annotations

import time
from pathlib import Path

from schemas.tables import TABLES
from transforms.sinks import parquet_files as files


def compact_folder(folder: Path, grace_s: float) -> None:
    """Makes one file of each table and day.

    A crash at any point loses no row, and the next time goes on from there.

    Args:
      folder: of the tables.
      grace_s: how long files stay that were joined.
    """
    for name, table in TABLES.items():
        for day in files.days(folder, name):
            # A day at a time, so that a run that writes waits for moments only.
            with files.locked(folder):
                live = files.live(day)
                if len(live) > 1:
                    files.join(day, live, f"joined-{time.time_ns():020d}.parquet", table)
                files.clean(day, grace_s)
