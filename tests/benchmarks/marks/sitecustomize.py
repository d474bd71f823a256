"""Writes when some functions begin and end in any process of a command, into the folder that BENCHMARK_MARKS names.

Python imports this module by itself where its folder is on PYTHONPATH: nothing of what is measured knows of it.
"""

import functools
import importlib.abc
import importlib.util
import os
import sys
import time

FUNCTIONS = {
    "ray": ("init",),
    "pipelines.commands": ("ingested",),
    "pipelines.train.launch": ("train", "fit_runs"),
    "pipelines.train.worker_loop": ("train_runs", "open_training_data"),
    "pipelines.train.loop": ("build_state", "restore_latest"),
    "pipelines.train.step": ("Step.take",),
}


def mark(name):
    with open(os.path.join(os.environ["BENCHMARK_MARKS"], f"{os.getpid()}.txt"), "a") as file:
        file.write(f"{time.time():.4f} {name}\n")


def wrapped(function, name):
    said = []  # only the first call of a process is told

    @functools.wraps(function)
    def call(*args, **kwargs):
        first = not said
        said.append(True)
        if first:
            mark(f"{name} begins")
        try:
            return function(*args, **kwargs)
        finally:
            if first:
                mark(f"{name} ends")

    return call


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name not in FUNCTIONS:
            return None
        functions = FUNCTIONS.pop(name)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            mark(f"import {name} begins")
            execute(module)
            for function in functions:
                holder, _, attribute = function.rpartition(".")
                of = getattr(module, holder) if holder else module
                if hasattr(of, attribute):
                    setattr(of, attribute, wrapped(getattr(of, attribute), function))
            mark(f"import {name} ends")

        spec.loader.exec_module = exec_module
        return spec


if "BENCHMARK_MARKS" in os.environ:
    sys.meta_path.insert(0, Finder())
    mark("python begins")
