"""Every setting of distilwatch: one YAML file, with defaults, checked as a whole.

A module for each stage. `pipelines.config.load_config` reads the file and reports mistakes;
`distilwatch config show` prints it with each setting's meaning.
"""

from __future__ import annotations

from pydantic import Field

from pipelines.settings.alerts import AlertsConfig, KnownTextsConfig, SeverityConfig
from pipelines.settings.base import Section
from pipelines.settings.bundles import BundlesConfig
from pipelines.settings.clusters import ClustersConfig, LinkConfig, LinksConfig
from pipelines.settings.ingest import EmbeddingConfig, IngestConfig, RegistryConfig
from pipelines.settings.run import RunConfig
from pipelines.settings.scoring import DetectorConfig, ScoringConfig
from pipelines.settings.sessions import CoverageConfig, ProfilesConfig, SessionsConfig

__all__ = [
    "AlertsConfig",
    "BundlesConfig",
    "ClustersConfig",
    "Config",
    "CoverageConfig",
    "DetectorConfig",
    "EmbeddingConfig",
    "IngestConfig",
    "KnownTextsConfig",
    "LinkConfig",
    "LinksConfig",
    "ProfilesConfig",
    "RegistryConfig",
    "RunConfig",
    "ScoringConfig",
    "Section",
    "SessionsConfig",
    "SeverityConfig",
]


class Config(Section):
    """All settings."""

    ingest: IngestConfig = Field(default_factory=IngestConfig)
    embedding: EmbeddingConfig = Field(default_factory=EmbeddingConfig)
    sessions: SessionsConfig = Field(default_factory=SessionsConfig)
    profiles: ProfilesConfig = Field(default_factory=ProfilesConfig)
    coverage: CoverageConfig = Field(default_factory=CoverageConfig)
    scoring: ScoringConfig = Field(default_factory=ScoringConfig)
    clusters: ClustersConfig = Field(default_factory=ClustersConfig)
    alerts: AlertsConfig = Field(default_factory=AlertsConfig)
    bundles: BundlesConfig = Field(default_factory=BundlesConfig)
    run: RunConfig = Field(default_factory=RunConfig)
