"""distilwatch config"""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.commands import options
from pipelines.commands.groups import Group


@click.group(cls=Group, short_help="Show or check settings.")
def config() -> None:
    """Show or check settings.

    \b
    Example:
      distilwatch config show > settings.yaml
      distilwatch config check settings.yaml
    """


@config.command()
@options.config_file
@options.as_json
def show(config_path: Path | None, as_json: bool) -> None:
    """Print every setting with its meaning, as a file that --config accepts.

    \b
    Example:
      distilwatch config show > settings.yaml
    """
    import json

    from pipelines.config import describe, load_config

    settings = load_config(config_path)
    click.echo(
        json.dumps(settings.model_dump(mode="json"), indent=2) if as_json else describe(settings),
        nl=as_json,
    )


@config.command()
@click.argument("file", type=click.Path(path_type=Path))
@options.as_json
def check(file: Path, as_json: bool) -> None:
    """Check a settings file; list every mistake with its line and how to mend it.

    Files, servers and keys that it names are what `distilwatch doctor` looks at.

    \b
    Example:
      distilwatch config check settings.yaml
    """
    import json

    from pipelines.config import Config, load_config
    from pipelines.preflight import check_detectors

    settings = load_config(file)
    check_detectors(settings)
    changed = sorted(
        f"{name}.{field}"
        for name in Config.model_fields
        for field in type(getattr(settings, name)).model_fields
        if getattr(getattr(settings, name), field) != getattr(getattr(Config(), name), field)
    )
    if as_json:
        click.echo(json.dumps({"ok": True, "changed": changed}))
        return
    click.echo(f"{file} is right.")
    click.echo(f"Other than the defaults: {', '.join(changed) or 'nothing'}.")
    click.echo(f"What it names is looked at by: distilwatch doctor --config {file}")
