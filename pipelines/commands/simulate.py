"""distilwatch simulate"""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.commands import options

_FOLDER = click.Path(path_type=Path)


@click.command(short_help="Make labelled traffic to try things on.")
@click.option(
    "--out",
    required=True,
    metavar="URI",
    help="Where events go: a .jsonl or .jsonl.gz file, or kafka://host:port/topic.",
)
@click.option(
    "--history",
    metavar="URI",
    help="Write the benign days before the campaigns here, to train on, and only the days after "
    "them to --out.",
)
@click.option(
    "--labels",
    type=_FOLDER,
    metavar="FILE",
    help="Write the truth here, a line for each account.",
)
@click.option(
    "--corpus",
    type=_FOLDER,
    metavar="DIR",
    help="Take prompts from the *.jsonl and *.jsonl.gz files of a folder (objects with `text`); "
    "names that begin with atk_ or seed_ feed attackers. Invented prompts without.",
)
@click.option(
    "--traces",
    type=_FOLDER,
    metavar="DIR",
    help="Take timing and lengths from real traces (Azure, Mooncake, ServeGen) in a folder.",
)
@click.option(
    "--attack",
    "attacks",
    multiple=True,
    metavar="NAME[:SETTING,…]",
    help="A campaign, such as hydra-disjoint:m=40,rate=46,links=0.5. Repeat for several; by "
    "default one or more of every kind.",
)
@click.option("--benign-only", is_flag=True, help="No campaigns.")
@click.option("--accounts", type=click.IntRange(0), metavar="N", help="Benign accounts.")
@click.option(
    "--events", type=click.IntRange(0), metavar="N", help="About how many events; 0: as they come."
)
@click.option("--days", type=click.IntRange(1, 3660), metavar="N", help="Days in all.")
@click.option(
    "--history-days", type=click.IntRange(0), metavar="N", help="Benign days at the beginning."
)
@click.option("--start", metavar="TIME", help="First moment, such as 2026-06-01 (UTC).")
@click.option("--seed", type=click.IntRange(0), metavar="N", help="The same seed, the same events.")
@click.option(
    "--part",
    type=click.Choice(["all", "fit", "choose", "report"]),
    default="all",
    show_default=True,
    help="Which corpora: the three parts never share one.",
)
@click.option("--only", multiple=True, metavar="PATTERN", help="Only corpora of these names.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="No corpora of these names.")
@click.option(
    "--source-swap", is_flag=True, help="Attackers ask what benign people ask, only more broadly."
)
@click.option(
    "--contaminate",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    metavar="SHARE",
    help="Share of the attacking accounts that attack in the history already.",
)
@click.option(
    "--mutate",
    type=click.FloatRange(0, 0.5),
    default=0.0,
    show_default=True,
    metavar="SHARE",
    help="Spoil this share of the records, and send as many twice.",
)
@click.option(
    "--embedding",
    type=click.Choice(["none", "hashing"]),
    default="none",
    show_default=True,
    help="Send vectors of the built-in embedder along with the text.",
)
@options.as_json
def simulate(
    out: str,
    history: str | None,
    labels: Path | None,
    corpus: Path | None,
    traces: Path | None,
    attacks: tuple[str, ...],
    benign_only: bool,
    accounts: int | None,
    events: int | None,
    days: int | None,
    history_days: int | None,
    start: str | None,
    seed: int | None,
    part: str,
    only: tuple[str, ...],
    exclude: tuple[str, ...],
    source_swap: bool,
    contaminate: float,
    mutate: float,
    embedding: str,
    as_json: bool,
) -> None:
    """Make labelled traffic: people, businesses, evaluators, resellers, and campaigns.

    With --corpus and --traces it is composed from your own prompts and timing; that is how a bundle
    is judged on data it has not seen.

    \b
    Examples:
      distilwatch simulate --out live.jsonl --history history.jsonl --labels labels.jsonl
      distilwatch simulate --corpus prompts --traces traces --events 200000 \\
        --out kafka://127.0.0.1:9092/requests --history history.jsonl --labels labels.jsonl
    """
    from dataclasses import replace
    from functools import partial

    from pipelines import preflight
    from pipelines.console import Console
    from pipelines.simulate import scenario
    from pipelines.simulate.run import SimulateOptions, run

    with Console(as_json) as console:
        console.step("Check what is asked for")
        look = preflight.Preflight()
        base = (
            scenario.demo_scenario()
            if corpus is None
            else scenario.composed_scenario(corpus, traces, part=part)
        )
        for uri, option in ((out, "--out"), (history, "--history")):
            if uri is not None:
                look.check(partial(preflight.check_event_target, uri, option))
        for folder, option in ((corpus, "--corpus"), (traces, "--traces")):
            if folder is not None:
                look.check(partial(preflight.check_folder, folder, option))
        if labels is not None:
            look.check(lambda: preflight.check_file_target(labels, "--labels"))
        given = {"--out": out, "--history": history, "--labels": labels and str(labels)}
        look.check(lambda: preflight.check_apart({o: uri for o, uri in given.items() if uri}))
        campaigns = base.campaigns
        if attacks:
            campaigns = tuple(
                found
                for text in attacks
                if (found := look.check(partial(scenario.parse_attack, text))) is not None
            )
        if benign_only:
            campaigns = ()
        choice = base.corpus
        if corpus is not None:
            choice = scenario.CorpusChoice(corpus, part, only, exclude, source_swap)
        start_ms = look.check(partial(scenario.parse_start, start)) if start else None
        wanted = look.check(
            lambda: replace(
                base,
                campaigns=campaigns,
                contaminate=contaminate,
                corpus=choice,
                traces=traces,
                accounts=base.accounts if accounts is None else accounts,
                events=base.events if events is None else events,
                days=base.days if days is None else days,
                history_days=base.history_days if history_days is None else history_days,
                seed=base.seed if seed is None else seed,
                start_ms=base.start_ms if start_ms is None else start_ms,
            )
        )
        look.finish()
        assert wanted is not None  # finish() would have raised
        summary = run(SimulateOptions(out, history, labels, wanted, embedding, mutate), console)
        wrote = [target for target in (history, out, labels and str(labels)) if target]
        then = [
            f"distilwatch train --input {history or 'HISTORY'} --bundle bundle",
            f"distilwatch detect --input {out} --bundle bundle --output duckdb:///out.duckdb",
        ]
        console.result(summary.as_dict(), summary.lines(), wrote=wrote, then=then)
