"""What a step frees is there for the next: the system is not asked for it again."""

import platform
import subprocess
import sys

import pytest

_PAGES = """
import resource
import torch
from pipelines.training.heap import keep_freed_memory

if {keep}:
    keep_freed_memory()

before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for megabytes in range(10, 70, 3):  # larger than all that went before: glibc asks the system for each
    torch.ones(megabytes << 18)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_a_steps_memory_is_the_next_ones():
    def pages(keep):
        code = _PAGES.format(keep=keep)
        return int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)

    left_alone = pages(keep=False)
    assert pages(keep=True) < 0.5 * left_alone, "one growing block, not twenty"
