"""What the tables say about a run, as the report and the terminal tell it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from pipelines.report.evidence import CoveredCell, SharedThing
from pipelines.report.meanings import meaning_of
from transforms.alerts.wording import costs, dollars, how_sure

SEVERITIES = ("critical", "high", "medium", "low")

TACTICS = {
    "bulk_sweep": "sweeps broadly at high volume",
    "drip": "sweeps broadly, a little every day",
    "divided_labour": "members divide the topics among themselves",
    "reasoning_elicitation": "draws out reasoning",
    "fixed_template": "uses one fixed wording",
    "repeated_sampling": "asks the same prompts again and again",
    "hand_over": "goes on from another account after a block",
    "self_instruct": "has tasks or training data invented",
    "evolved_prompts": "has prompts made harder",
    "reward_modelling": "has answers graded",
    "capability_targeted": "asks for one capability above all",
    "replay": "replays known prompts of an extraction",
    "benchmark_evaluation": "asks the questions of public benchmarks",
}

CAPABILITIES = {
    "languages": "translation and grammar",
    "extraction": "summaries and extraction",
    "logic": "logic and puzzles",
    "knowledge": "general knowledge",
}

LINKS = {
    "payment": "same payment method",
    "credential": "same credential",
    "organization": "same organization",
    "network": "same network",
    "client": "same client program",
    "system_prompt": "same system prompt",
    "prefix_scaffold": "same wording before what is asked",
    "suffix_scaffold": "same wording after what is asked",
    "opening_sentence": "same sentence before what is asked",
    "closing_sentence": "same sentence after what is asked",
    "content": "asks what only the linked members ask",
    "synchrony": "works in the same minutes",
    "hand_over": "goes on where another was refused",
}

_MOST_TRUTHS = 3
_MOST_CAPABILITIES = 3
# A capability that was not taken is told of from this share of the labelled requests, and so many.
_LEAST_SHARE = 0.05
_LEAST_REQUESTS = 5


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something was flagged, one feature.

    Attributes:
      feature: its column name.
      words: one line with value and what is normal, as `scoring.explain` says it today.
      z: robust standard deviations from the peers' median.
      contribution: by how much the score falls when this feature alone is made normal.
    """

    feature: str
    words: str
    z: float
    contribution: float

    @property
    def name(self) -> str:
        """What it is, without figures."""
        return self.words.partition(":")[0]

    @property
    def meaning(self) -> str:
        """Why it counts, and what else it may be; "" where that is not known."""
        return meaning_of(self.feature)


@dataclass(frozen=True, slots=True)
class AskedCapability:
    """What a cluster asked of one capability of the model; None where that is unknown.

    Attributes:
      name: as in the tables.
      requests: that ask for it.
      share: of the cluster's labelled requests.
      lift: the share over the history's.
      covered: share of the history's requests for it where the cluster asked for it, too.
      expected: the same for as many requests of the history.
      taken: whether the share is clearly above the history's.
    """

    name: str
    requests: int
    share: float
    lift: float | None = None
    covered: float | None = None
    expected: float | None = None
    taken: bool | None = None

    def sentence(self) -> str:
        """How much of it, in one sentence."""
        name = CAPABILITIES.get(self.name, self.name.replace("_", " "))
        times = "one request" if self.requests == 1 else f"{self.requests:,} requests"
        text = f"{name[:1].upper()}{name[1:]}: {times}, "
        text += f"{self.share:.0%} of those whose subject is known"
        if self.lift is not None:
            text += f", {self.lift:.2g} times the usual share"
            text += " (clearly above it)" if self.taken else ""
        if self.covered is not None:
            text += f"; they reach {self.covered:.0%} of what is usually asked for"
            if self.expected is not None:
                text += f", where as many usual requests reach {self.expected:.0%}"
        return f"{text}."


@dataclass(frozen=True, slots=True)
class KnownTexts:
    """A collection that some of the requests are in."""

    name: str
    kind: str
    requests: int
    share: float


@dataclass(frozen=True, slots=True)
class Session:
    """One session of an account: first and last request, how many, and tokens of the answers."""

    start_ms: int
    end_ms: int
    requests: int
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Truth:
    """What the labels say of an account."""

    label: str
    kind: str
    campaign: str

    def __str__(self) -> str:
        kind = self.kind.replace("_", " ")
        return f"{kind}, {self.campaign}" if self.campaign else f"{self.label}, {kind}"

    def short(self) -> str:
        """The same among others, as in "3 benign reseller"."""
        kind = self.kind.replace("_", " ")
        return f"{kind} ({self.campaign})" if self.campaign else f"{self.label} {kind}"


@dataclass(frozen=True, slots=True)
class Member:
    """An account of a cluster.

    Attributes:
      account: its id.
      since_ms: when it joined, 0 when unknown.
      p_value: its own, alone.
      requests: over its sessions.
      links: in words, strongest first.
      sessions: in order of time.
      truth: None without labels.
      score: its own.
      shared: what it shares, strongest first.
    """

    account: str
    since_ms: int
    p_value: float | None
    requests: int
    links: tuple[str, ...]
    sessions: tuple[Session, ...]
    truth: Truth | None = None
    score: float | None = None
    shared: tuple[SharedThing, ...] = ()


@dataclass(frozen=True, slots=True)
class Cluster:
    """A flagged cluster at its newest revision."""

    cluster_id: str
    revision: int
    status: str
    severity: str
    score: float
    p_value: float
    first_seen_ms: int
    last_seen_ms: int
    first_alert_ms: int
    accounts: int
    payments: int
    requests: int
    input_tokens: int
    output_tokens: int
    exposure_usd: float | None
    exposure_method: str
    tactics: tuple[str, ...]
    reasons: tuple[Reason, ...]
    members: tuple[Member, ...]
    bundle_version: str
    capabilities: tuple[AskedCapability, ...] = ()
    known_texts: tuple[KnownTexts, ...] = ()
    severity_reason: str = ""
    coverage: tuple[CoveredCell, ...] = ()
    merged_into: str = ""
    q_value: float | None = None

    def worths(self) -> dict[str, float | None]:
        """Each member's part of the exposure, by its part of the tokens of all answers; None where
        either is not known."""
        tokens = {m.account: sum(s.output_tokens for s in m.sessions) for m in self.members}
        whole = sum(tokens.values())
        if not whole or self.exposure_usd is None:
            return dict.fromkeys(tokens)
        return {account: self.exposure_usd * own / whole for account, own in tokens.items()}

    @property
    def days(self) -> float:
        """From the first request to the last."""
        return (self.last_seen_ms - self.first_seen_ms) / 86_400_000

    def sentence(self, worth: bool = True, named: bool = True) -> str:
        """What happened, in one sentence.

        Args:
          worth: whether it says what the answers are worth.
          named: whether it says who; else it follows a sentence that did.
        """
        on = ""
        if self.accounts > 1 and self.payments:
            on = (
                "one payment method" if self.payments == 1 else f"{self.payments:,} payment methods"
            )
            on = f" on {on}"
        if named:
            who = "One account" if self.accounts == 1 else f"{self.accounts:,} accounts"
            who += on
        else:
            who = "It" if self.accounts == 1 else f"{on[1:].capitalize()} they" if on else "They"
        text = f"{who} made {self.requests:,} requests within {_length(self.days)}"
        if worth and self.exposure_usd:
            text += f" and took answers worth about {dollars(self.exposure_usd)} at list price"
        doing = [TACTICS.get(t, t.replace("_", " ")) for t in self.tactics]
        return f"{text}; what stands out: {', '.join(doing)}." if doing else f"{text}."

    def how_sure(self) -> str:
        """What the numbers say of chance, as messages say it."""
        return how_sure(self.p_value, self.q_value, self.accounts)

    def costs(self, over: bool = False) -> str:
        """What it has cost and what a day costs, as messages say it.

        Args:
          over: whether it is to be looked at no more.
        """
        return costs(self.exposure_usd, self.first_seen_ms, self.last_seen_ms, over)

    def asked_for(self) -> tuple[AskedCapability, ...]:
        """The capabilities to tell of: those it took first."""
        told = [
            c
            for c in self.capabilities
            if c.taken or (c.share >= _LEAST_SHARE and c.requests >= _LEAST_REQUESTS)
        ]
        return tuple(told[:_MOST_CAPABILITIES])

    def known(self) -> str:
        """What of its requests is in known collections, in one sentence; "" for nothing."""
        if not self.known_texts:
            return ""
        parts = [f"{k.share:.1%} in {k.name} ({k.kind})" for k in self.known_texts]
        return f"Requests in collections of known texts: {', '.join(parts)}."

    def lowered(self) -> str:
        """Why its severity was lowered, in one sentence; "" where it was not."""
        return f"Severity lowered: {self.severity_reason}." if self.severity_reason else ""

    def stands_out(self, most: int) -> str:
        """What contributed most, without figures; "" without reasons."""
        return "; ".join(reason.name for reason in self.reasons[:most])

    def truth(self) -> str:
        """What the labels say of its members; "" without labels."""
        known = [m.truth for m in self.members if m.truth is not None]
        if len(self.members) == 1:
            return str(known[0]) if known else ""
        counts = Counter(truth.short() for truth in known)
        parts = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        said = [f"{count:,} {name}" for name, count in parts[:_MOST_TRUTHS]]
        if rest := sum(count for _, count in parts[_MOST_TRUTHS:]):
            said.append(f"{rest:,} more")
        if known and (unknown := len(self.members) - len(known)):
            said.append(f"{unknown:,} without a label")
        return ", ".join(said)

    def is_attack(self) -> bool | None:
        """Whether most labelled members attack; None without labels."""
        known = [m.truth.label == "attack" for m in self.members if m.truth is not None]
        return 2 * sum(known) > len(known) if known else None


@dataclass(frozen=True, slots=True)
class CampaignTruth:
    """A labelled campaign and how much of it was flagged."""

    campaign: str
    kind: str
    accounts: int
    flagged: int
    clusters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BenignTruth:
    """A class of benign accounts and how many of it were flagged."""

    kind: str
    accounts: int
    flagged: int


@dataclass(frozen=True, slots=True)
class Story:
    """A run.

    Attributes:
      source: where the tables are, without the folder.
      clusters: gravest first.
      accounts, requests: that were scored.
      first_ms, last_ms: of all sessions; 0 without any.
      balance: what the newest run read, then what became of it, in words with record counts.
      run_id: that run.
      campaigns, benign: with labels only.
    """

    source: str
    clusters: tuple[Cluster, ...]
    accounts: int
    requests: int
    first_ms: int
    last_ms: int
    balance: tuple[tuple[str, int], ...] = ()
    run_id: str = ""
    campaigns: tuple[CampaignTruth, ...] = ()
    benign: tuple[BenignTruth, ...] = ()

    def headline(self) -> str:
        """What was found, in one sentence."""
        if not self.clusters:
            return f"Nothing was flagged among {self.accounts:,} accounts."
        accounts = len({m.account for c in self.clusters for m in c.members})
        accounts = accounts or sum(c.accounts for c in self.clusters)
        clusters = "One cluster" if len(self.clusters) == 1 else f"{len(self.clusters):,} clusters"
        were = "was" if len(self.clusters) == 1 else "were"
        requests = sum(c.requests for c in self.clusters)
        text = f"{clusters} of {accounts:,} accounts {were} flagged among {self.accounts:,}"
        if self.requests:
            text += f", with {requests / self.requests:.1%} of the requests"
        worth = sum(c.exposure_usd or 0.0 for c in self.clusters)
        return f"{text}, about {dollars(worth)} at list price." if worth else f"{text}."

    def balance_sentence(self) -> str:
        """Whether every record that was read is accounted for."""
        if not self.balance:
            return ""
        (_, read), *parts = self.balance
        missing = read - sum(count for _, count in parts)
        if not missing:
            return f"All {read:,} records that were read are accounted for."
        what = "not accounted for" if missing > 0 else "counted more than once"
        return f"{abs(missing):,} of {read:,} records that were read are {what}: look into the log."


def _length(days: float) -> str:
    if days >= 2:
        return f"{days:.0f} days"
    hours = days * 24
    if hours >= 2:
        return f"{hours:.0f} hours"
    minutes = max(round(hours * 60), 1)
    return "a minute" if minutes == 1 else f"{minutes} minutes"


def p_text(p: float | None) -> str:
    """A p-value as people read it."""
    if p is None:
        return "–"
    return f"{p:.2g}" if p >= 0.001 else f"{p:.1e}"
