"""A slow disk: bytes of a mapped file that make the thread which first touches them stand still, as where they are read."""

from __future__ import annotations

import ctypes
import re
import signal
import time
from pathlib import Path

STEP_BYTES = 1 << 16  # come at once, as read-ahead has it
PROT_NONE, PROT_READ = 0, 1
SA_SIGINFO = 4
ADDRESS_AT = 16  # of si_addr in siginfo_t

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_kept: list[ctypes.Structure] = []  # handlers, which the kernel may call from now on
_Handler = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)


class _SigAction(ctypes.Structure):
    _fields_ = (
        ("handler", _Handler),
        ("mask", ctypes.c_ubyte * 128),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


def slow_down(path: Path, delay_s: float) -> None:
    """From now on the mapping of the file takes `delay_s` for each STEP_BYTES, once. For a process that ends with the test:
    SIGSEGV is its own from here."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    begin, end = (int(edge, 16) for edge in re.match(r"(\w+)-(\w+)", next(x for x in lines if str(path) in x)).groups())

    def come(_signal: int, info: int, _context: int) -> None:
        address = ctypes.c_void_p.from_address(info + ADDRESS_AT).value or 0
        if not begin <= address < end:
            # a fault of somebody else's: it happens again, and ends the process
            signal.signal(signal.SIGSEGV, signal.SIG_DFL)
            return
        time.sleep(delay_s)
        step = address // STEP_BYTES * STEP_BYTES
        first, last = max(step, begin), min(step + STEP_BYTES, end)
        _libc.mprotect(first, last - first, PROT_READ)

    action = _SigAction(_Handler(come), flags=SA_SIGINFO)
    _kept.append(action)
    assert _libc.sigaction(signal.SIGSEGV, ctypes.byref(action), None) == 0
    assert _libc.mprotect(begin, end - begin, PROT_NONE) == 0
