"""`distilwatch demo`: the whole product once, on this machine, offline."""

from __future__ import annotations

import json
from pathlib import Path

from pipelines.config import load_config
from pipelines.console import Console
from pipelines.detect import DetectOptions, detect
from pipelines.evaluate import evaluate
from pipelines.report import read_story, write_report
from pipelines.report.terminal import clusters_list, truth_tables
from pipelines.simulate.run import SimulateOptions
from pipelines.simulate.run import run as simulate
from pipelines.simulate.scenario import demo_scenario
from pipelines.train import TrainOptions, train

_MOST_CLUSTERS = 8


def run(folder: Path, seed: int, console: Console) -> None:
    """Simulates, trains, detects, compares with the truth and writes a report.

    Args:
      folder: there already; everything goes into it.
      seed: of the traffic.
      console: says what happens.

    Raises:
      DistilwatchError: when the folder cannot be written.
    """
    history, live, labels = (
        folder / name for name in ("history.jsonl", "live.jsonl", "labels.jsonl")
    )
    bundle, database, parquet = folder / "bundle", folder / "out.duckdb", folder / "parquet"
    config = load_config(None)

    made = simulate(SimulateOptions(str(live), str(history), labels, demo_scenario(seed)), console)
    console.note(made.lines()[0].rstrip(":"))
    trained = train(TrainOptions([str(history)], bundle, config, "direct", []), console)
    console.note(trained.lines()[0])
    database.unlink(missing_ok=True)  # of an earlier demo, perhaps with another seed
    outputs = [f"duckdb:///{database}", f"parquet:///{parquet}"]
    found = detect(DetectOptions([str(live)], bundle, outputs, config, "direct", None, []), console)
    console.step("Compare with the truth, and write the report")
    figures = evaluate(database, labels)
    page = write_report(database, folder / "report.html", labels)
    story = read_story(database, labels)
    console.print("\n[bold]Flagged clusters[/bold]")
    for part in clusters_list(story, _MOST_CLUSTERS):
        console.print(part)
    console.print("\n[bold]The truth[/bold]")
    for part in truth_tables(story):
        console.print(part)
    summary = {
        "simulated": made.as_dict(),
        "trained": trained.as_dict(),
        "detected": found.as_dict(),
        "evaluated": json.loads(json.dumps(figures.as_dict(), default=str)),
        "report": str(page),
    }
    console.result(
        summary,
        ["", *found.lines()],
        wrote=[*outputs, str(page)],
        then=[
            f"open {page} in a browser",
            f"distilwatch evaluate --output duckdb:///{database} --labels {labels}",
            f"distilwatch explain --output duckdb:///{database}",
        ],
    )
