"""Damaged files, for so many seconds: how many were read, told and refused, and what went wrong.

    python tests/benchmarks/hostile.py SECONDS [--seed N] [--only KIND]

Every damaged file is looked at in a process of its own, which may take 20 seconds and a gigabyte. Exits with 1 where
anything ended otherwise than with its rows or a message; what did so is kept below the temporary folder.
"""

import argparse
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.corpus.mutations import SEEDS, damaged, outcome_of
from tests.pipelines.ingest_case import FOLDER, REST, case_of, picture, write, write_what_every_case_needs

LONGEST_S, MOST_BYTES = 20, 1 << 30


def main() -> int:
    """Damage files until the time is over; print the tally."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="hostile-"))
    write_what_every_case_needs(scratch / "any")
    write(scratch / "any" / "pets" / "cat" / "1.png", picture(1))
    any_case = case_of(scratch / "any", scratch / "any", REST | {"pets": FOLDER})
    seeds = [seed for seed in SEEDS if given.only in seed.name]
    tally: Counter[tuple[str, str]] = Counter()
    wrong: Counter[str] = Counter()
    kept, number, until = scratch / "kept", 0, time.monotonic() + given.seconds
    while time.monotonic() < until:
        seed = seeds[number % len(seeds)]
        rng = np.random.Generator(np.random.PCG64([given.seed, number]))
        content = damaged(seed.files[seed.damaged], lambda low, high, rng=rng: int(rng.integers(low, high + 1)))
        came = in_process_of_its_own(any_case, scratch / "root", seed, content)
        kind = "read" if came == "read" else "told" if came.startswith("told") else "WRONG"
        tally[seed.name, kind] += 1
        if kind == "WRONG":
            wrong[f"{seed.name}: {came}"] += 1
            write(kept / f"{seed.name}-{number}" / Path(seed.damaged).name, content)
        number += 1
    for seed in seeds:
        parts = ", ".join(f"{kind} {tally[seed.name, kind]}" for kind in ("read", "told", "WRONG"))
        print(f"{seed.name:18} {parts}")
    for words, n in wrong.most_common():
        print(f"{n:4} {words}")
    print(f"{number} files, {sum(wrong.values())} wrong" + (f"; kept in {kept}" if wrong else ""))
    if not wrong:
        shutil.rmtree(scratch)
    return 1 if wrong else 0


def in_process_of_its_own(any_case, root, seed, content) -> str:
    """Return what came of a damaged file, as a line."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        signal.alarm(LONGEST_S)
        pages = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (pages + MOST_BYTES, pages + MOST_BYTES))
        try:
            came = outcome_of(any_case, root, seed, content)
            came = came if came == "read" else f"told {came}"
        except BaseException as error:  # whatever it is, it is what is looked for
            frames = traceback.extract_tb(error.__traceback__)
            ours = next((f for f in reversed(frames) if "/pipelines/" in f.filename), frames[-1])
            place = f"{Path(ours.filename).name}:{ours.lineno}"
            came = f"{type(error).__name__} at {place}: {str(error)[:160]}"
        os.write(writing, came.encode(errors="replace")[:4000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        words = pipe.read().decode(errors="replace")
    _, status = os.waitpid(child, 0)
    shutil.rmtree(root, ignore_errors=True)
    if os.WIFSIGNALED(status):
        return f"ended by signal {os.WTERMSIG(status)}"
    return " ".join(words.split())


if __name__ == "__main__":
    sys.exit(main())
