"""A case as a file: HTML that needs nothing else, and PDF, which a browser prints from it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from pipelines.triage.case import Case, Cases
from pipelines.triage.house import House
from pipelines.triage.pages import case_file
from pipelines.triage.queue import Queue
from pipelines.triage.store import Store
from schemas.errors import DistilwatchError

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_PATIENCE_S = 120.0
# No sandbox is to be had for root and in many containers; the page is ours and has no scripts.
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-pdf-header-footer",
)


def find_case(store: Store, name: str, house: House | None = None, public_url: str = "") -> Case:
    """The case with an id, or with an id that begins so.

    Args:
      store: to look into.
      name: of the cluster, or how it begins.
      house: what it has decided beforehand; None for the usual.
      public_url: of the pages, whose runbook a case brings along; "" where they have none.

    Raises:
      DistilwatchError: when none or several do.
    """
    house = house or House()
    queue = Queue(store, 0, house.quiet)
    queue.refresh()
    found = queue.find(name)
    if len(found) != 1:
        few = ", ".join(found) if found else "`distilwatch explain` lists those that are flagged"
        raise DistilwatchError(
            f"{len(found) or 'no'} clusters begin with {name}", store.name,
            f"give more letters: {few}" if found else few,
        )  # fmt: skip
    case = Cases(store, queue, house, public_url).get(found[0])
    assert case is not None  # it was found in the same tables
    return case


def write_case(case: Case, source: str, html: Path | None, pdf: Path | None) -> list[Path]:
    """Writes a case.

    Args:
      case: to tell.
      source: name of the tables.
      html, pdf: files; None leaves it out.

    Returns:
      What was written.

    Raises:
      DistilwatchError: when a file cannot be written, or no browser prints the PDF.
    """
    text = case_file(case, source)
    written = []
    if html is not None:
        _write(html, text)
        written.append(html)
    if pdf is not None:
        with tempfile.TemporaryDirectory(prefix="distilwatch-") as folder:
            page = Path(folder, "case.html")
            page.write_text(text, encoding="utf-8")
            _print(page, pdf.absolute(), Path(folder, "browser"))
        written.append(pdf)
    return written


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DistilwatchError(
            f"the case cannot be written ({error.strerror})", str(path), "choose another place"
        ) from error


def _print(page: Path, pdf: Path, profile: Path) -> None:
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise DistilwatchError(
            "no browser is here to print the PDF",
            "PATH",
            f"install one of {', '.join(BROWSERS[:3])}, or open the HTML file and print it",
        )
    pdf.unlink(missing_ok=True)
    command = [browser, *_FLAGS, f"--user-data-dir={profile}", f"--print-to-pdf={pdf}"]
    try:
        done = subprocess.run(
            [*command, page.as_uri()], capture_output=True, check=False, timeout=_PATIENCE_S
        )
        said = done.stderr.decode(errors="replace").strip().splitlines()
    except subprocess.TimeoutExpired:
        said = [f"it was not done after {_PATIENCE_S:.0f} s"]
    if not pdf.is_file() or not pdf.stat().st_size:
        raise DistilwatchError(
            f"the browser printed no PDF: {said[-1] if said else 'it did not say why'}",
            browser,
            "open the HTML file and print it by hand",
        )
