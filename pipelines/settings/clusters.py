"""How accounts are linked into clusters."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from pipelines.settings.base import Section


class LinkConfig(Section):
    """How strongly one kind of shared thing links accounts."""

    weight: float = Field(
        0.5,
        description="of a thing that only two accounts share; it falls with the logarithm of how "
        "many do; 0: this kind links nobody",
        ge=0,
        le=100,
    )
    max_popularity: int = Field(
        1_000,
        description="a thing that so many accounts share links nobody",
        ge=2,
        le=100_000_000,
    )
    min_share: float = Field(
        0.0, description="share of an account's requests that must carry it", ge=0, le=1
    )


def _link(weight: float, max_popularity: int, min_share: float) -> tuple[LinkConfig, Any]:
    """A kind's defaults, and a validator through which a part of them can be set."""
    default = LinkConfig(weight=weight, max_popularity=max_popularity, min_share=min_share)

    def fill(value: object) -> object:
        return {**default.model_dump(), **value} if isinstance(value, dict) else value

    return default, BeforeValidator(fill)


_PAYMENT = _link(1.0, 1_000_000, 0.0)
_CREDENTIAL = _link(1.0, 10_000, 0.0)
_ORGANIZATION = _link(1.0, 100_000, 0.0)
_NETWORK = _link(0.5, 60, 0.02)
_CLIENT = _link(0.5, 40, 0.05)
_SYSTEM_PROMPT = _link(0.7, 2_000, 0.05)
_PREFIX = _link(0.7, 300, 0.1)
_SUFFIX = _link(0.7, 300, 0.1)
_SENTENCE = _link(0.0, 300, 0.1)


class LinksConfig(Section):
    """What links accounts."""

    payment: Annotated[LinkConfig, _PAYMENT[1]] = Field(
        _PAYMENT[0], description="the same payment fingerprint"
    )
    credential: Annotated[LinkConfig, _CREDENTIAL[1]] = Field(
        _CREDENTIAL[0], description="the same credential"
    )
    organization: Annotated[LinkConfig, _ORGANIZATION[1]] = Field(
        _ORGANIZATION[0], description="the same organization"
    )
    network: Annotated[LinkConfig, _NETWORK[1]] = Field(
        _NETWORK[0], description="the same network prefix"
    )
    client: Annotated[LinkConfig, _CLIENT[1]] = Field(
        _CLIENT[0], description="the same client fingerprint"
    )
    system_prompt: Annotated[LinkConfig, _SYSTEM_PROMPT[1]] = Field(
        _SYSTEM_PROMPT[0], description="the same system prompt"
    )
    prefix_scaffold: Annotated[LinkConfig, _PREFIX[1]] = Field(
        _PREFIX[0], description="the same first words around what is asked"
    )
    suffix_scaffold: Annotated[LinkConfig, _SUFFIX[1]] = Field(
        _SUFFIX[0], description="the same last words around what is asked"
    )
    opening_sentence: Annotated[LinkConfig, _SENTENCE[1]] = Field(
        _SENTENCE[0],
        description="the first words as prefix_scaffold, up to the end of their sentence; by "
        "default this links nobody, but other labs can be told of it, and report it",
    )
    closing_sentence: Annotated[LinkConfig, _SENTENCE[1]] = Field(
        _SENTENCE[0],
        description="the last words as suffix_scaffold, from the beginning of their sentence; by "
        "default this links nobody, but other labs can be told of it, and report it",
    )


class ClustersConfig(Section):
    """How accounts are linked into clusters."""

    min_link_weight: float = Field(
        0.5, description="two accounts with this much in common belong together", gt=0, le=1_000
    )
    links: LinksConfig = Field(default_factory=LinksConfig, description="kinds of links")
    signature_max_p: float = Field(
        0.01,
        description="an account that shares nothing is added to a suspicious cluster when what it "
        "asks fits the cluster's members alone; so often that happens to benign accounts by "
        "chance. 0: never",
        ge=0,
        le=0.2,
    )
    synchrony_weight: float = Field(
        0.5,
        description="weight of the link between accounts that are at work in the same minutes more "
        "often than chance lets them. 0: none",
        ge=0,
        le=1_000,
    )
    synchrony_false_pairs: float = Field(
        0.01,
        description="independent pairs that may be taken for synchronous by chance, over all pairs "
        "of a window",
        gt=0,
        le=100,
    )
    hand_over_weight: float = Field(
        0.4,
        description="weight of the link from an account that was refused and fell silent to one "
        "that begins within the hour; below min_link_weight it only adds to other links. 0: none",
        ge=0,
        le=1_000,
    )
    split_conductance: float = Field(
        0.1,
        description="a dense part of a cluster is one of its own when at most this share of its "
        "links' weight leads to the rest. 0: nothing is split",
        ge=0,
        le=0.5,
    )
    null_groups: int = Field(
        3_000,
        description="random groups of history accounts that say what is normal for a cluster",
        ge=50,
        le=100_000,
    )
