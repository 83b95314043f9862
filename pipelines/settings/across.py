"""Mistakes between settings, which no single one of them shows."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from pipelines import durations
from pipelines.settings import AlertsConfig, Config, RegistryConfig, TriageConfig

Location = tuple[str | int, ...]
Finding = tuple[Location, str, str]
"""Where, what is wrong, and how to mend it."""

_HASHING_DIM = 384


def between(config: Config) -> Iterator[tuple[list[Location], Finding]]:
    """Mistakes between settings, each with all the settings that it is about."""
    sessions = config.sessions
    gap, piece, longest = ("sessions", "gap"), ("sessions", "slice"), ("sessions", "max_length")
    show = durations.format_duration
    if sessions.slice > sessions.gap:
        yield (
            [piece, gap],
            (
                piece,
                f"is longer than the gap: {show(sessions.slice)} against {show(sessions.gap)}",
                f"make it at most sessions.gap, {show(sessions.gap)}",
            ),
        )
    if sessions.max_length % sessions.slice:
        yield (
            [piece, longest],
            (
                longest,
                f"is no multiple of sessions.slice: {show(sessions.max_length)} of slices of "
                f"{show(sessions.slice)}",
                f"make it {show(-(-sessions.max_length // sessions.slice) * sessions.slice)}",
            ),
        )
    elif (window := config.profiles.window) % sessions.max_length:
        wide = ("profiles", "window")
        yield (
            [wide, longest],
            (
                wide,
                f"is no multiple of sessions.max_length: {show(window)} of sessions of at most "
                f"{show(sessions.max_length)}",
                f"make it {show(-(-window // sessions.max_length) * sessions.max_length)}, so that "
                "a session lies in one window",
            ),
        )
    if sessions.max_length < sessions.gap:
        yield (
            [longest, gap],
            (
                longest,
                f"is shorter than the gap: {show(sessions.max_length)} against "
                f"{show(sessions.gap)}",
                "make it at least sessions.gap",
            ),
        )
    embedding = config.embedding
    if embedding.kind == "hashing" and embedding.dim != _HASHING_DIM:
        dim = ("embedding", "dim")
        yield (
            [dim, ("embedding", "kind")],
            (
                dim,
                f"is {embedding.dim}, but the hashing embedder makes vectors of {_HASHING_DIM}",
                f"make it {_HASHING_DIM}, or set embedding.kind to event",
            ),
        )
    yield from _alerts(config.alerts)
    yield from _triage(config.triage)
    yield from _registry(config.ingest.registry)
    if config.ingest.fields and config.ingest.format == "events":
        places: Location = ("ingest", "fields")
        yield (
            [places, ("ingest", "format")],
            (
                places,
                "are set, but ingest.format is events, which has its fields where they are",
                "set ingest.format, or take them out",
            ),
        )
    known = _detectors()
    lower = {name.lower() for name in known}
    for i, detector in enumerate(config.scoring.detectors):
        if known and detector.name.lower() not in lower:
            at: Location = ("scoring", "detectors", i, "name")
            near = difflib.get_close_matches(detector.name.lower(), sorted(lower), n=3)
            mend = f"did you mean {', '.join(near)}?" if near else "see pyod.models for the names"
            yield [at], (at, f"PyOD has no detector {detector.name!r}", mend)


def _registry(registry: RegistryConfig) -> Iterator[tuple[list[Location], Finding]]:
    at: Location = ("ingest", "registry")
    if (registry.user is None) != (registry.password_env is None):
        parts: list[Location] = [(*at, "user"), (*at, "password_env")]
        yield parts, (at, "has a user or a password, not both", "give both, or neither")
    if registry.user is not None and registry.token_env is not None:
        parts = [(*at, "user"), (*at, "token_env")]
        yield parts, (at, "has a user and a token", "keep one of them")


def _alerts(alerts: AlertsConfig) -> Iterator[tuple[list[Location], Finding]]:
    high: Location = ("alerts", "severity", "high_exposure_usd")
    critical: Location = ("alerts", "severity", "critical_exposure_usd")
    levels = alerts.severity
    if levels.critical_exposure_usd < levels.high_exposure_usd:
        yield (
            [high, critical],
            (
                critical,
                f"is {levels.critical_exposure_usd:g}, below high_exposure_usd, "
                f"{levels.high_exposure_usd:g}",
                "a graver severity needs a larger exposure",
            ),
        )
    for name in ("case_url", "runbook_url"):
        at: Location = ("alerts", name)
        try:
            getattr(alerts, name).format(cluster_id="", alert_id="", runbook="")
        except (LookupError, ValueError, AttributeError, TypeError):
            yield (
                [at],
                (
                    at,
                    f"names something that there is not: {getattr(alerts, name)!r}",
                    "use {cluster_id}, {alert_id} and {runbook}",
                ),
            )


def _triage(triage: TriageConfig) -> Iterator[tuple[list[Location], Finding]]:
    """What a way to sign in needs, and what must not be sent in clear."""
    way: Location = ("triage", "sign_in")
    needed: dict[Location, tuple[object, str]] = {}
    if triage.sign_in == "oidc":
        needed["triage", "oidc", "issuer"] = triage.oidc.issuer, "https://accounts.example.org"
        needed["triage", "oidc", "client_id"] = triage.oidc.client_id, "the name given there"
    if triage.sign_in == "proxy":
        needed["triage", "proxy", "trusted"] = triage.proxy.trusted, "['10.0.0.5']"
    if triage.sign_in != "local":
        needed["triage", "public_url"] = triage.public_url, "https://triage.example.org"
    for at, (value, example) in needed.items():
        if not value:
            what = f"is empty, but triage.sign_in is {triage.sign_in}"
            yield [at, way], (at, what, f"give it, such as {example}")
    for at, url in (
        (("triage", "public_url"), triage.public_url),
        (("triage", "oidc", "issuer"), triage.oidc.issuer),
    ):
        if url and not _keeps_cookies(url):
            mend = "write https://…; without TLS only this machine's own addresses will do"
            yield [at], (at, f"is no address that cookies may travel to: {url}", mend)


def _keeps_cookies(url: str) -> bool:
    """Whether an address is of this machine, or is reached by TLS."""
    try:
        parts = urlsplit(url)
    except ValueError:  # of brackets that hold no address
        return False
    here = parts.hostname in ("localhost", "127.0.0.1", "::1")
    return bool(parts.hostname) and (parts.scheme == "https" or here)


def _detectors() -> set[str]:
    """Names of PyOD's detectors and our own, found without importing PyOD, which is slow."""
    spec = find_spec("pyod")
    folders = spec.submodule_search_locations if spec else None
    found = {p.stem for f in folders or () for p in Path(f, "models").glob("*.py")}
    return found - {"__init__"} | {"evidencesum"} if found else set()
