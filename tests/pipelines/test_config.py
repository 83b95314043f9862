from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.config import Config, describe, load_config
from pipelines.durations import format_duration, parse_duration
from schemas.errors import DistilwatchError

FIVE_MISTAKES = """\
sesions:
  gap: 3
sessions:
  gap: 30 minits
  slice: 7 min
ingest:
  batch_records: "many"
scoring:
  detectors:
    - {name: KNNN}
  calibration_share: 1.5
"""


def _refusal(path: Path | None, overrides: dict[str, Any] | None = None) -> str:
    with pytest.raises(DistilwatchError) as refused:
        load_config(path, overrides)
    return str(refused.value)


def test_all_mistakes_are_reported_at_once_with_path_line_and_mend(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(FIVE_MISTAKES)
    text = _refusal(file)
    assert "6 mistakes" in text
    assert "sesions [line 1]: is not a setting (did you mean sessions?)" in text
    assert "sessions.gap [line 4]: has an unknown unit of time 'minits' (write it like" in text
    assert "sessions.max_length [line 3]: is no multiple of sessions.slice" in text
    assert "ingest.batch_records [line 7]: must be a whole number, not 'many'" in text
    assert "scoring.detectors[0].name [line 10]: PyOD has no detector 'KNNN' (did you" in text
    assert "scoring.calibration_share [line 11]: is out of range: 1.5 (above 0 and below 1)" in text


@pytest.mark.parametrize(
    ("overrides", "path", "what"),
    [
        ({"sessions.gap": "2 min"}, "sessions.slice", "longer than the gap"),
        ({"sessions.max_length": "7 h 1 min"}, "sessions.max_length", "no multiple"),
        ({"sessions.max_length": "5 h"}, "profiles.window", "28 d of sessions of at most 5 h"),
        ({"sessions.max_length": "20 min"}, "sessions.max_length", "shorter than the gap"),
        ({"sessions.gap": True}, "sessions.gap", "not a length of time"),
        ({"sessions.gap": -5}, "sessions.gap", "cannot be -5"),
        ({"sessions.early_firing": "10 ms"}, "sessions.early_firing", "out of range: 10 ms"),
        ({"embedding.dim": 100}, "embedding.dim", "makes vectors of 384"),
        ({"embedding.kind": "hashed"}, "embedding.kind", "cannot be 'hashed'"),
        ({"ingest.min_event_time": "soon"}, "ingest.min_event_time", "not a date"),
        ({"ingest": None}, "ingest", "must be a section, not nothing"),
        ({"run.parallelism": 1.5}, "run.parallelism", "whole number"),
        (
            {"alerts.severity.high_exposure_usd": 1e6},
            "alerts.severity.critical_exposure_usd",
            "below",
        ),
        ({"scoring.detectors": []}, "scoring.detectors", "0 items"),
        ({"scoring.detectors": [{"params": {}}]}, "scoring.detectors[0].name", "missing"),
        ({"gap": "3 min"}, "gap", "belongs to sessions.gap"),
        ({"clusters.links.paymnt.weight": 1}, "clusters.links.paymnt", "did you mean payment"),
    ],
)
def test_each_kind_of_mistake(overrides: dict[str, Any], path: str, what: str) -> None:
    text = _refusal(None, overrides)
    assert "1 mistake:" in text
    line = next(line for line in text.splitlines() if line.strip().startswith(f"{path}:"))
    assert what in line


def test_a_mistake_does_not_hide_those_between_settings() -> None:
    text = _refusal(
        None, {"sessions.gapp": 1, "sessions.slice": "40 min", "sessions.max_length": "4 h"}
    )
    assert "2 mistakes" in text
    assert "did you mean gap?" in text
    assert "sessions.slice: is longer than the gap" in text


def test_settings_given_twice_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "twice.yaml"
    file.write_text("run:\n  parallelism: 2\n  parallelism: 4\n")
    assert "run.parallelism [line 3]: is given twice, first on line 2" in _refusal(file)


def test_yaml_errors_name_the_line(tmp_path: Path) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text("sessions:\n  gap: 3 min\n slice: [\n")
    text = _refusal(file)
    assert "not YAML" in text
    assert "line 3" in text


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"- 1\n- 2\n", b"just words"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "other.yaml"
    file.write_bytes(content)
    assert "the configuration" in _refusal(file)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "cannot be read" in _refusal(tmp_path / "none.yaml")


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "empty.yaml"
    file.write_text("")
    assert load_config(file) == Config()


def test_what_is_shown_can_be_read_back_and_explains_every_setting() -> None:
    config = load_config(None, {"sessions.gap": 1800, "clusters.links.payment.weight": 0.25})
    text = describe(config)
    assert load_config(None, yaml.safe_load(text)) == config
    settings = [line for line in text.splitlines() if line.strip() and "#" not in line]
    assert len(settings) > 50
    assert "None" not in text


def test_values_in_milliseconds_and_partial_links() -> None:
    config = load_config(None, {"sessions.gap": "1 h", "clusters.links.payment.weight": 0.25})
    assert config.sessions.gap_ms == 3_600_000
    assert config.profiles.window_ms == 28 * 86_400_000
    assert config.ingest.min_event_time_ms == 1_420_070_400_000
    assert config.clusters.links.payment.weight == 0.25
    assert config.clusters.links.payment.max_popularity == 1_000_000


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("30 min", 1_800_000),
        ("6h", 21_600_000),
        ("1 h 30 min", 5_400_000),
        ("1.5 hours", 5_400_000),
        ("28 d", 2_419_200_000),
        ("250 ms", 250),
        ("90", 90_000),
        (60, 60_000),
        (0.5, 500),
    ],
)
def test_durations(text: str | float, ms: int) -> None:
    assert parse_duration(text) == ms
    assert parse_duration(format_duration(ms)) == ms


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("triage: {public_url: 'https://[x'}", "public_url [line 1]: is no address that cookies"),
        ("triage: {public_url: 'http://a.b'}", "public_url [line 1]: is no address that cookies"),
        ("alerts: {case_url: 'https://x/{cluster}'}", "case_url [line 1]: names something"),
        ("alerts: {case_url: 'https://x/{cluster_id.x}'}", "case_url [line 1]: names something"),
        ("alerts: {case_url: 'https://x/{cluster_id[x]}'}", "case_url [line 1]: names something"),
    ],
)
def test_addresses_that_are_none_are_mistakes(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    assert said in _refusal(file)


@pytest.mark.parametrize("text", ["", "fast", "3 parsecs", "-3 min", "1 h and 2", float("nan"), []])
def test_durations_refuse(text: object) -> None:
    with pytest.raises(ValueError, match=r"time|empty|cannot"):
        parse_duration(text)


def test_a_repeat_is_known_for_as_long_as_an_event_is_not_late() -> None:
    hour = 3_600_000
    long = load_config(None, {"ingest.allowed_lateness": "6 h"})
    assert long.ingest.dedupe_horizon_ms == 6 * hour
    assert load_config(None, {"ingest.dedupe_horizon": "8 h"}).ingest.dedupe_horizon_ms == 8 * hour
