"""Every error that elkkit shows a person, and the exit codes.

ElkkitError                 what failed, why, and the next command
├── UsageError              2   wrong arguments, configuration, or input that is not what it should be
│   ├── ConfigError         2   a setting or a settings file is wrong
│   ├── InputError          2   a file, image, model or mask cannot be used
│   └── KqlError            2   a query cannot be asked (elkkit.kql); KqlSyntaxError: it is not KQL
├── StorageError            2   the disk or the file system refused
├── UnreachableError        3   a service did not answer, or not in time
├── ServiceError            3   a service answered that it failed, or cannot do what was asked
├── NotAllowedError         4   a service said no to these credentials
└── InternalError           70  elkkit itself is at fault
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What a command's exit status says."""

    DONE = 0
    NO = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_ALLOWED = 4
    INTERNAL = 70
    INTERRUPTED = 130


class ElkkitError(Exception):
    """Something that a person must read: what failed, why, and what to do next."""

    exit_code = ExitCode.INTERNAL
    code = "error"

    def __init__(self, message: str, *, why: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.why = why
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}: {self.why}" if self.why else self.message


class UsageError(ElkkitError):
    """The arguments, the configuration or the input are not what they should be."""

    exit_code = ExitCode.USAGE
    code = "usage"


class ConfigError(UsageError):
    """A setting or a settings file is wrong."""

    code = "config"


class InputError(UsageError):
    """A file, image, model or mask cannot be used."""

    code = "input"


class StorageError(ElkkitError):
    """The disk or the file system refused."""

    exit_code = ExitCode.USAGE
    code = "storage"


class UnreachableError(ElkkitError):
    """A service did not answer, or not in time."""

    exit_code = ExitCode.UNREACHABLE
    code = "unreachable"


class ServiceError(ElkkitError):
    """A service answered that it failed, or cannot do what was asked."""

    exit_code = ExitCode.UNREACHABLE
    code = "service"


class NotAllowedError(ElkkitError):
    """A service said no to these credentials."""

    exit_code = ExitCode.NOT_ALLOWED
    code = "not_allowed"


class InternalError(ElkkitError):
    """elkkit itself is at fault."""

    code = "internal"


def from_os_error(action: str, target: object, error: OSError, *, hint: str | None = None) -> ElkkitError:
    """Word an `OSError` for people; `action` is a verb phrase such as "read"."""
    import errno

    reason = error.strerror or str(error)
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    if full:
        hint = hint or "free some space, then run the same command again"
        return StorageError(f"cannot {action} {target}", why=reason, hint=hint)
    if error.errno in (errno.EIO, errno.EROFS):
        return StorageError(f"cannot {action} {target}", why=reason, hint=hint or "check the file system")
    if error.errno == errno.ENOENT:
        hint = hint or "check the path"
    elif error.errno == errno.EISDIR:
        hint = hint or f"name the files in it, for example {target}/*.log"
    elif error.errno in (errno.EACCES, errno.EPERM):
        hint = hint or f"see its owner and mode with: ls -ld {target}"
    return InputError(f"cannot {action} {target}", why=reason, hint=hint or "check the path and what it leads to")
