"""The command line: global options, the groups of commands, and errors as one line and an exit code."""

from __future__ import annotations

import errno
import os
import sys
from copy import copy
from inspect import getdoc
from typing import Annotated, Any

import typer

from marketjobs import __version__
from marketjobs.commands import (
    assets,
    cancel,
    data,
    fetch,
    imports,
    jobs,
    news,
    providers,
    queues,
    quotes,
    retention,
    run,
    session,
    setup,
    sync,
)

app = typer.Typer(
    name="marketjobs",
    help="Durable background jobs that keep a market-data store fresh and trustworthy.",
    no_args_is_help=True,
    rich_markup_mode=None,  # rich's help costs 250 ms
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        sys.stdout.write(f"marketjobs {__version__}\n")
        raise typer.Exit


@app.callback()
def options(
    config: Annotated[
        str | None,
        typer.Option("--config", metavar="FILE", help="Configuration file to use instead of the found one."),
    ] = None,
    verbose: Annotated[int, typer.Option("-v", "--verbose", count=True, help="Log what happens; show tracebacks.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    if config:
        # In the environment, so that processes which this one starts read the same file.
        os.environ["MARKETJOBS_CONFIG"] = os.path.abspath(config)  # noqa: PTH100
    if verbose:
        os.environ["MARKETJOBS_VERBOSE"] = str(verbose)
    session.OPTIONS.verbose = verbose
    session.OPTIONS.quiet = quiet


for group in (setup, run, fetch, sync, quotes, news, jobs, cancel, queues, data, assets, imports, providers, retention):
    group.register(app)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the ``marketjobs`` command."""
    if arguments is not None:
        sys.argv[1:] = arguments
    _prepare_streams()
    try:
        code = _run()
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has gone (`| head`): nothing is wrong, and nothing more can be said.
        _drop_output()
        code = 0
    except OSError as error:  # a full disk behind a redirection
        _drop_output()
        sys.stderr.write(f"marketjobs: the output can't be written: {error.strerror}\n")
        code = 1
    sys.exit(code)


def _prepare_streams() -> None:
    """A stream that was closed takes and drops all; a character that its encoding lacks becomes a question mark."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123  (for ever)
        stream = getattr(sys, name)
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _drop_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run() -> int:
    from marketjobs.errors import MarketJobsError

    try:
        return _code(_asked_for(sys.argv[1:])(standalone_mode=False))
    except MarketJobsError as error:
        _trace()
        session.show_error(error.cause, error.message, error.hint)
        code = session.exit_code(error)
        if code in (5, 130):
            session.leave(code)
        return code
    except (KeyboardInterrupt, typer.Abort):
        session.show_error("interrupted", "interrupted", None)
        session.leave(130)
        return 130
    except BrokenPipeError:
        return 0
    except SystemExit as leaving:
        # The parser turns a broken pipe into exit 1.
        return 0 if isinstance(leaving.__context__, BrokenPipeError) else _code(leaving.code)
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise  # the output can't be written: nothing more can be said there
        return _unexpected(error)


def _asked_for(words: list[str]) -> typer.Typer:
    """The app without the commands that these words do not begin with: Typer builds every one from its signature
    before it looks which is meant, which was a quarter of what a quick command cost."""
    if words[:1] in (["--help"], ["-h"], ["--version"]):
        return _names_only()
    commands = [one for one in app.registered_commands if one.name in words[:1]]
    groups = [one for one in app.registered_groups if one.name in words[:1]]
    if not commands and not groups:
        return app  # help of all, an option first, or a misspelt name that gets a suggestion
    few = copy(app)
    few.registered_commands, few.registered_groups = commands, groups
    return few


def _names_only() -> typer.Typer:
    """The app for the page that shows its commands' names and first sentences, so without their options."""
    bare = copy(app)
    bare.registered_commands = [copy(one) for one in app.registered_commands]
    for command in bare.registered_commands:
        command.help = getdoc(command.callback)
        command.callback = _nothing
    bare.registered_groups = [copy(one) for one in app.registered_groups]
    for group in bare.registered_groups:
        group.typer_instance = copy(group.typer_instance)
        group.typer_instance.registered_commands = []  # type: ignore[union-attr]
    return bare


def _nothing() -> None:
    """In place of a command that is only named."""


def _trace() -> None:
    """With ``-v``, where it came from."""
    if session.OPTIONS.verbose:
        import traceback

        sys.stderr.write(session.redacted(traceback.format_exc()))


def _unexpected(error: Exception) -> int:
    """A usage error of the command line's parser, or a defect of ours: one line either way."""
    show = getattr(error, "format_message", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stdout.write(f"{error.format_message()}\n")  # type: ignore[attr-defined]
        return 2
    if show is not None:
        context: Any = getattr(error, "ctx", None)
        hint = f"{context.command_path} --help" if context is not None else "marketjobs --help"
        session.show_error("usage", " ".join(show().split()), hint)
        return 2
    _trace()
    text = f"{type(error).__name__}: {' '.join(session.redacted(str(error)).split())}"[:300].rstrip(": ")
    session.show_error("internal_error", f"unexpected {text}", "run it again with -v to see where")
    return 1


def _code(value: Any) -> int:
    return value if isinstance(value, int) else 0
