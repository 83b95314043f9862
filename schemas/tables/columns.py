"""How columns are written down, and columns that several tables have."""

from __future__ import annotations

from schemas.model import Column, Mode, Type


def must(name: str, kind: Type, description: str, unit: str = "") -> Column:
    """A column that every row has."""
    return Column(name, kind, "REQUIRED", description, unit)


def may(name: str, kind: Type, description: str, unit: str = "") -> Column:
    """A column that may be empty."""
    return Column(name, kind, "NULLABLE", description, unit)


def many(name: str, description: str, *fields: Column, kind: Type = "RECORD") -> Column:
    """A column with a list, of records unless another kind is named."""
    mode: Mode = "REPEATED"
    return Column(name, kind, mode, description, fields=fields)


RUN = (
    may("bundle_version", "STRING", "bundle that scored the row"),
    may("run_id", "STRING", "run that wrote the row"),
)
FEATURES = many(
    "features",
    "features, with what is normal for the peer group at this volume; unknown ones are left out",
    may("name", "STRING", "feature"),
    may("value", "FLOAT64", "as measured", "the feature's own"),
    may(
        "normal_low",
        "FLOAT64",
        "lower end of the middle two thirds of its peers",
        "the feature's own",
    ),
    may(
        "normal_high",
        "FLOAT64",
        "upper end of the middle two thirds of its peers",
        "the feature's own",
    ),
    may("z", "FLOAT64", "distance from the peers' median", "robust standard deviations"),
)
REASONS = many(
    "reasons",
    "features that made the difference, largest first",
    may("feature", "STRING", "feature"),
    may("value", "FLOAT64", "as measured", "the feature's own"),
    may("normal_low", "FLOAT64", "lower end of what is normal", "the feature's own"),
    may("normal_high", "FLOAT64", "upper end of what is normal", "the feature's own"),
    may("z", "FLOAT64", "distance from normal", "robust standard deviations"),
    may("contribution", "FLOAT64", "fall of the score if this alone were normal", "score"),
    may("words", "STRING", "the reason in words"),
)
LINKS = many(
    "links",
    "strongest things shared with other members, strongest first",
    may(
        "kind",
        "STRING",
        "what is shared: payment, network, client, prefix_scaffold …; content: what is asked; "
        "synchrony: the minutes of work; hand_over: a refusal, and work that goes on elsewhere",
    ),
    may("thing", "STRING", "hash of the shared thing, 14 hex digits"),
    may("accounts", "INT64", "accounts that share it", "accounts"),
    may("weight", "FLOAT64", "strength, falling with the number of accounts", "0 to 1"),
)
SHARED = many(
    "links",
    "what members share, by kind",
    may("kind", "STRING", "what is shared: payment, network, client, prefix_scaffold …"),
    may("shared", "INT64", "different things of this kind that members share", "things"),
    may("accounts", "INT64", "members that share one of them", "accounts"),
)
CAPABILITIES = many(
    "capabilities",
    "what its requests ask of the model: what it took first, then by requests",
    may("name", "STRING", "code, mathematics, tool_use, medicine, law …"),
    may("requests", "INT64", "requests that ask for it", "requests"),
    may("share", "FLOAT64", "of the cluster's labelled requests", "0 to 1"),
    may(
        "lift", "FLOAT64", "the share over the history's; empty where that is not labelled", "ratio"
    ),
    may(
        "covered",
        "FLOAT64",
        "share of the history's requests for it that lie where the cluster asked for it",
        "0 to 1",
    ),
    may("expected", "FLOAT64", "covered by as many requests of the history", "0 to 1"),
    may("taken", "BOOL", "whether the share is clearly above the history's"),
)
KNOWN = many(
    "known_texts",
    "collections of known texts that its requests are in, most requests first; a request counts "
    "for one",
    may("name", "STRING", "collection"),
    may("kind", "STRING", "benchmark, extraction or other"),
    may("requests", "INT64", "requests that are in it", "requests"),
    may("share", "FLOAT64", "of all its requests", "0 to 1"),
)
COVERAGE = many(
    "coverage",
    "cells of the codebook where it was, or where as many requests of its peer groups would be",
    may("cell", "INT64", "cell of the bundle's codebook", "number from 0"),
    may("x", "INT64", "column of the cell's tile on a map where alike cells are near", "tiles"),
    may("y", "INT64", "row of the tile", "tiles"),
    may("requests", "INT64", "requests of the cluster in the cell", "requests"),
    may(
        "expected",
        "FLOAT64",
        "of as many requests of its peer groups in the history, those in the cell; empty where it "
        "is not known, of the whole history where the bundle is of an older version",
        "requests",
    ),
)
TOKENS = (
    may("input_tokens", "INT64", "input tokens of these requests", "tokens"),
    may("output_tokens", "INT64", "output tokens of these requests", "tokens"),
)
REASONING = may("reasoning_tokens", "INT64", "reasoning tokens of these requests", "tokens")
WINDOW = (
    may("window_start", "TIMESTAMP", "begin of the window that was scored", "UTC"),
    may("window_end", "TIMESTAMP", "end of the window that was scored", "UTC"),
)
