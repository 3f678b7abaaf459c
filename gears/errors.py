"""What can go wrong, as the person meets it.

    GearsError              1   failed
    ├── UsageError          2   wrong words on the command line
    │   └── ProfileError    2   a site profile is wrong: `file: key: reason`
    ├── UnsafePath          1   a path too long, open to others, or somebody else's
    ├── MissingProgram      1   a program gears stands on is absent or too old
    ├── CommandFailed       1   a program we ran said no
    │   ├── CommandTimeout  1   … or said nothing in its time
    │   └── SubmissionRefused 1 the scheduler does not take the job
    ├── StartFailed         1   no way leads to the lab, for a reason that waiting does not mend
    ├── LoginNeeded         3   a person has to log in
    ├── NothingRunning      4   there is nothing to act on
    ├── NotReachable        5   no answer in the time allowed
    └── Interrupted       130   stopped by the person

Only `cli` turns these into exit codes. Each message ends with what to type next.
"""


class GearsError(Exception):
    """Root of the tree. `next` is the command to type, shown on a line of its own."""

    exit_code = 1

    def __init__(self, message: str, *, next: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.next = next

    def __str__(self) -> str:
        return f"{self.message}\n  next: {self.next}" if self.next else self.message


class UsageError(GearsError):
    """The command line can't be carried out as typed. Correct it and type it again."""

    exit_code = 2


class ProfileError(UsageError):
    """A site profile is wrong. Mend `key` in `file`; nothing was started."""

    def __init__(self, file: str, key: str, reason: str) -> None:
        super().__init__(f"{file}: {key}: {reason}")
        self.file, self.key, self.reason = file, key, reason


class UnsafePath(GearsError):
    """A directory or socket we would use is too long, writable by others, or not ours. Nothing was made."""


class MissingProgram(GearsError):
    """A program gears stands on is absent or too old. The message names the package."""


class CommandFailed(GearsError):
    """A program ended with an error. `stderr` holds its own words, `status` its exit status. Safe to repeat."""

    def __init__(self, message: str, *, stderr: str = "", status: int | None = None, next: str | None = None) -> None:
        super().__init__(message, next=next)
        self.stderr = stderr
        self.status = status


class CommandTimeout(CommandFailed):
    """A program did not end in its time and was killed. Safe to repeat."""


class SubmissionRefused(CommandFailed):
    """The scheduler does not take the job as it is: account, queue, limits. Its own words are in the message."""


class StartFailed(GearsError):
    """The hop to the lab host did not come up. What this start began has been ended; mend the cause and start again."""


class LoginNeeded(GearsError):
    """Somebody has to type a passcode, in a terminal."""

    exit_code = 3


class NothingRunning(GearsError):
    """There is no lab, hop or session to act on. Start one first."""

    exit_code = 4


class NotReachable(GearsError):
    """The lab did not answer in the time allowed. It may still come up: look at `gears status`."""

    exit_code = 5


class Interrupted(GearsError):
    """The person pressed Ctrl-C. What was started goes on or can be started again."""

    exit_code = 130
