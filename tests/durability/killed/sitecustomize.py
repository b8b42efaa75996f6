"""Python imports this first in every process of a job that test_durability kills.

It counts the changes of a folder, of all processes together. At a given change it stops its own process, so
that the test can kill all of them at that point.
"""

import os
import signal
import sys

FOLDER = os.environ["KILLED_FOLDER"].rstrip("/") + "/"
COUNT, STOP = os.environ["KILLED_COUNT"], int(os.environ["KILLED_AT"])
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree")


def _watch(event, arguments):
    if event == "open":
        path, mode, flags = arguments
        changes = any(letter in (mode or "") for letter in "wax") or (flags or 0) & os.O_CREAT
    elif event in CHANGES:
        path, changes = arguments[0], True
    else:
        return
    if not changes or not str(path).startswith(FOLDER):
        return
    counted = os.open(COUNT, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(counted, f"{event} {str(path)[len(FOLDER) :]}\n".encode())
    os.close(counted)
    with open(COUNT, "rb") as file:
        reached = sum(1 for _ in file)
    if reached == STOP:
        os.kill(os.getpid(), signal.SIGSTOP)


sys.addaudithook(_watch)
