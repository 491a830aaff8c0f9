"""Resident memory of this process, as Linux counts it."""

import ctypes
import gc

MIB_OF_KIB = 1 / 1024


def _status(field):
    with open("/proc/self/status") as status:
        return MIB_OF_KIB * next(int(line.split()[1]) for line in status if line.startswith(field + ":"))


def peak():
    """The most it ever had, MiB."""
    return _status("VmHWM")


def extra_of(run):
    """The most `run()` needs beyond what was resident before it, MiB."""
    gc.collect()
    # What the allocator holds back from earlier work would else count as there before.
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as clear:
        clear.write("5")
    before = _status("VmRSS")
    run()
    return peak() - before
