"""Resident memory of this process, as Linux counts it."""

import ctypes
import gc

MIB_OF_KIB = 1 / 1024


def _status(field):
    with open("/proc/self/status") as status:
        return MIB_OF_KIB * next(int(line.split()[1]) for line in status if line.startswith(field + ":"))


def peak():
    """The most it had since the start or the last reset, MiB."""
    return _status("VmHWM")


def reset_peak():
    """Returns unused memory to the system and counts the peak from here on."""
    gc.collect()
    # What the allocator holds back from earlier work would else count as needed.
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as clear:
        clear.write("5")


def extra_of(run):
    """The most `run()` needs beyond what was resident before it, MiB."""
    reset_peak()
    before = _status("VmRSS")
    run()
    return peak() - before
