"""A limit on time and memory for a function that may do anything."""

import contextlib
import ctypes
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

try:
    import resource
except ImportError:  # Windows
    resource = None

SECONDS = 2.0
GIGABYTES = 2.0  # beyond what the process holds already

T = TypeVar("T")


class TimeIsUp(BaseException):
    """Not an Exception, so that `except Exception` in the guarded code does not swallow it."""


def within_limits(call: Callable[[], T], seconds: float = SECONDS, gigabytes: float = GIGABYTES) -> T:
    """What call() returns. A loop without end raises TimeIsUp, a huge allocation fails as if memory were full.

    Time: the interpreter raises at its next step, on every system; one call into C that never returns is not
    interrupted. Memory: on Linux, where a process can bound its own address space; elsewhere the system decides.
    """
    with memory_limit(memory_held() + int(gigabytes * 2**30)):
        return _in_time(call, seconds)


def _in_time(call: Callable[[], T], seconds: float) -> T:
    """Nothing is raised any more once this has returned or raised, however late the machine gives a thread its turn.

    Python looks for what was raised after each call, so the steps that matter are single calls into C: they have
    happened when the exception comes.
    """
    ready, running, ended = (threading.Lock() for _ in range(3))
    guarded = ctypes.c_ulong(threading.get_ident())

    def watch() -> None:
        ready.acquire()
        wait = seconds
        while not running.acquire(timeout=wait):
            ctypes.pythonapi.PyThreadState_SetAsyncExc(guarded, ctypes.py_object(TimeIsUp))
            wait = 0.25  # and again: code that catches everything goes on, until it is hit outside its try
        ended.release()

    for lock in (ready, running, ended):
        lock.acquire()
    threading.Thread(target=watch, daemon=True).start()
    try:
        try:
            ready.release()
            return call()
        finally:
            running.release()
    finally:
        # One raised and not yet delivered comes in these steps. To take it back, with a NULL in its place, would
        # leave the interpreter looking for it at every step, and stuck under a profiler or debugger.
        try:
            ended.acquire()
            for _ in range(3):
                pass
        except TimeIsUp:
            pass


def memory_held() -> int:
    """Bytes of address space, where the system says (Linux)."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[0]) * resource.getpagesize() if statm.exists() else 0


@contextlib.contextmanager
def memory_limit(size: int) -> Iterator[None]:
    """Inside, the process has this many bytes of address space, where a process can bound its own (Linux)."""
    if not sys.platform.startswith("linux"):
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    bounds = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([size, *bounds]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def is_out_of_memory(error: BaseException) -> bool:
    """Python says it with a type of its own, torch with a RuntimeError."""
    return isinstance(error, MemoryError) or "allocate memory" in str(error)
