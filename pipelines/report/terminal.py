"""The report's story, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pipelines.report.charts import time_text
from pipelines.report.story import Cluster, Member, Session, Story, p_text
from transforms.alerts.wording import dollars

_COLOURS = {"critical": "bold red", "high": "red", "medium": "yellow", "low": "cyan"}
_OVER = ("resolved", "dismissed")
_MEMBERS = 20
_WIDTH = 48
_BLOCKS = " ▁▂▃▄▅▆▇█"


def clusters_list(story: Story, most: int | None = None) -> Iterator[RenderableType]:
    """Flagged clusters, gravest first: figures and the truth where it is known, then the reason.

    Args:
      story: of the run.
      most: how many at most; None for all.
    """
    heads = ("severity", "cluster", "accounts", "requests", "worth", "p-value")
    shown = story.clusters[:most]
    rows = [
        (
            c.severity,
            c.cluster_id,
            f"{c.accounts:,}",
            f"{c.requests:,}",
            dollars(c.exposure_usd) if c.exposure_usd is not None else "–",
            p_text(c.p_value),
        )
        for c in shown
    ]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]

    def line(cells: Sequence[str]) -> list[str]:
        return [
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]

    yield Text("  ".join(line(heads)), "bold")
    for c, cells in zip(shown, rows, strict=True):
        first, *others = line(cells)
        yield Text.assemble((first, _COLOURS.get(c.severity, "")), "  ", "  ".join(others))
        if c.truth():
            yield Padding(_verdict(c), (0, 0, 0, widths[0] + 2))
        if c.reasons:
            yield Padding(Text(c.reasons[0].words, "dim"), (0, 0, 0, widths[0] + 2))
    if len(shown) < len(story.clusters):
        yield Text(f"… and {len(story.clusters) - len(shown):,} more", "dim")


def truth_tables(story: Story) -> Iterator[RenderableType]:
    """What the labels say: campaigns, and classes of benign accounts."""
    campaigns = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("campaign", "kind"):
        campaigns.add_column(name)
    campaigns.add_column("accounts flagged", justify="right")
    for c in story.campaigns:
        style = "green" if c.flagged else "red"
        campaigns.add_row(
            Text(c.campaign),
            Text(c.kind.replace("_", " ")),
            Text(f"{c.flagged} of {c.accounts}", style),
        )
    benign = Table(box=None, pad_edge=False, header_style="bold")
    benign.add_column("benign accounts")
    benign.add_column("flagged", justify="right")
    for b in story.benign:
        style = "red" if b.flagged else "green"
        benign.add_row(
            Text(b.kind.replace("_", " ")), Text(f"{b.flagged} of {b.accounts:,}", style)
        )
    side = Table.grid(padding=(0, 6))
    side.add_row(campaigns, benign)
    yield side


def cluster_story(cluster: Cluster) -> Iterator[RenderableType]:
    """Everything that is known of one cluster."""
    title = Text(f"Cluster {cluster.cluster_id}  ", "bold")
    title.append(cluster.severity, _COLOURS.get(cluster.severity, ""))
    title.append(
        f"  {cluster.status}, revision {cluster.revision}, p {p_text(cluster.p_value)}, "
        f"score {cluster.score:.2f}",
        "dim",
    )
    yield title
    yield Text(cluster.sentence(worth=False))
    yield Text(f"How sure: {cluster.how_sure()}")
    yield Text(f"Cost: {cluster.costs(over=cluster.status in _OVER)}")
    for also in filter(None, (cluster.known(), cluster.lowered())):
        yield Text(also)
    if cluster.truth():
        yield Text.assemble("The labels say: ", _verdict(cluster))
    yield Text("")
    yield Text(
        f"From {time_text(cluster.first_seen_ms)} to {time_text(cluster.last_seen_ms)} UTC, "
        f"{cluster.input_tokens:,} tokens in and {cluster.output_tokens:,} out.",
        "dim",
    )
    if cluster.reasons:
        yield Text("\nWhy it was flagged", "bold")
        for reason in cluster.reasons:
            yield Padding(Text(f"• {reason.words[:1].upper()}{reason.words[1:]}"), (0, 0, 0, 2))
    if cluster.asked_for():
        yield Text("\nWhat it asked for", "bold")
        for capability in cluster.asked_for():
            yield Padding(Text(f"• {capability.sentence()}"), (0, 0, 0, 2))
    yield Text("\nRequests over time", "bold")
    yield _members(cluster)
    if len(cluster.members) > _MEMBERS:
        yield Text(f"… and {len(cluster.members) - _MEMBERS} more accounts", "dim")


def _members(cluster: Cluster) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("account", no_wrap=True)
    table.add_column("first to last request", no_wrap=True)
    table.add_column("requests", justify="right", no_wrap=True)
    table.add_column("own p", justify="right", no_wrap=True)
    table.add_column("linked by")
    truth = any(m.truth is not None for m in cluster.members)
    if truth:
        table.add_column("truth")
    sessions = [s for m in cluster.members for s in m.sessions]
    start = min((s.start_ms for s in sessions), default=cluster.first_seen_ms)
    end = max((s.end_ms for s in sessions), default=cluster.last_seen_ms)
    for member in cluster.members[:_MEMBERS]:
        row: list[RenderableType] = [
            Text(member.account),
            Text(_spark(member, start, end), "blue"),
            f"{member.requests:,}",
            p_text(member.p_value),
            Text("; ".join(member.links) or "–"),
        ]
        if truth:
            row.append(Text(str(member.truth or "no label")))
        table.add_row(*row)
    return table


def _spark(member: Member, start_ms: int, end_ms: int) -> str:
    bins = [0.0] * _WIDTH
    for session in member.sessions:
        _spread(session, bins, start_ms, max(end_ms - start_ms, 1))
    highest = max(bins) or 1.0
    return "".join(_BLOCKS[0 if not v else max(1, round(v / highest * 8))] for v in bins)


def _spread(session: Session, bins: list[float], start_ms: int, span_ms: int) -> None:
    first = int((session.start_ms - start_ms) / span_ms * (_WIDTH - 1))
    last = int((session.end_ms - start_ms) / span_ms * (_WIDTH - 1))
    for i in range(max(first, 0), min(last, _WIDTH - 1) + 1):
        bins[i] += session.requests / (last - first + 1)


def _verdict(cluster: Cluster) -> Text:
    attack = cluster.is_attack()
    if attack is None:
        return Text("no label", "dim")
    mark = Text("✓ ", "green") if attack else Text("✗ ", "red")
    return mark.append(cluster.truth(), "")
