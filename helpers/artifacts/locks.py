"""Locks between processes: files that the operating system locks for a process, and releases when it ends.

The locks are filelock's, which uses flock on Unix. On a network file system they work between machines if
that file system has locks (NFS, and Lustre mounted with ``flock``). If it has none, nobody waits: artifacts
are whole all the same, but two processes may both make one. Only ``sole`` is written by hand.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock

from .. import settings
from ..settings import CourseError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
"""The errors of a file system without locks."""


@contextmanager
def locked(lock: Path, what: str = "", meanwhile: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold a lock file, and remove it afterwards; other processes and threads that want it wait.

    A process that dies releases the lock, so a dead owner blocks nobody.

    Args:
        lock: the file.
        what: what the lock protects, for the message to a person whose process has to wait.
        meanwhile: called before this process waits for another one.
    """
    held = _lock(lock)
    if not _acquire(held, wait=False):
        if meanwhile:
            meanwhile()
        settings.note(
            f"another process is making {what}; waiting for it" if what else "waiting for another process"
        )
        _acquire(held, wait=True)
    try:
        yield
    finally:
        # The file goes before the lock. filelock notices when it has locked a removed file, and tries again.
        with suppress(OSError):
            lock.unlink()
        held.release()


@contextmanager
def claimed(lock: Path, wait: bool) -> Iterator[bool]:
    """Hold a lock file if nobody else does, and keep the file.

    Args:
        lock: the file.
        wait: whether to wait for the process that holds it.

    Yields:
        Whether this process holds it.
    """
    held = _lock(lock)
    mine = _acquire(held, wait)
    try:
        yield mine
    finally:
        held.release()


@contextmanager
def sole(lock: Path, otherwise: str) -> Iterator[int | None]:
    """Hold a lock file that nobody waits for, and keep the file.

    This uses flock itself, because filelock does not hand out its descriptor: a child process that inherits
    the descriptor goes on holding the lock when this process ends.

    Args:
        lock: the file.
        otherwise: the error message if another process holds it.

    Yields:
        The descriptor that holds the lock, to be passed to a child process; None where there is no flock.

    Raises:
        CourseError: another process holds it.
    """
    if fcntl is None:
        yield None
        return
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CourseError(otherwise) from error
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(file: Path) -> filelock.BaseFileLock:
    # Without a fallback: its marker files would outlive a process that is killed. The umask decides whether
    # others of the group may lock the file too, as it does for all files of the store.
    return filelock.FileLock(file, mode=0o666, fallback_to_soft=False)


def _acquire(lock: filelock.BaseFileLock, wait: bool) -> bool:
    """Take a lock, and return False if another process holds it.

    Where there are no locks, act as if this process held it.
    """
    try:
        lock.acquire(blocking=wait)
    except filelock.Timeout:
        return False
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    return True
