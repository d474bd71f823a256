"""What a step frees is there for the next: the system is not asked for it again."""

import os
import platform
import subprocess
import sys

import pytest

from pipelines.train.malloc import HEAP_ENVIRONMENT

_PAGES = """
import resource
import sys
import threading
import torch
from pipelines.train.malloc import disable_malloc_trim

def steps():  # as Ray Train does, in a thread
    if sys.argv[1] == "keep":
        disable_malloc_trim()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for megabytes in range(10, 100, 5):  # larger than all that went before: glibc asks the system for each
        torch.ones(megabytes << 18)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

thread = threading.Thread(target=steps)
thread.start()
thread.join()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_a_steps_memory_is_the_next_ones():
    def pages(what, environment):
        command = [sys.executable, "-c", _PAGES, what]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | environment)
        return int(done.stdout)

    left_alone = pages("leave", {})
    assert left_alone > 10_000, "why it is done"
    assert pages("keep", HEAP_ENVIRONMENT) < 0.5 * left_alone, "one growing block, not eighteen"
    assert pages("keep", {}) > 0.5 * left_alone, "why the environment is needed"
