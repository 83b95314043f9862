"""The attacker's accounts and their requests, on a small population."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipelines.protocol.adaptive.crew import Crew, EitherPool, Member, OncePool
from pipelines.protocol.adaptive.method import START, Method
from pipelines.simulate.compose import Record, populate, simulate
from pipelines.simulate.grammar import GrammarSource, unpack
from pipelines.simulate.prompts import BroadPool
from pipelines.simulate.scenario import Scenario

SCENARIO = Scenario(3, days=5, history_days=2, accounts=40)
CAREFUL = replace(
    START, card=1, network="home", client="common", wording="free", topics=2, hours="person"
)


def crew(seed: int = 5) -> Crew:
    return Crew(SCENARIO, populate(SCENARIO), seed)


def played(made: Crew, method: Method, number: int = 6) -> tuple[list[Member], list[Record]]:
    used = made.staff(method, number, 1)
    return used, list(made.requests(method, used, 1))


def values(records: list[Record], name: str) -> set[Any]:
    return {r.event[name] for r in records if name in r.event}


def test_the_same_seed_gives_the_same_requests_and_another_one_others() -> None:
    (_, one), (_, again), (_, other) = (played(crew(s), START) for s in (5, 5, 6))
    assert [r.event for r in one] == [r.event for r in again]
    assert not values(one, "event_id") & values(other, "event_id")
    assert not values(one, "account_id") & values(other, "account_id")


def test_events_and_accounts_are_not_those_of_the_benign_population() -> None:
    benign = list(simulate(SCENARIO).records())
    _, mine = played(crew(), START)
    assert len(mine) > 500
    for name in ("event_id", "account_id", "payment_fingerprint"):
        assert not values(benign, name) & values(mine, name)
    assert min(r.time_ms for r in mine) >= SCENARIO.live_ms
    assert max(r.time_ms for r in mine) < SCENARIO.end_ms


def test_a_careless_crew_shares_everything_and_a_careful_one_nothing() -> None:
    _, loud = played(crew(), START)
    _, quiet = played(crew(), CAREFUL)
    assert len(values(loud, "payment_fingerprint")) == 1
    assert len(values(loud, "ip_prefix")) == 3
    assert len(values(loud, "client_fingerprint")) == 1
    assert len(values(quiet, "payment_fingerprint")) >= 5
    assert len(values(quiet, "ip_prefix")) >= 5
    bare = [r.event["prompt_text"] == r.question for r in loud if "prompt_text" in r.event]
    assert np.mean(bare) < 0.1
    assert all(r.event.get("prompt_text", r.question) == r.question for r in quiet)


def test_no_card_has_more_accounts_than_the_method_allows() -> None:
    made = crew()
    for method, number in ((START, 25), (replace(START, card=3), 25), (CAREFUL, 30), (START, 12)):
        used = made.staff(method, number, number)
        assert len(used) == number
        assert max(Counter(m.card for m in used).values()) <= method.card
        assert all(m.account.fields["payment_fingerprint"] == m.card for m in used)


def test_what_is_flagged_is_lost_with_its_card_and_only_that_is_bought_again() -> None:
    made = crew()
    used = made.staff(START, 15, 1)
    struck = used[0]
    gone = made.lose({struck.account.id})
    assert {m.card for m in gone} == {struck.card}
    assert len(gone) == sum(m.card == struck.card for m in used)
    left = {m.account.id for m in made.members}
    again = made.staff(START, 15, 2)
    assert left <= {m.account.id for m in again}
    assert struck.card not in {m.card for m in again}


def test_levers_do_what_they_say() -> None:
    _, plain = played(crew(), START)
    _, mixed = played(crew(), replace(START, cover=0.6))
    assert all(r.attack for r in plain)
    assert 0.2 < np.mean([r.attack for r in mixed]) < 0.6
    _, slow = played(crew(), replace(START, pace=15.0))
    assert len(slow) < 0.5 * len(plain)
    short = played(crew(), replace(START, answers=200.0))[1]
    tokens = [np.mean([r.event.get("output_tokens", 0) for r in x]) for x in (short, plain)]
    assert tokens[0] < 0.5 * tokens[1]
    assert values(played(crew(), replace(START, thinking=False))[1], "model").isdisjoint(
        values(plain, "model")
    )
    old = crew().staff(replace(START, aged=1.0), 20, 1)
    assert all(m.aged for m in old)
    days = [
        (SCENARIO.live_ms - int(str(m.account.fields["account_created_at"]))) / 864e5 for m in old
    ]
    assert np.median(days) > 20


@pytest.mark.parametrize("wanted", [0, 4])
def test_an_account_asks_about_as_many_topics_as_the_method_says(wanted: int) -> None:
    made = crew()
    pool = made._questions(replace(START, topics=wanted), 1)
    drawn = pool.draw(3_000, np.random.default_rng(1))
    found = len(np.unique(unpack(drawn, "topic")))
    assert found == (wanted or len(made.population.source.attack_topics))


def test_pools_ask_nothing_twice_while_they_can_and_mix_as_told() -> None:
    source, rng = GrammarSource(), np.random.default_rng(2)
    asked = [np.empty(0, np.int64)]
    pools = [OncePool(BroadPool(source, np.arange(5)), asked) for _ in range(3)]
    drawn = np.concatenate([pool.draw(200, rng) for pool in pools for _ in range(3)])
    assert len(np.unique(drawn)) == len(drawn) == len(asked[0])
    tiny = OncePool(Constant(), [np.empty(0, np.int64)])
    assert tiny.draw(4, rng).tolist() == [7, 7, 7, 7]  # it goes on when there is nothing new
    either = EitherPool(BroadPool(source, np.arange(5)), BroadPool(source, np.arange(5, 9)), 0.25)
    share = np.mean(unpack(either.draw(4_000, rng), "topic") >= 5)
    assert share == pytest.approx(0.25, abs=0.03)


class Constant:
    """A pool that knows one question."""

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        return np.full(count, 7, np.int64)

    def corpora(self) -> frozenset[str]:
        return frozenset()
