"""distilwatch share match serve, log, rotate: others ask us."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.commands import options
from pipelines.commands.share.match import shared


@click.command()
@shared.state_file
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


@click.command()
@shared.state_file
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


@click.command()
@shared.state_file
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
