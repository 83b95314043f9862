"""distilwatch known-texts"""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.commands import options
from pipelines.commands.groups import Group


@click.group(cls=Group, name="known-texts", short_help="Make or show collections of known texts.")
def known_texts() -> None:
    """Make or show collections of known texts, such as benchmarks and the prompts of a past
    extraction, for the setting ingest.known_texts.

    \b
    Example:
      distilwatch known-texts build --input benchmark/ --name our-benchmark --kind benchmark \\
        --out our-benchmark.known
    """


@known_texts.command()
@click.option(
    "--input",
    "inputs",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Texts: .jsonl, .csv or .txt files, also with .gz, or a folder of such. Repeat for "
    "several.",
)
@click.option("--name", required=True, metavar="NAME", help="What alerts call the collection.")
@click.option(
    "--kind",
    required=True,
    type=click.Choice(["benchmark", "extraction", "other"]),
    help="What it is a collection of: questions of a benchmark, prompts of an extraction.",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File for the collection; an older one is replaced.",
)
@click.option(
    "--field",
    default="text",
    show_default=True,
    metavar="NAME",
    help="Where the text is in objects of .jsonl and columns of .csv.",
)
@click.option(
    "--whole-files",
    is_flag=True,
    help="Take each .txt file for one text; without, each of its lines is one.",
)
@click.option(
    "--false-positives",
    type=click.FloatRange(1e-9, 0.1),
    default=1e-4,
    show_default=True,
    metavar="SHARE",
    help="Share of shingles of other texts that may be taken for known; fewer need a larger file.",
)
@options.as_json
def build(
    inputs: tuple[Path, ...],
    name: str,
    kind: str,
    out: Path,
    field: str,
    whole_files: bool,
    false_positives: float,
    as_json: bool,
) -> None:
    """Make a collection of known texts: a file with bits of hashes, and no text.

    \b
    Examples:
      distilwatch known-texts build --input benchmark/ --name our-benchmark --kind benchmark \\
        --out our-benchmark.known
      distilwatch known-texts build --input leaked.jsonl.gz --field instruction --name leak-1 \\
        --kind extraction --out leak-1.known
    """
    from functools import partial

    from pipelines import known_texts, preflight
    from pipelines.console import Console

    with Console(as_json) as console:
        look = preflight.Preflight()
        look.check(lambda: known_texts.check_name(name))
        files = [
            file
            for path in inputs
            for file in look.check(partial(known_texts.text_files, path)) or ()
        ]
        look.check(lambda: preflight.check_file_target(out, "--out"))
        look.finish()
        options = known_texts.BuildOptions(
            files, out, name, kind, field, whole_files, false_positives
        )
        summary = known_texts.build(options, console)
        then = ["name the file in the settings, under ingest.known_texts, for train and detect"]
        console.result(summary.as_dict(), summary.lines(), wrote=[str(out)], then=then)


@known_texts.command()
@click.argument("file", type=click.Path(path_type=Path))
@options.as_json
def show(file: Path, as_json: bool) -> None:
    """Verify a collection of known texts and show what it is.

    \b
    Example:
      distilwatch known-texts show our-benchmark.known
    """
    from pipelines.console import Console
    from pipelines.known_texts import summary_of

    with Console(as_json) as console:
        summary = summary_of(file)
        console.result(summary.as_dict(), summary.lines())
