"""Services that tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.services import KafkaBroker, ServiceError, kafka_libs, prism_location


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaBroker]:
    """One real Kafka broker for the whole session."""
    try:
        kafka_libs()
    except ServiceError as missing:
        pytest.skip(str(missing))
    with KafkaBroker() as broker:
        yield broker


@pytest.fixture(scope="session")
def prism() -> Path:
    """The Prism binary."""
    try:
        return prism_location()
    except ServiceError as missing:
        pytest.skip(str(missing))
