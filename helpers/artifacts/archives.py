"""Unpacking an archive that somebody else made."""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Collection
from pathlib import Path, PurePosixPath

from ..settings import CourseError, cannot_write, disk_is_full, one_line

LARGEST = 64 << 20
"""The size in bytes above which a file of an archive is refused; CIFAR-10's have 30 MiB."""


def unpack(
    archive: Path, into: Path, names: Collection[str], check: Callable[[Path, set[str]], None], title: str
) -> None:
    """Write some of an archive's files into a folder, and nothing else that the archive holds.

    The folder is there whole or not at all. Its mode and its files' follow the umask, so that everybody who
    shares the store can read them.

    Args:
        archive: a tar.gz file.
        into: the folder, whose name is that of the files' folder in the archive.
        names: the names of the files.
        check: gets the folder before it is put in its place, and the names of all folders in the archive; it
            raises an error if the files are not the right ones.
        title: what the messages call the archive.

    Raises:
        CourseError: the archive is damaged, or the folder cannot be written.
    """
    place = into.parent
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=".unpacking-") as scratch:
            made = Path(scratch) / place.name  # the scratch folder itself is closed to other users
            (made / into.name).mkdir(parents=True)
            check(made / into.name, _extract(archive, made / into.name, names, title))
            try:
                os.replace(made, place)
            except OSError:  # it exists
                if all((into / name).is_file() for name in names):
                    return  # another process was faster, and its copy is as good
                shutil.rmtree(place)  # somebody deleted a file from it
                os.replace(made, place)
    except OSError as error:
        raise cannot_write(place, error) from error


class _Header(tarfile.TarInfo):
    """The header of a member, refused if it announces a name of megabytes, which tarfile would hold."""

    @classmethod
    def frombuf(cls, *arguments):
        """Read a header."""
        found = super().frombuf(*arguments)
        if not found.isreg() and not found.isdir() and found.size > 1 << 16:
            raise tarfile.ReadError("a member's name is too long")
        return found


def _extract(archive: Path, folder: Path, names: Collection[str], title: str) -> set[str]:
    """Write the files of an archive that have one of the names, and return the names of all its folders.

    tarfile's own filter against links and paths that lead outside does not exist before Python 3.11.4. Here
    a member's path is never used: only plain files are read, and their names are given.
    """
    folders = set()
    try:
        with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r:", tarinfo=_Header) as tar:
            left = 8 * LARGEST
            for member in tar:
                left -= member.size
                if member.size > LARGEST or left < 0:
                    raise tarfile.ReadError("it holds far more than it should")
                path = PurePosixPath(member.name)
                folders.add(path.parent.name)
                packed = tar.extractfile(member) if member.isfile() else None
                if packed and path.parent.name == folder.name and path.name in names:
                    with open(folder / path.name, "wb") as file:
                        shutil.copyfileobj(packed, file)
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        if isinstance(error, OSError) and disk_is_full(error):
            raise
        raise CourseError(
            f"{title} is truncated or damaged ({one_line(error)}); delete it and fetch it again"
        ) from error
    return folders
