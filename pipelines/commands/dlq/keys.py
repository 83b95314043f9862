"""distilwatch dlq rekey"""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.commands import options


@click.command()
@options.any_tables
@options.config_file
@options.as_json
def rekey(output: str, config_path: Path | None, as_json: bool) -> None:
    """Seal records under the newest key that an older one has sealed.

    Afterwards the older keys can be taken out of the variable of ingest.dead_letter_key_env.

    \b
    Example:
      distilwatch dlq rekey --output duckdb:///out.duckdb --config settings.yaml
    """
    from pipelines.config import load_config
    from pipelines.console import Console
    from pipelines.dead_letters.table import NEEDED, reseal
    from pipelines.fetched import at_hand
    from schemas.errors import DistilwatchError
    from transforms.ingest.sealing import letter_keys

    with Console(as_json) as console:
        config = load_config(config_path)
        keys = letter_keys(config.ingest.dead_letter_key_env)
        if keys is None:
            raise DistilwatchError(
                "no keys are configured", "ingest.dead_letter_key_env", "name their variable"
            )
        with at_hand(output, config, NEEDED, NEEDED[:1]) as path:
            anew, kept = reseal(path, keys)
        console.result(
            {"sealed_anew": anew, "kept": kept},
            [f"{anew:,} of {kept:,} kept records were sealed anew."],
        )
