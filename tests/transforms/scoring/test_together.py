"""Sessions scored together: the same rows, to the bit, as one by one."""

from __future__ import annotations

from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that

from schemas.tables import TABLES
from tests.support.events import random_events
from tests.support.sketches import PEERS, harvester, person, sketch_of, verified
from transforms.coverage.sketch import empty
from transforms.coverage.stack import SketchStack
from transforms.scoring.bundle import Bundle, load_bundle
from transforms.scoring.handler import score_items
from transforms.scoring.levels import rows_of_sketches, score_row
from transforms.scoring.rows import PeerGroups
from transforms.scoring.together import SESSION_LEVELS, ScoreSessions, session_scores
from transforms.sessions.identity import ACCOUNT, PAYMENT, SessionKey
from transforms.sessions.shards import Named
from transforms.sessions.transforms import Session, each_session


def some_sessions() -> Named:
    made = [
        sketch_of(person(f"p{i}", 9, 4 + i, peer=[*PEERS, "new|kind"][i % 3])) for i in range(9)
    ]
    made += [sketch_of(harvester(f"h{i}", 9)) for i in range(3)]
    made += [sketch_of(random_events(5, i, accounts=1)) for i in range(4)]
    names = [
        SessionKey((ACCOUNT, PAYMENT)[i % 2], s.first_ms // 21_600_000, f"ключ\x1f{i}").encode()
        for i, s in enumerate(made)
    ]
    return Named(names, SketchStack.of(made))


def one_by_one(sessions: Named, bundle: Bundle) -> list[dict[str, object]]:
    rows = []
    for kind, level in SESSION_LEVELS.items():
        own: list[Session] = [s for s in each_session(sessions) if s.kind == kind]
        for scored in score_items(own, bundle, level, rows_of_sketches, 0.0):
            s = scored.item
            rows.append(
                score_row(scored, s.sketch, s.session_id, level, s.kind, s.key, s.pane, "run")
            )
    return TABLES["session_scores"].to_arrow(rows).to_pylist()


def test_columns_say_what_rows_say(saved: Path) -> None:
    bundle, sessions = load_bundle(saved), some_sessions()
    table = session_scores(sessions, bundle, "run")
    assert table.schema.equals(TABLES["session_scores"].arrow(), check_metadata=True)
    table.validate(full=True)
    # repr, because a NaN does not equal itself
    assert repr(table.to_pylist()) == repr(one_by_one(sessions, bundle))


def test_a_level_that_the_bundle_lacks_says_nothing(saved: Path) -> None:
    bundle, sessions = load_bundle(saved), some_sessions()
    for level in SESSION_LEVELS.values():
        bundle.models.pop(level, None)
    table = session_scores(sessions, bundle, "run")
    assert set(table["p_value"].to_pylist()) == {1.0}
    assert all(not features for features in table["features"].to_pylist())
    assert repr(table.to_pylist()) == repr(one_by_one(sessions, bundle))


def test_in_a_pipeline_every_session_has_its_row(saved: Path) -> None:
    sessions = some_sessions()
    parts = [sessions.take(part) for part in np.array_split(np.arange(len(sessions.names)), 3)]
    expected = session_scores(sessions, load_bundle(saved), "run").to_pylist()

    def check(tables: list[object]) -> None:
        found = [row for table in tables for row in table.to_pylist()]  # type: ignore[attr-defined]
        assert sorted(map(repr, found)) == sorted(map(repr, expected))

    with TestPipeline() as pipeline:
        found = (
            pipeline | beam.Create(parts, reshuffle=False) | ScoreSessions(verified(saved), "run")
        )
        assert_that(found, check)


@pytest.mark.parametrize("seed", range(3))
def test_peer_groups_of_all_are_those_of_each(seed: int) -> None:
    peers = PeerGroups([*PEERS, "a|b"])
    rng = np.random.default_rng(seed)
    made = [
        sketch_of(person(f"p{i}", seed, 5, peer=str(rng.choice([*PEERS, "new|kind", ""]))))
        for i in range(12)
    ]
    made.insert(3, empty())
    assert peers.of_all(SketchStack.of(made)) == [peers.of(sketch) for sketch in made]
