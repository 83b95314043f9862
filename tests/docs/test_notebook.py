"""The analyst's notebook answers its questions over the tables of a run."""

from __future__ import annotations

from pathlib import Path

import jupytext
import nbclient
import pytest

from tests.pipelines.conftest import SmallRun
from tests.pipelines.conftest import small_run as small_run  # the fixture

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_every_cell_of_the_notebook_answers(
    small_run: SmallRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILWATCH_TABLES", str(small_run.database))
    notebook = jupytext.read(ROOT / "notebooks" / "analyst.py")
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    plots = tables = 0
    for cell in notebook.cells:
        outputs = cell.get("outputs", [])
        if cell.cell_type == "code":
            asked = cell.source.rstrip().splitlines()[-1]
            shows = asked in ("plt.show()",) or asked.isidentifier() or asked.endswith("head(12)")
            assert bool(outputs) == shows, cell.source
        for output in outputs:
            plots += "image/png" in output.get("data", {})
            tables += "text/html" in output.get("data", {})
    assert plots >= 4
    assert tables >= 5
