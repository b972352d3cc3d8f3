"""A limit on time and memory for a function that may do anything."""

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    resource = None

SECONDS = 2.0
GIGABYTES = 2.0  # beyond what the process holds already


class TimeIsUp(BaseException):
    """Not an Exception, so that `except Exception` in the guarded code does not swallow it."""


@contextmanager
def limits(seconds: float = SECONDS, gigabytes: float = GIGABYTES) -> Iterator[None]:
    """Inside, a loop without end raises TimeIsUp, and a huge allocation fails as if memory were full.

    Time: the interpreter raises at its next step, on every system; one call into C that never returns is not
    interrupted. Memory: on Linux, where a process can bound its own address space; elsewhere the system decides.
    """
    with _time_limit(seconds), _memory_limit(gigabytes):
        yield


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    guarded = ctypes.c_ulong(threading.get_ident())
    finished = threading.Event()

    def watch():
        wait = seconds
        while not finished.wait(wait):
            ctypes.pythonapi.PyThreadState_SetAsyncExc(guarded, ctypes.py_object(TimeIsUp))
            wait = 0.25  # and again: code that catches everything goes on, until it is hit outside its try

    watcher = threading.Thread(target=watch, daemon=True)
    try:
        watcher.start()
        yield
    finally:
        while True:
            try:  # it may come between the last step of the guarded code and this one
                finished.set()
                watcher.join()
                # One raised and not yet delivered comes in these steps. To take it back, with a NULL in its place,
                # would leave the interpreter looking for it at every step, and stuck under a profiler or debugger.
                for _ in range(3):
                    pass
                break
            except TimeIsUp:
                pass


@contextmanager
def _memory_limit(gigabytes: float) -> Iterator[None]:
    statm = Path("/proc/self/statm")
    if resource is None or not statm.exists():
        yield
        return
    held = int(statm.read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = held + int(gigabytes * 2**30)
    bounds = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([wanted, *bounds]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def is_out_of_memory(error: BaseException) -> bool:
    """Python says it with a type of its own, torch with a RuntimeError."""
    return isinstance(error, MemoryError) or "allocate memory" in str(error)
