"""Settings reach the parts that they are about."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import PortableOptions

from pipelines.config import load_config
from pipelines.parts import discovery_rates, embedded_pipeline, link_options, prism_options
from transforms.alerts.control import Rates
from transforms.clusters.links import LinkOptions
from transforms.coverage.layout import Items


def test_the_default_settings_are_the_defaults_of_linking() -> None:
    assert link_options(load_config(None)) == LinkOptions()


def test_a_setting_changes_how_accounts_are_linked() -> None:
    config = load_config(
        None, {"clusters.links.network.weight": 0.25, "clusters.min_link_weight": 0.9}
    )
    options = link_options(config)
    assert options.kinds[Items.NETWORK].weight == 0.25
    assert options.least_weight == 0.9


def test_a_stream_on_prism_is_not_cut_off_after_beams_five_minutes() -> None:
    options = prism_options("127.0.0.1:1", [], True).view_as(PortableOptions)
    assert options.job_server_timeout > 365 * 86_400
    asked = prism_options("127.0.0.1:1", ["--job_server_timeout=9"], True)
    assert asked.view_as(PortableOptions).job_server_timeout == 9


def test_a_pipeline_that_never_ran_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with suppress(KeyboardInterrupt), embedded_pipeline("direct", []):
        assert list(tmp_path.iterdir())
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_trusted_labs_have_a_share_of_the_rate_by_their_trust() -> None:
    labs = [{"name": "b", "trust": 0.6}, {"name": "a", "trust": 0.2}, {"name": "c", "trust": 0}]

    def found(watch: dict[str, object]) -> Rates:
        return discovery_rates(
            load_config(None, {"alerts.false_discovery_rate": 0.2, "watch": watch})
        )

    everybody, sources = found({"list": "watch.json", "sources": labs})
    assert everybody == pytest.approx(0.18)
    assert dict(sources) == pytest.approx({"a": 0.005, "b": 0.015})
    assert [name for name, _ in sources] == ["a", "b"]
    # Without a list, or anybody who is believed, nothing is kept for them.
    for watch in ({"sources": labs}, {"list": "watch.json"}, {"list": "w", "sources": labs[2:]}):
        assert found(watch) == Rates(0.2)
