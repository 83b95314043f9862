"""`distilwatch evaluate --protocol` on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines import cli
from pipelines.protocol.figures import CellResult
from pipelines.protocol.power import BENIGN, WindowRow
from pipelines.protocol.scorers import OURS


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--protocol"], "--protocol needs --corpus and --out"),
        (["--protocol", "--corpus", "x", "--out", "y", "--labels", "z"], "--labels cannot be used"),
        (["--labels", "z"], "needs --output"),
        (["--output", "duckdb:///x", "--labels", "z", "--out", "y"], "without --protocol"),
        (["--protocol", "--corpus", "nowhere", "--out", "y"], "folder does not exist (--corpus"),
    ],
)
def test_mistakes_are_told(
    args: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(["evaluate", *args]) == 2
    assert words in " ".join(capsys.readouterr().err.split())


def test_the_command_writes_table_page_and_charts(
    tmp_path: Path, corpora: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def windows(*_: object) -> list[WindowRow]:
        def row(attack: str, mixture: float, flagged: float) -> WindowRow:
            return WindowRow("report", "ben", attack, 1500, mixture, 1, OURS, 0.001, flagged, 9)

        return [row(BENIGN, 0.0, 0.0), row("atk", 0.05, 0.9), row("atk", 0.1, 1.0)]

    def no_cells(*_: object) -> list[CellResult]:
        return []

    monkeypatch.setattr("pipelines.protocol.run.run_windows", windows)
    monkeypatch.setattr("pipelines.protocol.run.run_cells", no_cells)
    out = tmp_path / "results"
    assert cli.run(["evaluate", "--protocol", "--corpus", str(corpora), "--out", str(out)]) == 0
    assert {p.name for p in out.iterdir()} == {"protocol.csv", "protocol.md", "power-1500.svg"}
    assert "0.00 % of 9 benign windows" in " ".join(capsys.readouterr().out.split())
    assert "atk in ben" in (out / "protocol.md").read_text()
    header, first, *_ = (out / "protocol.csv").read_text().splitlines()
    assert header.startswith("protocol,group,cell,system,measure,value")
    assert first.startswith("windows,report: ben,")
