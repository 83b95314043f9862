"""Every setting of distilwatch: one YAML file, with defaults, checked as a whole.

A module for each stage. `pipelines.config.load_config` reads the file and reports mistakes;
`distilwatch config show` prints it with each setting's meaning.
"""

from __future__ import annotations

from pydantic import Field

from pipelines.settings.alerts import AlertsConfig, KnownTextsConfig, SeverityConfig
from pipelines.settings.base import Section
from pipelines.settings.bigquery import BigQueryConfig
from pipelines.settings.bundles import BundlesConfig
from pipelines.settings.clusters import ClustersConfig, LinkConfig, LinksConfig
from pipelines.settings.dataflow import DataflowConfig
from pipelines.settings.flink import FlinkConfig
from pipelines.settings.ingest import EmbeddingConfig, IngestConfig, RegistryConfig
from pipelines.settings.observe import ObserveConfig
from pipelines.settings.run import RunConfig
from pipelines.settings.scoring import DetectorConfig, ScoringConfig
from pipelines.settings.sessions import CoverageConfig, ProfilesConfig, SessionsConfig
from pipelines.settings.tables import TablesConfig
from pipelines.settings.triage import OidcConfig, ProxyConfig, RolesConfig, TriageConfig
from pipelines.settings.watch import SourceConfig, WatchConfig

__all__ = [
    "AlertsConfig",
    "BigQueryConfig",
    "BundlesConfig",
    "ClustersConfig",
    "Config",
    "CoverageConfig",
    "DataflowConfig",
    "DetectorConfig",
    "EmbeddingConfig",
    "FlinkConfig",
    "IngestConfig",
    "KnownTextsConfig",
    "LinkConfig",
    "LinksConfig",
    "ObserveConfig",
    "OidcConfig",
    "ProfilesConfig",
    "ProxyConfig",
    "RegistryConfig",
    "RolesConfig",
    "RunConfig",
    "ScoringConfig",
    "Section",
    "SessionsConfig",
    "SeverityConfig",
    "SourceConfig",
    "TablesConfig",
    "TriageConfig",
    "WatchConfig",
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
    tables: TablesConfig = Field(default_factory=TablesConfig)
    bigquery: BigQueryConfig = Field(default_factory=BigQueryConfig)
    watch: WatchConfig = Field(default_factory=WatchConfig)
    triage: TriageConfig = Field(default_factory=TriageConfig)
    bundles: BundlesConfig = Field(default_factory=BundlesConfig)
    run: RunConfig = Field(default_factory=RunConfig)
    observe: ObserveConfig = Field(default_factory=ObserveConfig)
    flink: FlinkConfig = Field(default_factory=FlinkConfig)
    dataflow: DataflowConfig = Field(default_factory=DataflowConfig)
