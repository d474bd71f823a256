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

def step():
    layers = [torch.ones(5_000_000) for _ in range(9)]  # 20 MB each

for _ in range(5):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_a_steps_memory_is_the_next_ones():
    def pages(keep):
        code = _PAGES.format(keep=keep)
        return int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)

    left_alone = pages(keep=False)
    assert left_alone > 10_000, "why it is done"
    assert pages(keep=True) < 0.05 * left_alone
