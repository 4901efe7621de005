"""The C library's heap, in a process of its own: what is freed goes back to the kernel."""

import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about glibc's heap")

PRELUDE = """
import ctypes
import os
from pathlib import Path
from bbhost.daemon.memory import bound_heap, give_heap_back

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
"""


def run(program: str) -> list[int]:
    """Run it after the prelude; return the numbers that it prints."""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + program], capture_output=True, text=True, check=True
    )
    return [int(word) for word in done.stdout.split()]


def heap_after_a_large_block(prepare: str) -> int:
    """By how many bytes the heap has grown for a block that comes after another was freed."""
    (grown,) = run(
        f"""
{prepare}
libc.free(libc.malloc(4 << 20))
libc.sbrk.restype = ctypes.c_void_p
before = libc.sbrk(0)
block = libc.malloc(2 << 20)
print(libc.sbrk(0) - before)
"""
    )
    return grown


def test_a_large_block_is_never_in_the_heap() -> None:
    assert heap_after_a_large_block("bound_heap()") == 0
    assert heap_after_a_large_block("") > 0, "glibc does not need to be told any more"


def test_what_is_free_between_what_stays_is_given_back() -> None:
    before, after = run(
        """
blocks = [libc.malloc(8192) for _ in range(4000)]
for block in blocks:
    ctypes.memset(block, 1, 8192)
for number, block in enumerate(blocks):
    if number % 100:
        libc.free(block)
print(resident())
give_heap_back()
print(resident())
"""
    )
    assert before - after > 20 << 20
