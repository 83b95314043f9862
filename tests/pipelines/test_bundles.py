"""The bundle of a running stream changes when, and only when, the new one is sound."""

from __future__ import annotations

import errno
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipelines import cli
from pipelines.bundles import BundleKeeper, last_good
from schemas.errors import DistilwatchError
from tests.support.events import START_MS
from tests.support.sketches import harvester, person, sketch_of, small_bundle, verified
from tests.support.spans import recorded
from transforms.clusters.elements import AccountProfile
from transforms.coverage.layout import DAY_MS
from transforms.scoring.bundle import Bundle, save_bundle
from transforms.scoring.calibration import Calibration
from transforms.scoring.handler import ScoringHandler
from transforms.scoring.levels import rows_of_profiles
from transforms.scoring.live import Active, LiveBundle, note_failure
from transforms.scoring.recent import recent_items
from transforms.scoring.store import bundle_folder, point_to
from transforms.scoring.trial import TrialBounds

BOUNDS = TrialBounds(3.0, 0.03, 0.001, 0.05, 20, 0.5)
WEEK = START_MS, START_MS + 7 * DAY_MS


def mad(bundle: Bundle) -> Bundle:
    """The same models, calibrated on scores so low that everything is suspicious."""
    models = {
        level: replace(
            model,
            calibration=Calibration(
                {g: np.asarray(s) - 1e6 for g, s in model.calibration.scores.items()},
                model.calibration.enough,
            ),
        )
        for level, model in bundle.models.items()
    }
    return replace(bundle, models=models)


def blind(bundle: Bundle) -> Bundle:
    """The same, so high that nothing is."""
    models = {
        level: replace(
            model,
            calibration=Calibration(
                {g: np.asarray(s) + 1e6 for g, s in model.calibration.scores.items()},
                model.calibration.enough,
            ),
        )
        for level, model in bundle.models.items()
    }
    return replace(bundle, models=models)


def other_space(bundle: Bundle) -> Bundle:
    return replace(bundle, space=replace(bundle.space, codebook=bundle.space.codebook[::-1].copy()))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Bundles a (which counts) and b, trained on other accounts in the same space."""
    monkeypatch.setenv("DISTILWATCH_HOME", str(tmp_path / "home"))
    folder = tmp_path / "models"
    save_bundle(small_bundle(), folder / "a")
    save_bundle(small_bundle(1), folder / "b")
    point_to(folder, "a")
    return folder


class Stream:
    """A keeper and the workers' side, as in a run."""

    def __init__(self, store: Path, folder: Path) -> None:
        self.said: list[str] = []
        self.counts: dict[str, int] = {}
        self.keeper = BundleKeeper(
            store, folder, verified(bundle_folder(store)), BOUNDS, 100, self.said.append, self._note
        )
        self.live: LiveBundle = self.keeper.live()
        self.handler = ScoringHandler(self.live, "profile", rows_of_profiles)
        self.model = self.handler.load_model()

    def _note(self, counts: Mapping[str, int]) -> None:
        self.counts = dict(counts)

    def score(self, accounts: int = 40) -> str:
        """Scores accounts, and returns the version of the bundle that did."""
        made = [person(f"t{i}", 9, 12 + i) for i in range(accounts)] + [harvester("h", 9)]
        items = [AccountProfile(str(e.account[0]), *WEEK, sketch_of(e)) for e in made]
        versions = {s.bundle_version for s in self.handler.run_inference(items, self.model)}
        assert len(versions) == 1
        return versions.pop()

    def until_kept(self) -> None:
        """Waits until what was scored is on the disk, for a trial."""
        self.until(lambda: len(recent_items(Path(self.live.recent), "profile", 100)) >= 20)

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, self.said
            time.sleep(0.1)

    def until_scored_by(self, version: str) -> None:
        self.until(lambda: self.score(3) == version)


@pytest.fixture
def stream(store: Path, tmp_path: Path) -> Stream:
    stream = Stream(store, tmp_path / "spool" / "bundles")
    stream.score()
    stream.until_kept()
    return stream


def version(folder: Path) -> str:
    return str(json.loads((folder / "manifest.json").read_bytes())["bundle_version"])


def test_a_sound_bundle_takes_over_and_stamps_what_it_scores(stream: Stream, store: Path) -> None:
    stream.keeper.look()
    assert stream.said == []
    point_to(store, "b")
    with recorded() as told:
        stream.keeper.look()
        stream.keeper.look()
    assert told == [("try a bundle", {"instead_of": version(store / "a")}, "")]  # once
    assert stream.counts == {"bundle_swapped": 1}
    assert stream.keeper.version == version(store / "b")
    stream.until_scored_by(version(store / "b"))
    point_to(store, "a")
    stream.keeper.look()
    stream.until_scored_by(version(store / "a"))


def test_scoring_goes_on_while_a_bundle_is_loaded(
    stream: Stream, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    from transforms.scoring import live

    gate, real = threading.Event(), live.load_signed

    def slow(*arguments: object) -> Bundle:
        gate.wait(60)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(live, "load_signed", slow)
    point_to(store, "b")
    stream.keeper.look()
    time.sleep(0.6)  # workers look again after half a second
    for _ in range(3):
        assert stream.score(3) == version(store / "a")
    gate.set()
    stream.until_scored_by(version(store / "b"))


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        (mad, "alert_rate", "alerts too much or too little: profile"),
        (blind, "alert_rate", "alerts too much or too little: profile"),
        (other_space, "space", "--space-of"),
    ],
)
def test_an_unsound_bundle_is_refused_once_and_the_present_one_goes_on(
    stream: Stream, store: Path, change: Callable[[Bundle], Bundle], reason: str, words: str
) -> None:
    if change is blind:  # only where something is suspicious can nothing be too little
        stream.keeper.bounds = replace(BOUNDS, trial_p=0.5)
    save_bundle(change(small_bundle()), store / "bad")
    point_to(store, "bad")
    stream.keeper.look()
    stream.keeper.look()
    assert stream.counts == {"bundle_refused": 1, f"bundle_refused_{reason}": 1}
    assert len(stream.said) == 1
    assert words in stream.said[0]
    assert stream.score() == version(store / "a")
    # One that is sound is taken after it.
    point_to(store, "b")
    stream.keeper.look()
    stream.until_scored_by(version(store / "b"))


def test_what_alerts_on_everything_is_refused_even_where_the_present_bundle_does(
    stream: Stream, store: Path, tmp_path: Path
) -> None:
    save_bundle(mad(small_bundle()), store / "mad")
    save_bundle(mad(small_bundle(1)), store / "madder")
    (store / "current").write_text("mad")
    bad = Stream(store, tmp_path / "other" / "bundles")
    bad.keeper.bounds = bounds = replace(BOUNDS, alert_p=0.05)
    bad.score()
    bad.until_kept()
    point_to(store, "madder")
    bad.keeper.look()
    assert bad.counts == {"bundle_refused": 1, "bundle_refused_alert_rate": 1}
    assert "profile, p <= 0.05: 100.0% of 41 items, before 100.0%, at most 50.0%" in bad.said[0]
    assert bad.keeper.version == version(store / "mad")
    # It is this bound alone that keeps it out.
    (store / "current").write_text("mad")
    again = Stream(store, tmp_path / "again" / "bundles")
    again.keeper.bounds = replace(bounds, max_alert_rate=1.0)
    shutil.copytree(bad.live.recent, again.live.recent)
    point_to(store, "madder")
    again.keeper.look()
    assert again.counts == {"bundle_swapped": 1}


def test_a_bundle_that_nobody_trusted_has_signed_is_refused(stream: Stream, store: Path) -> None:
    shutil.copytree(store / "b", store / "forged")
    manifest = (store / "forged" / "manifest.json").read_bytes()
    (store / "forged" / "manifest.sig").write_bytes(Ed25519PrivateKey.generate().sign(manifest))
    with pytest.raises(DistilwatchError, match="not signed"):
        point_to(store, "forged")
    (store / "current").write_text("forged")  # by hand
    stream.keeper.look()
    assert stream.counts == {"bundle_refused": 1, "bundle_refused_signature": 1}
    # Whoever can write to the spool cannot make workers take it, either.
    active = stream.keeper.path
    data = json.loads(active.read_text()) | {"folder": str(store / "forged"), "version": "x"}
    active.write_text(json.dumps(data))
    mark = active.parent / f"failed-{data['manifest_sha256'][:16]}"
    stream.until(lambda: stream.score(3) == version(store / "a") and mark.exists())
    assert "not signed" in mark.read_text()


def test_what_workers_say_of_a_bundle_is_there_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def half(path: Path, text: str, **_: object) -> None:
        path.write_bytes(text.encode()[:3])
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(Path, "write_text", half)
    note_failure(Active("folder", "0" * 64, "x"), tmp_path / "active.json", RuntimeError())
    assert list(tmp_path.iterdir()) == []
    assert "cannot be noted: No space left" in caplog.text


def test_a_changed_file_is_refused_until_it_is_mended(stream: Stream, store: Path) -> None:
    point_to(store, "b")
    spoilt = store / "b" / "profile.npz"
    whole = spoilt.read_bytes()
    spoilt.write_bytes(whole[:-1] + b"x")
    stream.keeper.look()
    assert stream.counts["bundle_refused_unfit"] == 1
    spoilt.write_bytes(whole)
    stream.keeper.look()
    assert stream.counts["bundle_swapped"] == 1


def test_a_pointer_to_nothing_is_told_once(stream: Stream, store: Path) -> None:
    for name in ("nothing", "../../etc", ""):
        (store / "current").write_text(name)
        stream.keeper.look()
    assert len(stream.said) == 3
    stream.keeper.look()
    assert len(stream.said) == 3
    assert stream.score() == version(store / "a")


def test_without_items_a_bundle_waits(store: Path, tmp_path: Path) -> None:
    stream = Stream(store, tmp_path / "spool" / "bundles")
    point_to(store, "b")
    stream.keeper.look()
    assert "waits for 20 items" in stream.said[0]
    assert stream.counts == {}
    stream.score()
    stream.until_kept()
    stream.keeper.look()
    assert stream.counts == {"bundle_swapped": 1}
    # What it was not tried on is told: there were accounts alone.
    assert "not tried on cluster, session_account, session_payment: fewer" in stream.said[-1]


def test_a_bundle_that_fails_at_work_is_taken_back(
    stream: Stream, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transforms.scoring import handler

    point_to(store, "b")
    stream.keeper.look()
    stream.until_scored_by(version(store / "b"))
    real, failing = handler.score_items, version(store / "b")

    def fails(batch: object, bundle: Bundle, *rest: object) -> object:
        if bundle.version == failing:
            raise FloatingPointError("acct-1 has a secret")
        return real(batch, bundle, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(handler, "score_items", fails)
    assert stream.score(3) == version(store / "a")  # no item is lost
    stream.keeper.look()
    assert stream.counts == {"bundle_swapped": 1, "bundle_rolled_back": 1}
    assert "FloatingPointError" in stream.said[-1]
    assert "secret" not in stream.said[-1]
    stream.keeper.look()  # and is not tried again, though the pointer still names it
    assert stream.counts["bundle_swapped"] == 1
    assert stream.score(3) == version(store / "a")
    assert stream.keeper.version == version(store / "a")


def test_a_restart_goes_on_with_the_last_good_bundle(stream: Stream, store: Path) -> None:
    point_to(store, "b")
    stream.keeper.look()
    save_bundle(mad(small_bundle()), store / "bad")
    point_to(store, "bad")
    stream.keeper.look()
    folder = stream.keeper.folder
    again = last_good(verified(bundle_folder(store)), folder)
    assert again.load().version == version(store / "b")
    shutil.rmtree(store / "b")
    first = verified(bundle_folder(store))
    assert last_good(first, folder) == first


def test_the_command_lists_and_chooses(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["bundle", "use", str(store), "b", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bundle_version"] == version(store / "b")
    (store / "a" / "stray").write_text("x")
    assert cli.run(["bundle", "list", str(store)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("  a  bundle refused: stray does not belong")
    assert out[1] == f"* b  {version(store / 'b')}"
    assert cli.run(["bundle", "use", str(store), "c"]) == 2
    assert "bundles here: a, b" in capsys.readouterr().err
