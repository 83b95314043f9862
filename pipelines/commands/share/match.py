"""distilwatch share match"""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.commands import options
from pipelines.commands.groups import Group

_sealed = click.option(
    "--sealed",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Identifiers that `distilwatch share match seal` wrote.",
)
_state = click.option(
    "--state",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What the server keeps: keys, confirmed identifiers, quotas and the log.",
)
_kind = click.option(
    "--kind",
    type=click.Choice(["payment", "device", "network"]),
    default="payment",
    show_default=True,
    help="Kind of identifier.",
)


@click.group(cls=Group, short_help="Find what two labs both know of cards, devices and networks.")
def match() -> None:
    """Find cards, devices and networks that two labs both know; neither learns the others.

    One lab serves what it has confirmed, the other one asks. docs/private_matching.md says what
    each of them learns.

    \b
    Example:
      distilwatch share match confirm --sealed confirmed.sealed --state match.sqlite
    """


@match.command()
@options.inputs
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File of sealed identifiers; added to.",
)
@click.option(
    "--tables",
    metavar="URI",
    help="What `detect` wrote, to look clusters up in: duckdb:///file.duckdb, parquet:///folder or "
    "bigquery://project/dataset",
)
@click.option(
    "--cluster",
    "clusters",
    multiple=True,
    metavar="ID",
    help="Seal what this cluster's accounts used. Repeat for several.",
)
@click.option(
    "--accounts",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Seal what these accounts used: ids, one a line.",
)
@options.config_file
@options.as_json
def seal(
    inputs: tuple[str, ...],
    out: Path,
    tables: str | None,
    clusters: tuple[str, ...],
    accounts: Path | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Seal the cards, devices and networks of chosen accounts, from their requests.

    \b
    Example:
      distilwatch share match seal --input live.jsonl --tables duckdb:///out.duckdb \\
        --cluster c-8d1f3a2b4c5d6e7f --out confirmed.sealed
    """
    from pipelines.config import load_config
    from pipelines.console import Console
    from pipelines.matching import accounts_of
    from pipelines.sealing import seal as run

    with Console(as_json) as console:
        config = load_config(config_path)
        chosen = accounts_of(tables, clusters, accounts)
        console.step("Read the requests of these accounts")
        count = run(list(inputs), chosen, out, config)
        console.result(
            {"accounts": len(chosen), "sealed": count},
            [f"{count:,} identifiers are in the file."],
            [str(out)],
            [f"distilwatch share match confirm --sealed {out} --state FILE"],
        )


@match.command()
@_sealed
@_state
@click.option("--withdraw", is_flag=True, help="Take them back instead.")
@options.as_json
def confirm(sealed: Path, state: Path, withdraw: bool, as_json: bool) -> None:
    """Let peers find identifiers that were confirmed, or no more.

    \b
    Example:
      distilwatch share match confirm --sealed confirmed.sealed --state match.sqlite
    """
    from pipelines.console import Console
    from pipelines.sealing import own_sealer
    from transforms.sharing.private.ledger import Ledger
    from transforms.sharing.private.sealed import read_sealed

    with Console(as_json) as console:
        sealer = own_sealer()
        found, ledger = read_sealed(sealed, sealer), Ledger(state)
        ledger.bind(sealer.mark)
        if withdraw:
            count = ledger.withdraw({one.local for one in found})
        else:
            ledger.confirm(found)
            count = len(found)
        done = "can be found no more" if withdraw else "can be found"
        console.result({"identifiers": count}, [f"{count:,} identifiers {done}."], [str(state)])


@match.command()
@_state
@click.option(
    "--peer",
    "peers",
    multiple=True,
    required=True,
    metavar="NAME",
    help="Lab that may ask; its token is in DISTILWATCH_MATCH_TOKEN_<NAME>. Repeat for several.",
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, metavar="HOST", help="Address to listen on."
)
@click.option(
    "--port",
    default=8440,
    show_default=True,
    type=click.IntRange(1, 65535),
    metavar="PORT",
    help="Port to listen on.",
)
@click.option("--tls-cert", type=click.Path(exists=True), metavar="FILE", help="Certificate, PEM.")
@click.option("--tls-key", type=click.Path(exists=True), metavar="FILE", help="Its key, PEM.")
@click.option(
    "--client-ca",
    type=click.Path(exists=True),
    metavar="FILE",
    help="Only peers with a certificate of this authority, PEM (mutual TLS).",
)
@click.option(
    "--batch",
    metavar="N",
    default=256,
    show_default=True,
    type=click.IntRange(1, 4096),
    help="Points of every request.",
)
@click.option(
    "--quota",
    metavar="N",
    default=4096,
    show_default=True,
    type=click.IntRange(1),
    help="Points that a peer may ask in a period; what fills a request up counts.",
)
@click.option("--period", default="1 d", show_default=True, metavar="TIME", help="Of the quota.")
@click.option(
    "--epoch", default="7 d", show_default=True, metavar="TIME", help="How long a key lives."
)
def serve(
    state: Path,
    peers: tuple[str, ...],
    host: str,
    port: int,
    tls_cert: str | None,
    tls_key: str | None,
    client_ca: str | None,
    batch: int,
    quota: int,
    period: str,
    epoch: str,
) -> None:
    """Serve what was confirmed to peers, until Ctrl-C.

    \b
    Example:
      DISTILWATCH_MATCH_TOKEN_LAB_B=… distilwatch share match serve --state match.sqlite \\
        --peer lab-b --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem --client-ca forum.pem
    """
    from pipelines.durations import parse_duration
    from pipelines.matching import serve as run
    from transforms.sharing.private.server import MatchOptions

    try:
        period_ms, epoch_ms = parse_duration(period), parse_duration(epoch)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    run(
        state,
        peers,
        MatchOptions(batch, quota, period_ms, epoch_ms),
        host,
        port,
        tls_cert,
        tls_key,
        client_ca,
    )


@match.command()
@_sealed
@click.option("--url", required=True, metavar="URL", help="The other lab's server.")
@click.option(
    "--as",
    "name",
    required=True,
    metavar="NAME",
    help="Name under which it knows us; our token is in DISTILWATCH_MATCH_TOKEN.",
)
@click.option(
    "--from",
    "source",
    required=True,
    metavar="LAB",
    help="What watch.sources in the settings calls the other lab.",
)
@_kind
@click.option(
    "--list",
    "listed",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Watch list that matches are added to.",
)
@click.option(
    "--confidence",
    metavar="N",
    default=90,
    show_default=True,
    type=click.IntRange(0, 100),
    help="Of a match, in the watch list.",
)
@click.option(
    "--valid-for",
    default="30 d",
    show_default=True,
    metavar="TIME",
    help="How long a match is looked for.",
)
@click.option(
    "--ca",
    type=click.Path(exists=True),
    metavar="FILE",
    help="Authority of the server's certificate, PEM.",
)
@click.option(
    "--cert",
    type=click.Path(exists=True),
    metavar="FILE",
    help="Our certificate and key in one file, PEM.",
)
@click.option(
    "--least-batch",
    metavar="N",
    default=256,
    show_default=True,
    type=click.IntRange(1, 4096),
    help="Refuse a server that wants smaller batches, which tell it how much we ask.",
)
@options.as_json
def query(
    sealed: Path,
    url: str,
    name: str,
    source: str,
    kind: str,
    listed: Path | None,
    confidence: int,
    valid_for: str,
    ca: str | None,
    cert: str | None,
    least_batch: int,
    as_json: bool,
) -> None:
    """Ask which of our sealed identifiers another lab has confirmed.

    \b
    Example:
      DISTILWATCH_MATCH_TOKEN=… distilwatch share match query --sealed suspects.sealed \\
        --url https://match.lab-a.example:8440 --as lab-b --from lab-a --list watch.json
    """
    from pipelines.console import Console
    from pipelines.durations import parse_duration
    from pipelines.matching import ask

    try:
        valid_ms = parse_duration(valid_for)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    with Console(as_json) as console:
        console.step("Ask the other lab")
        found = ask(
            sealed, url, name, source, kind, listed, confidence / 100, valid_ms, ca, cert,
            least_batch,
        )  # fmt: skip
        left = f", {found.left:,} wait for the next period" if found.left else ""
        console.result(
            {
                "asked": found.asked,
                "left": found.left,
                "evaluated": found.evaluated,
                "published": found.published,
                "epoch": found.epoch,
                "matches": [one.local for one in found.found],
            },
            [
                f"{len(found.found):,} of {found.asked:,} identifiers are confirmed there{left}.",
                *(f"  {one.kind} {one.local}" for one in found.found),
            ],
            [str(listed)] if listed else [],
        )


@match.command()
@_state
@click.option(
    "--head",
    metavar="HEX",
    help="End of the log as it was once shown; fails when it is in there no more.",
)
@options.as_json
def log(state: Path, head: str | None, as_json: bool) -> None:
    """Verify the log of the server and show it.

    The end that it prints, kept elsewhere and given with --head, shows whether the log was cut off.

    \b
    Example:
      distilwatch share match log --state match.sqlite
    """
    import time

    from pipelines.console import Console
    from schemas.errors import DistilwatchError
    from transforms.sharing.private.ledger import Ledger

    with Console(as_json) as console:
        if not state.exists():
            raise DistilwatchError(
                "there is no such file", str(state), "give the --state of the server"
            )
        entries = Ledger(state).log()
        if head and not any(e.digest.startswith(head) for e in entries):
            raise DistilwatchError(
                f"the log has no row {head}: its end was cut off, or it is another log",
                str(state),
                "find out who did that, and restore it from a copy",
            )
        lines = [
            f"{time.strftime('%F %T', time.gmtime(e.at_ms / 1000))}  epoch {e.epoch:<4} "
            f"{e.act:<9} {e.peer or '-':<12} {e.kind or '-':<8} {e.elements:>7,}"
            + (f"  refused: {e.reason}" if not e.granted else "")
            for e in entries
        ]
        if entries:
            lines += ["", f"The chain holds. Its end: {entries[-1].digest}"]
        console.result({"entries": [e._asdict() for e in entries]}, lines or ["Nothing yet."])


@match.command()
@_state
@click.option(
    "--epoch", default="7 d", show_default=True, metavar="TIME", help="How long the new key lives."
)
@options.as_json
def rotate(state: Path, epoch: str, as_json: bool) -> None:
    """Destroy the key and begin a new epoch at once, such as after a leak.

    \b
    Example:
      distilwatch share match rotate --state match.sqlite
    """
    import time

    from pipelines.console import Console
    from pipelines.durations import parse_duration
    from transforms.sharing.private.ledger import Ledger

    with Console(as_json) as console:
        try:
            length_ms = parse_duration(epoch)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
        began = Ledger(state).rotate(time.time_ns() // 1_000_000, length_ms)
        console.result({"epoch": began.number}, [f"Epoch {began.number} has begun."], [str(state)])


@match.command()
@click.option(
    "--quota",
    metavar="N",
    default=4096,
    show_default=True,
    type=click.IntRange(1),
    help="Points that a peer may ask a day.",
)
@click.option(
    "--peers",
    metavar="N",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Peers that guess together.",
)
@click.option(
    "--confirmed",
    metavar="N",
    default=1000,
    show_default=True,
    type=click.IntRange(1),
    help="Identifiers that are confirmed.",
)
@options.as_json
def cost(quota: int, peers: int, confirmed: int, as_json: bool) -> None:
    """Show what it costs a peer to find confirmed identifiers by guessing.

    \b
    Example:
      distilwatch share match cost --quota 1000 --confirmed 5000
    """
    from pipelines.console import Console
    from transforms.sharing.private.enumeration import SPACES, found_a_year, years

    with Console(as_json) as console:
        table = [
            {
                "identifier": space.name, "bits": round(space.bits, 1),
                "years_for_all": years(space, quota, 1.0, peers),
                "found_a_year": found_a_year(space, confirmed, quota * peers),
            }
            for space in SPACES
        ]  # fmt: skip
        lines = [f"{'identifier':<50} {'bits':>6} {'years for all':>14} {'found a year':>13}"]
        lines += [
            f"{row['identifier']:<50} {row['bits']:>6} {row['years_for_all']:>14.3g} "
            f"{row['found_a_year']:>13.3g}"
            for row in table
        ]
        console.result({"quota": quota, "peers": peers, "spaces": table}, lines)
