"""The peak of a process's memory."""

import resource
import sys
from pathlib import Path


def peak_memory() -> float:
    """Return the peak resident memory (MB) of this process since its program started.

    Linux says it in /proc; `getrusage` there also counts the moment before the program started, when the process
    still was a copy of its parent.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
