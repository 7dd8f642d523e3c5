"""What something costs: processor seconds, and memory at its peak, in a process of its own."""

import gc
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

from threadpoolctl import threadpool_limits

GB = 1024**3
say = partial(print, flush=True)


def apart(function: Callable, *args, limit_gb: float | None = None):
    """Call a function of a module in a new process, on one thread, and return what it returns.

    Parameters
    ----------
    limit_gb : float, optional
        Memory that the process may ask for, in units of 2^30 bytes. None for no limit.

    Raises
    ------
    MemoryError
        It needs more than the limit, or the system stopped it.
    """
    # "spawn": a fresh interpreter, which has inherited no memory.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(_limited, function, args, limit_gb).result()
        except BrokenProcessPool:
            raise MemoryError("the process was stopped from outside") from None


def _limited(function, args, limit_gb):
    if limit_gb is not None:
        resource.setrlimit(resource.RLIMIT_AS, (int(limit_gb * GB),) * 2)
    with threadpool_limits(1):
        return function(*args)


def cost(call: Callable) -> tuple[object, float, float, float]:
    """Call, and return the result, its processor seconds, the peak memory in GB, and the memory it began with.

    Processor time, because the wall clock also counts whoever else uses the machine; on one thread that has a core to
    itself the two are the same.
    """
    gc.collect()  # what is no longer needed is no part of it
    _reset_peak()
    before, start = resident(), time.process_time()
    result = call()
    seconds = time.process_time() - start
    return result, seconds, max(_peak(), before), before


def resident() -> float:
    """Memory of this process now, in GB; where there is no /proc, the most it has had so far."""
    return _status("VmRSS") or _maxrss()


def _peak() -> float:
    return _status("VmHWM") or _maxrss()


def _status(field: str) -> float | None:
    path = Path("/proc/self/status")
    if not path.exists():
        return None
    [line] = [line for line in path.read_text().splitlines() if line.startswith(field + ":")]
    return int(line.split()[1]) * 1024 / GB


def _maxrss() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / GB


def _reset_peak() -> None:
    """Let the peak begin anew, where the system can (Linux): else an earlier, higher one would hide this one."""
    path = Path("/proc/self/clear_refs")
    if path.exists():
        path.write_text("5")
