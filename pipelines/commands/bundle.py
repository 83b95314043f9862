"""distilwatch bundle"""

from __future__ import annotations

import json
from pathlib import Path

import click

from pipelines.commands import options
from pipelines.commands.groups import Group


@click.group(cls=Group, short_help="Choose which bundle of a folder counts.")
def bundle() -> None:
    """Choose which bundle of a folder counts, also for a stream that runs.

    A folder of bundles has a pointer, `current`. Give the folder to `detect --bundle`: a stream
    changes to the bundle that the pointer names, once that was verified and tried.

    \b
    Example:
      distilwatch train --input june.jsonl --bundle models/june --space-of models
      distilwatch bundle use models june
    """


@bundle.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("name")
@options.as_json
def use(folder: Path, name: str, as_json: bool) -> None:
    """Make NAME in FOLDER the bundle that counts, after it was verified.

    \b
    Example:
      distilwatch bundle use models june
    """
    from transforms.scoring.store import point_to

    version = point_to(folder, name)
    if as_json:
        click.echo(json.dumps({"bundle": str(folder / name), "bundle_version": version}))
    else:
        click.echo(f"{folder} points to {name}, bundle {version}.")


@bundle.command("list")
@click.argument("folder", type=click.Path(path_type=Path))
@options.as_json
def list_(folder: Path, as_json: bool) -> None:
    """List the bundles in FOLDER, with what is wrong with those that cannot be used.

    \b
    Example:
      distilwatch bundle list models
    """
    from schemas.errors import DistilwatchError
    from transforms.scoring.bundle import verify_bundle
    from transforms.scoring.store import bundle_folder, bundles_in, is_store

    if not folder.is_dir():
        raise DistilwatchError("there is no such folder", str(folder), "give a folder of bundles")
    counts = bundle_folder(folder) if is_store(folder) else None
    found = []
    for path in bundles_in(folder):
        one = {"name": path.name, "current": counts is not None and path.name == counts.name}
        try:
            one["bundle_version"] = verify_bundle(path)[0]["bundle_version"]
        except DistilwatchError as problem:
            one["problem"] = problem.what
        found.append(one)
    if as_json:
        click.echo(json.dumps(found))
        return
    for one in found:
        mark = "*" if one["current"] else " "
        click.echo(f"{mark} {one['name']}  {one.get('bundle_version') or one['problem']}")
    if not found and (folder / "manifest.json").exists():
        click.echo(f"No bundles in it: {folder} is one itself. Give the folder that it is in.")
    elif not found:
        click.echo("No bundles; `distilwatch train --bundle FOLDER/NAME` makes one.")
