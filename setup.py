"""Installs pipelines, transforms and schemas, and the `distilwatch` command."""

from setuptools import find_packages, setup

COMPARED = [
    "bytewax>=0.21,<0.22",
    "matplotlib>=3.9",
    "pysad>=0.7,<0.8",
    "river>=0.26,<0.27",
    "threadpoolctl>=3",  # as many numerical threads for one as for the other
]
EXTRAS = {
    "gcp": [
        "apache-beam[gcp]>=2.77,<2.78",
        "google-cloud-bigquery>=3.30",
        "google-cloud-bigquery-storage>=2.27",
    ],
    # Needs nothing beyond the base; the name is kept so that the way to install a part does not
    # change when it comes to need something.
    "flink": [],
    # Spans of gateways in protobuf (their JSON needs nothing), and spans of our own.
    "otlp": [
        "opentelemetry-exporter-otlp-proto-http>=1.25",
        "opentelemetry-proto>=1.25",
        "opentelemetry-sdk>=1.25",
    ],
    "triage": [
        "authlib>=1.3",
        "itsdangerous>=2.2",
        "limits>=4",
        "markdown-it-py>=3",
        "python-multipart>=0.0.20",
        "starlette>=0.45",
        "uvicorn>=0.34",
    ],
    "sharing": [
        "oblivious>=7",
        "opendp>=0.14",
        "pymisp>=2.5",
        "rbcl>=1.1; sys_platform != 'win32'",
        "requests>=2.32",
        "starlette>=0.45",
        "stix2-validator>=3.2",
        "stix2>=3",
        "taxii2-client>=2.3",
        "uvicorn>=0.34",
    ],
    # What `python -m bench` compares with. quixstreams allows no newer pydantic than 2.13, so these
    # have a lock and an environment of their own: see the Makefile.
    "bench": [*COMPARED, "quixstreams>=3.28,<3.29"],
}
DEV = [
    *EXTRAS["gcp"],
    *EXTRAS["otlp"],
    *EXTRAS["triage"],
    *EXTRAS["sharing"],
    # engines and detectors of others, which the benches compare with
    *COMPARED,
    # servers and readers of others, which tests run what we make against
    "aiosmtpd",
    "axe-playwright-python",
    "medallion",
    "oidc-provider-mock",
    "playwright",
    "pycti",
    # tools
    "cyclonedx-bom",
    "filelock",
    "grafana-foundation-sdk",
    "hypothesis",
    "import-linter",
    "ipykernel",
    "jsonschema",
    "jupytext",
    "mkdocs-material",
    "mypy",
    "nbclient",
    "pandas",
    "pip-audit",
    "promql-parser",
    "pytest",
    "pytest-xdist",
    "python-hcl2",
    "ruff",
    "sqlglot",
    "types-PyYAML",
    "types-jsonschema",
    "uv",
]

setup(
    name="distilwatch",
    version="0.1.0",
    description="Finds adversarial distillation of large language models in request streams",
    license="Apache-2.0",
    python_requires=">=3.11,<3.13",
    packages=find_packages(
        include=["pipelines", "pipelines.*", "transforms", "transforms.*", "schemas", "schemas.*"]
    ),
    package_data={
        "pipelines": [
            "py.typed",
            "report/*.j2",
            "report/*.html",
            "report/*.css",
            "simulate/words/*",
            "triage/static/*",
            "triage/templates/*.j2",
        ],
        "transforms": [
            "py.typed",
            "ingest/words/*.txt",
            "alerts/policies/*.yaml",
            "alerts/policies/*.md",
        ],
        "schemas": ["py.typed", "generated/*", "generated/views/*", "views/*.sql"],
    },
    install_requires=[
        "apache-beam>=2.77,<2.78",
        "click>=8.1",
        "cryptography>=44",
        "duckdb>=1.4",
        "fastavro>=1.9",
        "httpx>=0.28",
        "jinja2>=3.1",
        "joblib>=1.4",
        "kafka-python>=3.0,<4",
        "msgspec>=0.19",
        "numpy>=2.0",
        "prometheus-client>=0.20",
        "orjson>=3.10",
        "pyarrow>=18",
        "pydantic>=2.10",
        "pyod>=3.6.7,<3.7",
        "pyyaml>=6",
        "rich>=13",
        "scikit-learn>=1.6",
        "scipy>=1.14",
    ],
    # `build` is what pyproject.toml builds with; it is named here to be locked, too.
    extras_require={**EXTRAS, "dev": DEV, "build": ["setuptools>=80", "wheel"]},
    entry_points={"console_scripts": ["distilwatch=pipelines.cli:main"]},
)
