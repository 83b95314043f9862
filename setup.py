"""Installs pipelines, transforms and schemas, and the `distilwatch` command."""

from setuptools import find_packages, setup

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
        ],
        "transforms": ["py.typed", "ingest/words/*.txt"],
        "schemas": ["py.typed", "generated/*"],
    },
    install_requires=[
        "apache-beam>=2.77,<2.78",
        "click>=8.1",
        "cryptography>=44",
        "duckdb>=1.4",
        "fastavro>=1.9",
        "jinja2>=3.1",
        "joblib>=1.4",
        "kafka-python>=3.0,<4",
        "msgspec>=0.19",
        "numpy>=2.0",
        "orjson>=3.10",
        "pyarrow>=18",
        "pydantic>=2.10",
        "pyod>=3.6.7,<3.7",
        "pyyaml>=6",
        "rich>=13",
        "scikit-learn>=1.6",
        "scipy>=1.14",
    ],
    extras_require={
        "gcp": ["apache-beam[gcp]>=2.77,<2.78"],
        "embeddings": ["sentence-transformers>=3"],
        # These three need nothing beyond the base today; the names are kept so that the way to
        # install a part does not change when it comes to need something.
        "flink": [],
        "triage": [],
        "sharing": [],
        "dev": [
            "hypothesis",
            "jsonschema",
            "mypy",
            "pip-tools",
            "pytest",
            "pytest-xdist",
            "ruff",
            "types-PyYAML",
            "types-jsonschema",
        ],
    },
    entry_points={"console_scripts": ["distilwatch=pipelines.cli:main"]},
)
