"""The errors of gears, each with its exit status.

    GearsError              1   failed
    ├── UsageError          2   invalid command line
    │   └── ProfileError    2   invalid site profile: `file: key: reason`
    ├── UnsafePath          1   a path is too long, open to others, or owned by another user
    ├── MissingProgram      1   a required program is missing or too old
    ├── CommandFailed       1   a program exited with an error
    │   ├── CommandTimeout  1   … or did not exit in time
    │   └── SubmissionRefused 1 the scheduler refused the job
    ├── StartFailed         1   the lab can't be reached, for a reason that waiting does not fix
    ├── LoginNeeded         3   the user has to log in
    ├── NothingRunning      4   nothing is running that the command could act on
    ├── NotReachable        5   no answer within the time limit
    ├── ContentsDiffer      6   a copy is not what its manifest says
    │   └── BrokenSeal      6   a manifest is not what was sealed
    ├── Incomplete          7   a copy is not complete; the same command goes on
    │   └── Paused          7   … it was asked to stop: its job is about to end
    └── Interrupted       130   interrupted by the user

Only `cli` turns these into exit codes. Each message ends with the next command to run.
"""


class GearsError(Exception):
    """Root of the tree. `next` is the next command to run, shown on a line of its own."""

    exit_code = 1

    def __init__(self, message: str, *, next: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.next = next

    def __str__(self) -> str:
        return f"{self.message}\n  next: {self.next}" if self.next else self.message


class UsageError(GearsError):
    """The command line is invalid. Correct it and run the command again."""

    exit_code = 2


class ProfileError(UsageError):
    """A site profile is invalid. Fix `key` in `file`; nothing was started."""

    def __init__(self, file: str, key: str, reason: str) -> None:
        super().__init__(f"{file}: {key}: {reason}")
        self.file, self.key, self.reason = file, key, reason


class UnsafePath(GearsError):
    """A path is too long, writable by others, or owned by another user. Nothing was created."""


class MissingProgram(GearsError):
    """A required program is missing or too old. The message names the package."""


class CommandFailed(GearsError):
    """A program exited with an error. `stderr` is its own message, `status` its exit status. Safe to repeat."""

    def __init__(self, message: str, *, stderr: str = "", status: int | None = None, next: str | None = None) -> None:
        super().__init__(message, next=next)
        self.stderr = stderr
        self.status = status


class CommandTimeout(CommandFailed):
    """A program did not exit in time and was killed. Safe to repeat."""


class SubmissionRefused(CommandFailed):
    """The scheduler refused the job: account, queue, limits. The message includes the scheduler's own."""


class StartFailed(GearsError):
    """The hop to the lab host did not come up. Everything this start began was ended; fix the cause and start again."""


class LoginNeeded(GearsError):
    """The user has to enter a passcode, in a terminal."""

    exit_code = 3


class NothingRunning(GearsError):
    """No lab, hop or session is running. Start one first."""

    exit_code = 4


class NotReachable(GearsError):
    """No answer within the time limit. The lab may still come up: see `gears status`."""

    exit_code = 5


class ContentsDiffer(GearsError):
    """A copy has lost files, or has other contents than its manifest says. Nothing was changed."""

    exit_code = 6


class BrokenSeal(ContentsDiffer):
    """A manifest was changed or damaged since it was sealed. It proves nothing; make the copy again."""


class Incomplete(GearsError):
    """A copy is not complete: it was interrupted, the disk is full, or files could not be read. Safe to repeat."""

    exit_code = 7


class Paused(Incomplete):
    """A copy stopped on request, since its job is about to end. What is finished stays. Safe to repeat."""


class Interrupted(GearsError):
    """The user pressed Ctrl-C. What was started keeps running or can be started again."""

    exit_code = 130
