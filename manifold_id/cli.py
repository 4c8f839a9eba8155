"""The command `manifold-id`: it finds the benches' commands by entry point and imports one only when it is used."""

from __future__ import annotations

import errno
import os
import sys
import traceback
import warnings
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, NoReturn

import click

from manifold_id import __version__
from manifold_id.validation import unknown_name

ENTRY_POINTS = "manifold_id.commands"
WRITE_AGAIN = "write_report_again"  # function (folder) -> whether it is one of its own, of a module of commands
DEBUG = "MANIFOLD_ID_DEBUG"
_OTHER = "choose another path (--out of what is written)"
_REMEDIES = {
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), f"change the rights or {_OTHER}"),
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR), f"remove the file there or {_OTHER}"),
    errno.EISDIR: f"remove the folder there or {_OTHER}",
    errno.ENAMETOOLONG: _OTHER,
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), f"free space or {_OTHER}"),
}
_SMALLER = "make the data or the counts in the command and its file smaller"
_PACKAGES = ("manifold_id", "convex_bench", "nn_bench")


class CommandGroup(click.Group):
    """A group whose commands are the entry points of the group "manifold_id.commands".

    A user's mistake (ValueError, TypeError or RuntimeError raised by these packages, any OSError or MemoryError) is one
    line `error: ...` and exit code 2; with the environment variable MANIFOLD_ID_DEBUG=1 it keeps its traceback. Ctrl-C
    exits with code 130.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, without importing any."""
        return sorted({point.name for point in entry_points(group=ENTRY_POINTS)} | set(super().list_commands(ctx)))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command, None where there is none of that name."""
        for point in entry_points(group=ENTRY_POINTS, name=cmd_name):
            return _load(point)
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the first argument names; raises ValueError with the nearest name if there is none."""
        if args and not args[0].startswith("-") and args[0] not in (names := self.list_commands(ctx)):
            raise unknown_name("command", args[0], names)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; report errors and warnings as single lines."""
        with warnings.catch_warnings():
            if not os.environ.get(DEBUG):
                warnings.showwarning = _show_warning
            try:
                return super().invoke(ctx)
            except KeyboardInterrupt as stop:
                click.echo(f"\n{stop}" if str(stop) else "\nstopped", err=True)
                sys.exit(130)
            except (ValueError, TypeError, RuntimeError, OSError, MemoryError) as error:
                if os.environ.get(DEBUG) or not _is_users(error):
                    raise
                _fail(error)


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="manifold-id")
def main() -> None:
    """Manifold identification: which algorithms find the structure of the solution, when, and why."""


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path())
def report(folder: str) -> None:
    """Write the report of a results folder anew.

    DIR is the --out folder of a finished study, train, compare or tune.
    """
    place = Path(folder).expanduser()
    for name in sorted({point.value.partition(":")[0] for point in entry_points(group=ENTRY_POINTS)}):
        write_again = getattr(import_module(name), WRITE_AGAIN, None)
        if write_again is not None and write_again(place):
            return
    raise FileNotFoundError(
        f"{folder!r} is no results folder: name the --out folder of a study, train, compare or tune"
    )


def _load(point: EntryPoint) -> click.Command:
    command = point.load()
    if not isinstance(command, click.Command):
        raise TypeError(f"the entry point {point.value!r} of {ENTRY_POINTS!r} must be a click command")
    return command


def _is_users(error: Exception) -> bool:
    """Tell a mistake in the input, which our own checks raise, from a fault inside another library."""
    if isinstance(error, (OSError, MemoryError)):
        return True
    if isinstance(error, RecursionError):  # its frame is where the stack happened to end
        return False
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and frames[-1].f_globals.get("__name__", "").split(".")[0] in _PACKAGES


def _fail(error: Exception) -> NoReturn:
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        if remedy := _REMEDIES.get(error.errno or 0):
            text = f"{text}; {remedy}"
    elif isinstance(error, MemoryError):
        text = f"there is not enough memory ({text or 'no size is known'}): {_SMALLER}"
    click.echo(f"error: {' '.join(text.split())}", err=True)
    sys.exit(2)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    click.echo(f"warning: {' '.join(str(message).split())}", err=True)


if __name__ == "__main__":
    main()
