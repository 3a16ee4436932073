"""What the exit code of a command means: a script needs nothing else."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of every command."""

    DONE = 0
    """A match, or done."""
    NO_MATCH = 1
    UNDECIDED = 2
    """Unknown or inconclusive."""
    BAD_INPUT = 3
    UNAVAILABLE = 4
    INTERRUPTED = 130


EXIT_CODES_HELP = """\b
Exit codes: 0 match, or done; 1 no match; 2 unknown or inconclusive; 3 bad input; 4 service unavailable.
Every command takes --help and --json."""
