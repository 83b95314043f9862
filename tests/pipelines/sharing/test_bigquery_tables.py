"""Labs whose tables are in BigQuery tell others, and hear of them, as those with a file do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner
from google.cloud import bigquery as api

from infra.local.bigquery_emulator import BigQueryEmulator
from pipelines.commands.share import share as command
from pipelines.matching import accounts_of
from pipelines.sharing import inbound, outbound, saying, signoff
from pipelines.sharing.store import ShareStore
from pipelines.sharing.tables import tables_at
from pipelines.watching import received, try_indicators
from schemas.errors import DistilwatchError
from tests.support.bigquery import Dataset, new_dataset
from tests.support.sharing import CLUSTER, NOW_MS, Lab, add_cluster, make_lab
from tests.support.taxii import OPEN
from tests.support.views import ROWS
from transforms.alerts.dispositions import decide
from transforms.sharing.indicators import Kind, Sighting, sighting_id

pytestmark = pytest.mark.bigquery
_PAYMENT = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def section(collections: str) -> dict[str, str]:
    return {
        "url": f"{collections}/{OPEN}/", "user_env": "FORUM_USER",
        "password_env": "FORUM_PASSWORD",
    }  # fmt: skip


@pytest.fixture
def dataset(bigquery: BigQueryEmulator) -> Dataset:
    return new_dataset(bigquery)


@pytest.fixture
def lab(dataset: Dataset, section: dict[str, str], tmp_path: Path) -> Lab:
    return make_lab("lab-a", tmp_path / "a", section, dataset=dataset.uri)


def share(lab: Lab, *arguments: str, policy: bool = True) -> dict[str, Any]:
    where = ["--store", str(lab.folder / "store")]
    where += ["--policy", str(lab.folder / "sharing.yaml")] if policy else []
    done = CliRunner().invoke(command, [*arguments, *where, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_campaign_leaves_bigquery_and_comes_into_bigquery(
    lab: Lab, section: dict[str, str], bigquery: BigQueryEmulator, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The same commands over a file and over a dataset: the same may leave, and it arrives."""
    monkeypatch.setattr(ShareStore, "now_ms", lambda _: NOW_MS)
    file = make_lab("lab-a", tmp_path / "file", None)
    b = make_lab("lab-b", tmp_path / "b", section, [lab], new_dataset(bigquery).uri)
    told = []
    for one in (file, lab):
        accounts = add_cluster(one)
        made = share(one, "propose", CLUSTER[:6], "--to", "forum", "--output", one.output,
                     "--by", "ana")  # fmt: skip
        told.append([(c["kind"], c["leaves"], c["why"]) for c in made["candidates"]])
    assert told[0] == told[1]
    [draw] = [entry for entry in lab.store.log.entries() if entry["action"] == "draw"]
    assert draw["accounts"] == lab.store.account_tags(accounts)

    share(lab, "approve", made["proposal"], "--sha256", made["sha256"][:12], "--by", "ben")
    assert share(lab, "publish", made["proposal"], "--by", "ben")["state"] == "sent"
    got = share(b, "poll", "--from", "forum", "--output", b.output)
    assert share(b, "poll", "--from", "forum", "--output", b.output, "--again")["changed"] == []
    ours = lab.shared.indicators("shared")
    assert {one.kind for one in ours} == {Kind.PREFIX_SCAFFOLD, Kind.BEHAVIOUR, Kind.COVERAGE}
    assert sorted(got["changed"]) == [one.indicator_id for one in ours]
    there = b.shared.indicators("received")
    assert [one.payload for one in there] == [one.payload for one in ours]
    assert [vars_of(one) for one in received(b.output)] == [vars_of(one) for one in there]
    listed = share(b, "list", "--output", b.output, policy=False)["received"]
    assert [one["indicator_id"] for one in listed] == [one.indicator_id for one in there]
    event = tmp_path / "misp.json"
    done = CliRunner().invoke(
        command,
        ["misp", "--output", b.output, "--direction", "received", "--file", str(event)],
        catch_exceptions=False,
    )
    assert done.exit_code == 0
    assert orjson.loads(event.read_bytes())

    assert share(lab, "revoke", CLUSTER, "--why", "ours", "--by", "ana")["sent"] == ["sent"]
    share(b, "poll", "--from", "forum", "--output", b.output)
    assert all(one.revoked for one in b.shared.indicators("received"))
    assert all(one.revoked for one in lab.shared.indicators("shared"))


def vars_of(one: Any) -> tuple[Any, ...]:
    return one.indicator_id, one.kind, one.payload, one.valid_from_ms, one.source


def test_what_was_seen_and_thought_is_told_from_bigquery(
    lab: Lab, section: dict[str, str], bigquery: BigQueryEmulator, tmp_path: Path
) -> None:
    add_cluster(lab)
    made = outbound.propose(lab.policy, lab.store, lab.output, CLUSTER, "forum", "ana").proposal
    assert made is not None
    signoff.approve(lab.policy, lab.store, made.name, made.digest, "ben")
    bundle = tmp_path / "handed-over.json"
    signoff.publish(lab.policy, lab.store, made.name, "ben", bundle)
    b = make_lab("lab-b", tmp_path / "b", section, [lab], new_dataset(bigquery).uri)
    inbound.poll(b.policy, b.store, "forum", b.output, file=bundle)
    [one] = [i for i in b.shared.indicators("received") if i.kind is Kind.PREFIX_SCAFFOLD]
    with pytest.raises(DistilwatchError, match="was seen here"):
        saying.propose_sightings(b.policy, b.store, b.output, "forum", "bea")
    seen = [
        Sighting(sighting_id(one.indicator_id, a, "c-1"), one.indicator_id, a, "c-1",
                 NOW_MS - 5_000, NOW_MS - 1, 17)
        for a in ("acct-secret-1", "acct-secret-2", "acct-secret-3")
    ]  # fmt: skip
    b.put({"sightings": [s.to_row() for s in seen]})
    assert not b.shared.has_accounts()
    session = ROWS["session_scores"][0] | {"key_kind": "account", "key": "Auth0|5F"}
    b.put({"session_scores": [session]})
    assert b.shared.account_names(["auth0|5f", "other"]) == ["Auth0|5F"]
    for said in (
        saying.propose_sightings(b.policy, b.store, b.output, "forum", "bea"),
        saying.propose_opinion(
            b.policy, b.store, b.output, one.indicator_id[:20], "forum", "agree", "too", "bea"
        ),
    ):
        data = b.store.read(said.digest)
        assert one.indicator_id.encode() in data
        assert b"acct-secret" not in data


def test_what_names_somebody_is_stopped_by_what_the_dataset_knows(lab: Lab) -> None:
    add_cluster(lab)
    tables = lab.shared
    assert tables.payment_names([_PAYMENT]) == []
    session = ROWS["session_scores"][0] | {"key_kind": "payment", "key": _PAYMENT}
    lab.put({"session_scores": [session]})
    assert tables.payment_names([_PAYMENT, "f" * 32]) == [_PAYMENT]


def test_only_what_was_confirmed_in_bigquery_leaves(lab: Lab) -> None:
    names = add_cluster(lab, confirm=False)

    def propose() -> outbound.Proposed:
        return outbound.propose(lab.policy, lab.store, lab.output, CLUSTER, "forum", "ana")

    with pytest.raises(DistilwatchError, match=r"nobody has confirmed .* \(bigquery://test-proj"):
        propose()
    for number, verdict in enumerate(("confirm", "split")):
        lab.shared.decided.decisions.append(
            decide(
                {"cluster_id": CLUSTER}, names, verdict, by="a", why="b", at_ms=NOW_MS + number,
                split_accounts=names[:1] if verdict == "split" else (),
            )
        )  # fmt: skip
    with pytest.raises(DistilwatchError, match="taken out"):
        propose()
    assert lab.store.proposals() == []


def test_accounts_are_sealed_from_clusters_in_bigquery(lab: Lab) -> None:
    add_cluster(lab, accounts=5, confirm=False)
    now = add_cluster(lab, accounts=3, revision=901, confirm=False)
    with pytest.raises(DistilwatchError, match="nobody has confirmed"):
        accounts_of(lab.output, [CLUSTER], None)
    assert accounts_of(lab.output, [CLUSTER], None, suspects=True) == frozenset(now)
    lab.shared.decided.decisions.append(
        decide({"cluster_id": CLUSTER}, now, "confirm", by="ana", why="seen", at_ms=NOW_MS)
    )
    assert accounts_of(lab.output, [CLUSTER], None) == frozenset(now)
    with pytest.raises(DistilwatchError, match="0 clusters begin with 'c-none'"):
        accounts_of(lab.output, ["c-none"], None)


def test_an_older_or_another_dataset(
    dataset: Dataset, lab: Lab, bigquery: BigQueryEmulator
) -> None:
    for name in ("indicators", "sightings", "cluster_evidence"):
        dataset.client.delete_table(f"{dataset.name}.{name}")
    tables = lab.shared
    assert (tables.indicators("received"), tables.sightings()) == ([], [])
    assert tables.evidence("c-1") is None
    with pytest.raises(DistilwatchError, match="the tables cannot be read"):
        tables_at(new_dataset(bigquery).uri)


def test_days_go_on_expiring_as_the_run_has_said(dataset: Dataset, lab: Lab) -> None:
    """A command that writes a little does not know the settings of the run."""
    day = 86_400_000
    add_cluster(lab)
    for name in ("indicators", "dead_letters"):
        table = dataset.client.get_table(f"{dataset.name}.{name}")
        table.time_partitioning = api.TimePartitioning(
            field=table.time_partitioning.field, expiration_ms=90 * day
        )
        dataset.client.update_table(table, ["time_partitioning"])
    made = outbound.propose(lab.policy, lab.store, lab.output, CLUSTER, "forum", "ana").proposal
    assert made is not None
    signoff.approve(lab.policy, lab.store, made.name, made.digest, "ben")
    signoff.publish(lab.policy, lab.store, made.name, "ben", lab.folder / "out.json")
    assert lab.shared.indicators("shared")
    for name in ("indicators", "dead_letters"):
        kept = dataset.client.get_table(f"{dataset.name}.{name}").time_partitioning
        assert kept.expiration_ms == 90 * day


def test_what_was_sent_is_written_by_the_next_try_where_bigquery_was_away(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_cluster(lab)
    made = outbound.propose(lab.policy, lab.store, lab.output, CLUSTER, "forum", "ana").proposal
    assert made is not None
    signoff.approve(lab.policy, lab.store, made.name, made.digest, "ben")
    file = lab.folder / "out.json"

    def away(*_: Any) -> None:
        raise DistilwatchError("rows cannot be written: BigQuery does not answer")

    with monkeypatch.context() as patch:
        patch.setattr("pipelines.sharing.tables_bigquery.BigQueryShared.write", away)
        with pytest.raises(DistilwatchError, match="does not answer"):
            signoff.publish(lab.policy, lab.store, made.name, "ben", file)
    assert lab.store.proposal(made.name).state == "sending"
    assert lab.shared.indicators("shared") == []
    assert signoff.publish(lab.policy, lab.store, made.name, "ben", file).state == "sent"
    assert len(lab.shared.indicators("shared")) == 3


def test_a_dry_run_needs_a_file_of_its_own(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DistilwatchError, match=r"give duckdb:///try.duckdb"):
        try_indicators(tmp_path, [], tmp_path, dataset.uri, None, None)  # type: ignore[arg-type]
