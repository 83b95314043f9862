"""The command `distilwatch`: what it says of errors, and the code that it ends with.

Nothing that imports more than Python's own is imported here, so that whoever interrupts it while it
starts gets a word and no traceback. The commands are in `pipelines.commands`.
"""

from __future__ import annotations

import io
import json
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence

from pipelines import interrupts, log_form, numerical_threads

OK, UNEXPECTED, MISTAKE, INTERRUPTED = 0, 1, 2, 130

numerical_threads.only_one()

# Google's libraries tell at every import how long they will go on supporting this Python, which is
# nothing that somebody who runs a command can act on.
warnings.filterwarnings("ignore", category=FutureWarning, module=r"google\.api_core")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those it was made from; a runner may have wrapped ours."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _interrupted(error: BaseException) -> bool:
    """Whether it was Ctrl-C; an import that is interrupted may end in an error of its own."""
    return any(isinstance(cause, KeyboardInterrupt) for cause in _chain(error))


def _say(as_json: bool, kind: str, message: str, **more: str) -> None:
    if as_json:
        print(json.dumps({"error": {"kind": kind, "message": message}}), flush=True)
        return
    if log_form.is_json():
        from pipelines.observe.logs import line

        print(line("error", message, kind=kind, **more), file=sys.stderr, flush=True)
        return
    from schemas.errors import printable

    red, plain = ("\033[31;1m", "\033[0m") if sys.stderr.isatty() else ("", "")
    shown = printable(message, "\n")
    print(f"{red}error:{plain} {shown}", file=sys.stderr, flush=True)


def run(args: Sequence[str]) -> int:
    """Runs one command and returns its exit code; never raises.

    Args:
      args: command line without the program's name.
    """
    own = list(args[: args.index("--")] if "--" in args else args)
    as_json = "--json" in own
    log_form.set_form("text")  # until the settings are read
    try:
        return _run(args, as_json)
    except BrokenPipeError:
        # The reader of our output has left; Python would complain again when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except BaseException as error:
        if _interrupted(error):
            _say(as_json, "interrupted", "interrupted")
            return INTERRUPTED
        if not isinstance(error, Exception):
            raise
        return _failed(error, as_json)


def _run(args: Sequence[str], as_json: bool) -> int:
    try:
        import click

        from pipelines.commands.group import cli
        from schemas.errors import printable
    except ImportError as problem:
        if _interrupted(problem):
            raise
        _say(as_json, "unexpected", f"distilwatch is not installed as a whole: {problem}")
        return UNEXPECTED
    try:
        code = cli.main(list(args), prog_name="distilwatch", standalone_mode=False)
    except click.UsageError as mistake:
        if as_json:
            _say(True, "mistake", mistake.format_message())
        else:
            shown = io.StringIO()
            mistake.show(shown)
            print(printable(shown.getvalue(), "\n\t"), end="", file=sys.stderr, flush=True)
        return MISTAKE
    except click.ClickException as mistake:
        _say(as_json, "mistake", mistake.format_message())
        return MISTAKE
    except click.Abort:
        raise KeyboardInterrupt from None
    return code if isinstance(code, int) else OK


def _failed(error: Exception, as_json: bool) -> int:
    from pipelines.extras import missing_extra
    from schemas.errors import DistilwatchError, plain, told_by_a_worker

    for cause in _chain(error):
        ours = cause if isinstance(cause, DistilwatchError) else told_by_a_worker(cause)
        ours = ours or missing_extra(cause)
        if ours is not None:
            _say(as_json, "mistake", plain(str(ours)))
            return MISTAKE
    what = f"unexpected failure: {type(error).__name__}: {error}"
    if log_form.is_json():
        where = "".join(traceback.format_exception(error))
        _say(False, "unexpected", what, traceback=where)
        if as_json:
            _say(True, "unexpected", what)
        return UNEXPECTED
    traceback.print_exception(error)
    _say(
        as_json,
        "unexpected",
        f"{what}\n  The lines above say where. Please report them, with `distilwatch --version`.",
    )
    return UNEXPECTED


def main() -> None:
    """Entry point of the installed command."""
    # Google's libraries foretell the end of every Python version, each of them at every start.
    warnings.filterwarnings("ignore", "You are using a Python version", FutureWarning)
    interrupts.remember()
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
