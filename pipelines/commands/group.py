"""All commands, in the order of use.

Only click is imported here and in `pipelines.commands`; what a command needs is imported when it
runs, so that help and mistakes answer at once.
"""

from __future__ import annotations

import click

from pipelines.commands.alerts import alerts
from pipelines.commands.bundle import bundle
from pipelines.commands.completion import completion
from pipelines.commands.config import config
from pipelines.commands.demo import demo
from pipelines.commands.detect import detect
from pipelines.commands.dlq import dlq
from pipelines.commands.doctor import doctor
from pipelines.commands.evaluate import evaluate
from pipelines.commands.explain import explain
from pipelines.commands.forget import forget
from pipelines.commands.groups import Group
from pipelines.commands.known_texts import known_texts
from pipelines.commands.report import report
from pipelines.commands.share import share
from pipelines.commands.simulate import simulate
from pipelines.commands.tables import tables
from pipelines.commands.train import train
from pipelines.commands.triage import triage


def _version(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if not asked or context.resilient_parsing:
        return
    from pipelines.version import versions

    own, *others = versions().items()
    click.echo(" ".join(own))
    width = max(len(name) for name, _ in others)
    for name, number in others:
        click.echo(f"  {name:<{width}}  {number}")
    context.exit()


@click.group(
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done; 1 unexpected failure; 2 a mistake in the command, its settings or "
    "its input, named in one message; 130 interrupted. Results go to standard output, progress and "
    "messages to standard error.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Show the version and leave.",
)
def cli() -> None:
    """Finds adversarial distillation in streams of requests to language models.

    Start with `distilwatch demo`. Then, on your own requests: `train` on history, `detect` on the
    rest, `explain` what was found.
    """


for _command in (
    demo, simulate, train, bundle, detect, evaluate, report, explain, triage, alerts, dlq, share,
    tables, forget, known_texts, config, doctor, completion,
):  # fmt: skip
    cli.add_command(_command)
