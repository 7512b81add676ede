"""Errors that people read, and the exit codes that scripts read."""

from __future__ import annotations

EXIT_DONE = 0
EXIT_BAD_INPUT = 2
EXIT_FAILED = 3
EXIT_STOPPED = 130


class UserError(Exception):
    """Something the user can mend: a file, an option, a device.

    The message is one plain sentence that names the cause and the remedy. It is shown as it is in the panel, in the
    event stream and on the terminal, so it must make sense without a traceback.
    """

    kind = "input"
    exit_code = EXIT_BAD_INPUT


class NotEnoughMemory(UserError):
    """What was asked for does not fit into the device's memory; nothing has been computed."""

    kind = "memory"


class CannotWrite(UserError):
    """The disk is full or a folder refuses; what was written before stays as it was, and the job can be resumed."""

    kind = "disk"


class JobError(UserError):
    """A job that began and could not go on: too little memory, a loss that became NaN."""

    kind = "failed"
    exit_code = EXIT_FAILED


class OutOfMemory(JobError):
    """Memory ran out and there was no smaller way left to compute."""

    kind = "memory"


class Stopped(Exception):
    """The user asked the job to stop; raised inside the worker once everything worth keeping is on disk."""
