"""What these tests leave behind: commands that end leave their jobs at work, as they should."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.support.engines import cancel_jobs


@pytest.fixture(autouse=True)
def no_job_goes_on(request: pytest.FixtureRequest) -> Iterator[None]:
    cluster = request.getfixturevalue("flink") if "flink" in request.fixturenames else None
    yield
    if cluster is not None:
        with suppress(OSError):  # a test that failed may have left no job manager
            cancel_jobs(cluster)
