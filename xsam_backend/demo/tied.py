"""``python tied.py PARENT COMMAND...``: becomes COMMAND, and ends with the process PARENT, however that one ends.

A demo that is killed leaves no servers behind then. Only Linux can do this; elsewhere it's just the command. Nothing
of the package is imported, so that the file can be run by itself.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """See the module's words."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it ended before we could ask
            sys.exit(1)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
