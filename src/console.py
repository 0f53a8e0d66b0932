"""What every command of the command line shares: a user's mistake as one clear line on stderr with exit code
2 and no traceback, and tables of text."""

import functools
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

from tabulate import tabulate

P = ParamSpec("P")
R = TypeVar("R")

TRACEBACK_VARIABLE = "TEMPOHAND_TRACEBACK"
EXIT_INCOMPLETE = 3  # results are written, but part of the input could not be read
# What a user's input causes. Anything else is this program's fault and keeps its traceback. Every OSError is
# one: a place that is not there or not to be written, a name that is too long, a full or failing disk.
USER_ERRORS = (ValueError, OSError)
LONGEST_NAME = 160  # characters of a file's name that a message shows


def in_flags(message: str, flags: dict[str, str]) -> str:
    """A message of the library, which names arguments in backquotes (`max_gap`), as a user of the command
    knows them (--max-gap).

    flags: name of an argument -> its flag. What has no flag stays.
    """
    return re.sub(r"`(\w+)`", lambda match: flags.get(match[1], match[0]), message)


def run_clearly(main: Callable[P, R]) -> Callable[P, R]:
    """Decorator of a command's main function: a user's error leaves as one line on stderr and exit code 2.

    Under Hydra it goes inside, nearest to the function (`@hydra.main(...)` above `@run_clearly`), since Hydra
    reports exceptions itself. With TEMPOHAND_TRACEBACK=1 in the environment exceptions pass through. An
    interrupt exits with 130, a closed pipe with 141, as shells expect.
    """

    @functools.wraps(main)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        # A file's name may hold what this terminal's encoding has not, as on stderr.
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        if os.environ.get(TRACEBACK_VARIABLE, "0") not in ("", "0"):
            return main(*args, **kwargs)
        try:
            return main(*args, **kwargs)
        # whoever read the output (head, less) has left; what Python still holds must not fail again at exit
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(141) from None
        except USER_ERRORS as error:
            print(f"error: {describe(error)} ({TRACEBACK_VARIABLE}=1 shows where)", file=sys.stderr)
            raise SystemExit(2) from None
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            raise SystemExit(130) from None

    return run


def describe(error: Exception) -> str:
    """An error as one line. What the system said of a file comes with the file's name, shortened in its
    middle where it is endless."""
    if isinstance(error, OSError) and error.strerror:
        name = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes, os.PathLike)) else ""
        half = LONGEST_NAME // 2
        name = name if len(name) <= LONGEST_NAME else f"{name[:half]}...{name[-half:]}"
        return " ".join((f"'{name}': {error.strerror}" if name else error.strerror).split())
    return " ".join(str(error).split()) or type(error).__name__


def text_table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    left: int = 1,
    style: str = "simple",
    widths: Sequence[int] | None = None,
) -> str:
    """A table of text: every cell as it is given, the first `left` columns aligned to the left and the
    others, which hold numbers, to the right.

    style: a format of tabulate, "simple" for a terminal, "github" for Markdown. widths: of each column at
    most, in characters; longer cells wrap.
    """
    columns = len(head)
    text = tabulate(
        rows,
        head,
        tablefmt=style,
        disable_numparse=True,
        colalign=["left"] * min(left, columns) + ["right"] * (columns - left),
        maxcolwidths=widths,
    )
    return "\n".join(line.rstrip() for line in text.splitlines())
