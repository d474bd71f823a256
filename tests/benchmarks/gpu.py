"""All that is to be known of training on a GPU, by one command in under eight minutes.

    python tests/benchmarks/gpu.py
    python tests/benchmarks/gpu.py --device cpu --quick      # the same in tiny, to know that it works

Each result is a line of JSON, printed and written to `--out` as it comes, so that a run that is cut short keeps what it
has; a table follows at the end. Rates that are compared are measured in turns, and ratios are medians over rounds.

    curves    the small CNN's losses on the GPU beside the CPU's; then bfloat16, compiled, compile: step, pieces, a
              bound on the gradient that none reaches and inputs that stay on the device, beside the GPU's own
    resume    a process that is killed with SIGKILL at a checkpoint and resumed ends with the same bits, with
              deterministic algorithms, with and without compile: step
    pairs     the step with 1 to 20 related pairs over the supervised step of as many tasks, small CNN
    libmtl    the rate beside LibMTL's Trainer, 2, 4 and 8 tasks, supervised losses alone (where LibMTL is installed)
    pipeline  the pipeline's rate over the same step on batches that are on the GPU already, and that step's over the
              supervised one: small CNN with 128 and 1,024 rows, ResNet-50 and ViT-S at 224 in bfloat16, with flip, crop
              and colour; the memory that each takes
    start     seconds from `kindred train` to the first step, beside a script that imports torch and makes one step

A section that no longer fits `--seconds` is left out, and a line says so.
"""

import argparse
import json
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

# Before torch: deterministic matrix products of a GPU need it.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
sys.path.insert(0, str(Path(__file__).parent))  # processes that are spawned look for this file's neighbours

import numpy as np
import torch
from made_case import made_case
from related_tasks import noise_batch, related_tasks
from torch import Tensor

# How far the losses of two curves may lie apart, relative to the loss, on the average of the steps.
TOLERANCE = {"bfloat16": 0.1}
VARIANTS = {
    "bfloat16": ["training.precision=bfloat16"],
    "compile": ["training.compile=true"],
    "compile: step": ["training.compile=step"],
    "accumulate": ["training.accumulate=4"],
    "clip_norm": ["training.clip_norm=1000"],
    "data: device": ["training.data=device"],
}
COLOUR = "training.augmentation={flip: 0.5, crop: 4, brightness: 0.2, contrast: 0.2, saturation: 0.2}"


class Bench:
    """What the sections share.

    Args:
        given: the command's.
        folder: for data and runs.
    """

    def __init__(self, given: argparse.Namespace, folder: Path) -> None:
        self.quick, self.folder, self.begun = given.quick, folder, time.perf_counter()
        self.device, self.seconds, self.libmtl = torch.device(given.device), given.seconds, given.libmtl
        self.results: list[dict[str, Any]] = []
        self._out = given.out.open("a")

    def tell(self, section: str, what: str, **values: Any) -> None:
        """Print a result, and keep it."""
        rounded = {k: round(v, 4) if isinstance(v, float) else v for k, v in values.items()}
        line = {"section": section, "what": what, **rounded, "at": round(time.perf_counter() - self.begun, 1)}
        self.results.append(line)
        for out in (sys.stdout, self._out):
            print(json.dumps(line), file=out, flush=True)
        os.fsync(self._out.fileno())

    def left(self) -> float:
        """Return how many seconds are left."""
        return float(self.seconds - (time.perf_counter() - self.begun))

    def case(self, name: str, rows: int, *settings: str, tasks: int = 2, related: bool = True, size: int = 32) -> Any:
        """Return a case with images of noise, ingested once for all its settings."""
        from pipelines.ingest.ingest import ingest, ingested

        kept = self.folder / name
        kept.mkdir(exist_ok=True)
        always = [f"training.device={self.device.type}", "training.schedule=constant", "training.seeds=[0]"]
        always += [f"storage.blocks={kept / 'blocks'}"]
        case = made_case(kept, rows, tasks, related=related, overrides=[*always, *settings], name=name, size=size)
        try:
            return case, ingested(case)
        except Exception:  # not yet
            from pipelines.base.ray_session import ray_session

            with ray_session():
                ingest(case)
            return case, ingested(case)

    def wait(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def train_here(
    case: Any, data_sets: Any, device: torch.device, store: str, on_progress: Any = None, seed: int = 0
) -> Path:
    """Train a case's first run in this process as one of Ray's workers does; return its folder."""
    from pipelines.experiment.run import list_runs
    from pipelines.train.assignment import WorkerAssignment
    from pipelines.train.data import open_training_data
    from pipelines.train.loop import train_run
    from pipelines.train.worker import Worker, allow_tf32

    allow_tf32(case.training.precision != "float32")
    run = replace(list_runs(case)[0], seed=seed)
    work = WorkerAssignment(case, (run,), data_sets, store, "benchmark", on_progress=on_progress)
    train_run(work, run, open_training_data(case, data_sets), Worker(device=device))
    return Path(run.folder(store))


def losses_of(folder: Path) -> np.ndarray:
    import pyarrow.parquet as pq

    from pipelines.experiment.run import HISTORY

    return np.asarray(pq.read_table(folder / HISTORY).column("loss"))


def apart(a: np.ndarray, b: np.ndarray) -> float:
    """Return the mean over steps of how far two losses lie apart, relative to the loss."""
    return float(np.mean(np.abs(a - b) / np.abs(b)))


def curves(bench: Bench) -> None:
    steps = 10 if bench.quick else 60
    settings = [f"training.steps={steps}", "training.batch_size=64"]

    def curve(name: str, device: torch.device, *more: str) -> np.ndarray:
        case, data_sets = bench.case("curves", 2048, *settings, *more)
        case = case.model_copy(update={"training": case.training.model_copy(update={"device": device.type})})
        return losses_of(train_here(case, data_sets, device, str(bench.folder / f"curve-{name}")))

    cpu = curve("cpu", torch.device("cpu"), "training.precision=float32")
    exact = curve("float32", bench.device, "training.precision=float32")
    bench.tell("curves", "float32 / the CPU's", apart=apart(exact, cpu), agrees=apart(exact, cpu) < 0.02)
    plain = curve("tf32", bench.device)
    bench.tell("curves", "tf32 / the CPU's", apart=apart(plain, cpu), agrees=apart(plain, cpu) < 0.02)
    for name, more in VARIANTS.items():
        found = apart(curve(name.replace(": ", "-"), bench.device, *more), plain)
        bench.tell("curves", f"{name} / tf32", apart=found, agrees=found < TOLERANCE.get(name, 0.02))


def killed_at(case: Any, data_sets: Any, device: str, store: str, step: int | None) -> None:
    """Train in a process of its own; kill it when the checkpoint of a step is written."""
    from pipelines.train.checkpoints.writer import CheckpointWriter

    torch.use_deterministic_algorithms(True)
    put = CheckpointWriter.put

    def put_and_die(writer: Any, checkpoint: Any) -> None:
        put(writer, checkpoint)
        if checkpoint.about.step == step:
            writer.flush()
            os.kill(os.getpid(), signal.SIGKILL)

    CheckpointWriter.put = put_and_die  # type: ignore[method-assign]
    train_here(case, data_sets, torch.device(device), store)


def resume(bench: Bench) -> None:
    import safetensors.torch

    from pipelines.experiment.run import WEIGHTS, list_runs

    spawn = multiprocessing.get_context("spawn")
    for name, more in {"plain": [], "compile: step": ["training.compile=step"]}.items():
        settings = ["training.steps=20", "training.checkpoints.every_steps=1", "training.batch_size=64"]
        case, data_sets = bench.case("curves", 2048, *settings, *more)
        whole, killed = (str(bench.folder / f"{kind}-{name[:4]}") for kind in ("whole", "killed"))
        codes = []
        for store, step in ((whole, None), (killed, 11), (killed, None)):
            process = spawn.Process(target=killed_at, args=(case, data_sets, bench.device.type, store, step))
            process.start()
            process.join()
            codes.append(process.exitcode)
        folders = [Path(list_runs(case)[0].folder(store)) for store in (whole, killed)]
        weights = [safetensors.torch.load_file(folder / WEIGHTS) for folder in folders]
        same = all(torch.equal(weights[1][key], weight) for key, weight in weights[0].items())
        same = same and np.array_equal(*(losses_of(folder) for folder in folders))
        resumed = "resumed with" in (folders[1] / "run.json").read_text()
        bench.tell("resume", name, same_bits=bool(same), was_killed=codes[1] == -signal.SIGKILL, resumed=resumed)


class BareStep:
    """A step on a batch of noise that is on the device already: what a worker does, without its data.

    Args:
        tasks: how many.
        pairs: how many of them the first one is related to, with DM, SCA and trust; 0: supervised losses alone.
        rows: of the batch.
        device: where.
        settings: of ``training``.
        backbone: as a case names it.
        size: height and width of the images.
        trusted: whether trust is estimated.
    """

    def __init__(
        self,
        tasks: int,
        pairs: int,
        rows: int,
        device: torch.device,
        settings: dict[str, Any],
        backbone: Callable[[tuple[int, ...]], tuple[torch.nn.Module, int]] | None = None,
        size: int = 32,
        trusted: bool = True,
    ) -> None:
        from mtlcore import (
            HeadInputs,
            JointLoss,
            MultiTaskNetwork,
            RelatednessProbe,
            RelatednessTrust,
            build_balancer,
            head_features,
            small_cnn,
        )
        from pipelines.batches.batch import MixedBatch
        from pipelines.case.training import Matching, Training
        from pipelines.case.unlabelled import Unlabelled
        from pipelines.optimization.optimizer import build_optimizer
        from pipelines.train.prepare import prepare
        from pipelines.train.state import TrainingState
        from pipelines.train.step import Step
        from pipelines.train.step_graphs import GpuRecorder
        from pipelines.train.worker import Worker, allow_tf32

        training = Training.model_validate({"steps": 1, "batch_size": rows, "device": device.type} | settings)
        allow_tf32(training.precision != "float32")
        all_tasks, related = related_tasks(tasks - 1, pairs)
        shape = (3, size, size)
        made = small_cnn(shape) if backbone is None else backbone(shape)
        network, channels_last = prepare(MultiTaskNetwork(*made, all_tasks), shape, training, Worker(device=device))
        joint_loss = JointLoss(all_tasks, related)
        trust = None
        if related and trusted:
            trust = RelatednessTrust([pair.relatedness for pair in related], head_features(network.heads)).to(device)
        replayed = training.compile == "step" and device.type == "cuda"
        optimizer = build_optimizer(training.optimizer, network, in_graphs=replayed)
        balancer = build_balancer("fixed", joint_loss.objective_names, [], [], seed=0)
        state = TrainingState(network, optimizer, balancer, trust)
        inputs = HeadInputs(network.heads).__enter__() if trust else None
        probe = RelatednessProbe(network, all_tasks)
        self.step = Step(state, network, joint_loss, training, Matching(), Unlabelled(), probe, inputs)
        if training.compile == "step":
            joint_loss.compile_terms()
            if trust:
                trust.compile_evidence()
            if replayed:
                self.step.replay(GpuRecorder(device))
        x, labels = noise_batch(all_tasks, rows, shape)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.batch = MixedBatch(
            x.to(device).contiguous(memory_format=layout), {name: y.to(device) for name, y in labels.items()}
        )

    def __call__(self) -> Tensor:
        return self.step.take(self.batch)[0]


def rates(bench: Bench, variants: dict[str, Callable[[], Any]], steps: int, rounds: int) -> dict[str, list[float]]:
    """Return steps a second of each variant in each round, in turns; the first round warms up."""
    found: dict[str, list[float]] = {name: [] for name in variants}
    for round_ in range(-1, rounds):
        for name, step in variants.items():
            for _ in range(3 if round_ >= 0 else 8):
                step()
            bench.wait()
            begun = time.perf_counter()
            for _ in range(steps):
                step()
            bench.wait()
            if round_ >= 0:
                found[name].append(steps / (time.perf_counter() - begun))
    return found


def ratio(over: list[float], under: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(over, under, strict=True))


def compilations(bench: Bench) -> list[bool | str]:
    return [False] if bench.quick and bench.device.type == "cpu" else [False, "step"]


def pairs(bench: Bench) -> None:
    steps, rounds = (2, 2) if bench.quick else (60, 3)
    counts = [1, 4] if bench.quick else [1, 2, 5, 10, 20]
    rows = 32 if bench.quick else 128
    for compiled in compilations(bench):
        for n in counts:
            settings = {"compile": compiled}
            makes = {"supervised": 0, "related": n}
            variants = {name: BareStep(n + 1, p, rows, bench.device, settings) for name, p in makes.items()}
            found = rates(bench, variants, steps, rounds)
            bench.tell(
                "pairs",
                f"{n} pairs, compile {compiled}",
                related_over_supervised=ratio(found["supervised"], found["related"]),
                ms=1000 / statistics.median(found["related"]),
            )


def libmtl(bench: Bench) -> None:
    import contextlib
    import io

    from against_libmtl import Feed, import_libmtl, libmtl_trainer

    from mtlcore import small_cnn

    try:
        library = import_libmtl(bench.libmtl)
    except ImportError as error:
        bench.tell("libmtl", "not here", why=str(error))
        return
    steps, rounds = (2, 1) if bench.quick else (60, 3)
    rows = 32 if bench.quick else 128
    for tasks in [2] if bench.quick else [2, 4, 8]:
        variants = {
            f"compile {compiled}": BareStep(tasks, 0, rows, bench.device, {"compile": compiled})
            for compiled in compilations(bench)
        }
        first = next(iter(variants.values())).batch
        names = {name: 10 if name == "hub" else 12 for name in first.labels}
        # LibMTL reads from a task's name whether it has classes.
        called = {name: "class" if name == "hub" else name for name in names}
        share = rows // tasks
        feeds = {}
        for i, (name, y) in enumerate(first.labels.items()):
            mine = slice(i * share, (i + 1) * share)
            batches = [(first.x[mine].contiguous(), y[mine] if name == "hub" else y[mine].float())]
            feeds[called[name]] = Feed(batches, steps)
        with contextlib.redirect_stdout(io.StringIO()):
            backbone, features = small_cnn((3, 32, 32))
            outputs = {called[name]: size for name, size in names.items()}
            trainer = libmtl_trainer(library, outputs, backbone, features, 1e-3, bench.device.type)

        def by_libmtl(trainer: Any = trainer, feeds: Any = feeds) -> float:
            begun_at = next(iter(feeds.values())).asked
            begun_at.clear()
            with contextlib.redirect_stdout(io.StringIO()):
                trainer.train(feeds, {name: Feed(feed.batches, 1) for name, feed in feeds.items()}, epochs=1)
            bench.wait()
            skipped = min(5, steps - 1)
            return (steps - skipped) / (begun_at[-1][0] - begun_at[skipped - 1][0])

        theirs = [by_libmtl() for _ in range(rounds + 1)][1:]
        ours = rates(bench, variants, steps, rounds)
        for name, of_variant in ours.items():
            bench.tell(
                "libmtl",
                f"{tasks} tasks, {name}",
                kindred_over_libmtl=ratio(of_variant, theirs),
                kindred=statistics.median(of_variant),
                libmtl=statistics.median(theirs),
            )


def pipeline(bench: Bench) -> None:
    import gpu_networks

    quick = bench.quick
    cnn = "network={backbone: small_cnn, widths: [32, 64, 128]}"
    networks = {
        "small CNN, 128": (cnn, None, 32, 32 if quick else 128, 2048 if quick else 8192, {}),
        "small CNN, 1024": (cnn, None, 32, 64 if quick else 1024, 2048 if quick else 8192, {}),
    }
    for name, big, tiny in (("ResNet-50", "resnet50", "tiny_resnet"), ("ViT-S", "vit_small", "tiny_vit")):
        backbone = tiny if quick else big
        networks[name] = (
            f"network={{backbone: 'gpu_networks:{backbone}'}}",
            getattr(gpu_networks, backbone),
            32 if quick else 224,
            8 if quick else 256,
            64 if quick else 1024,
            {"precision": "bfloat16"},
        )
    for name, (network, backbone, size, batch, rows, precision) in networks.items():
        if bench.left() < (0 if quick else 60):
            bench.tell("pipeline", name, left_out="no time")
            continue
        large = backbone is not None
        steps = 6 if quick else 30 if large else 200
        if bench.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        for compiled in compilations(bench):
            settings = {"compile": compiled} | precision
            variants = {
                "supervised": BareStep(2, 0, batch, bench.device, settings, backbone, size),
                "DM + SCA": BareStep(2, 1, batch, bench.device, settings, backbone, size, trusted=False),
                "DM + SCA + trust": BareStep(2, 1, batch, bench.device, settings, backbone, size),
            }
            found = rates(bench, variants, 2 if quick else 10 if large else 100, 1 if quick else 3)
            bare = statistics.median(found["DM + SCA + trust"]) * batch
            bench.tell(
                "pipeline",
                f"{name}, bare step, compile {compiled}",
                rows_a_second=bare,
                dm_sca_over_supervised=ratio(found["supervised"], found["DM + SCA"]),
                with_trust_over_supervised=ratio(found["supervised"], found["DM + SCA + trust"]),
            )
            del variants
            more = [network, COLOUR, f"training.steps={steps}", f"training.batch_size={batch}", "logging.every=5"]
            more += [f"training.{key}={str(value).lower()}" for key, value in settings.items()]
            more += ["training.checkpoints.every_s=1000"]
            for where in ["host"] if large else ["host", "device"]:
                case, data_sets = bench.case(f"pictures{size}", rows, *more, f"training.data={where}", size=size)
                marks: dict[int, float] = {}

                def told(at: Any, marks: dict[int, float] = marks) -> None:
                    bench.wait()
                    marks[at.step] = time.perf_counter()

                store = str(bench.folder / f"pipeline-{name}-{compiled}-{where}".replace(" ", ""))
                folder = train_here(case, data_sets, bench.device, store, told)
                first = 5 if quick else 10
                rate = (steps - first) * batch / (marks[steps] - marks[first]) if first in marks else float("nan")
                record = json.loads((folder / "run.json").read_text())
                bench.tell(
                    "pipeline",
                    f"{name}, data {where}, compile {compiled}",
                    rows_a_second=rate,
                    over_bare=rate / bare,
                    waited_for_data=record["waited_for_data_s"] / record["seconds"],
                )
        if bench.device.type == "cuda":
            bench.tell("pipeline", f"{name}, memory", gib=torch.cuda.max_memory_allocated() / 2**30)


def start(bench: Bench) -> None:
    bare = (
        f"import torch; d = torch.device({bench.device.type!r}); n = torch.nn.Linear(8, 8).to(d); "
        "n(torch.ones(4, 8, device=d)).sum().backward(); print(float(n.weight.grad.sum()))"
    )
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", bare], check=True, capture_output=True)
    alone = time.perf_counter() - begun
    bench.case("curves", 2048, "training.steps=100000")  # ingested already
    command = [sys.executable, "-m", "pipelines", "train", str(bench.folder / "curves" / "curves.yaml")]
    settings = [f"storage.blocks={bench.folder / 'curves' / 'blocks'}", "training.steps=1", "logging.every=1"]
    settings += [f"training.device={bench.device.type}", f"storage.path={bench.folder / 'start'}"]
    command += [part for setting in settings for part in ("--set", setting)]
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    first = None
    while process.poll() is None and time.perf_counter() - begun < 180:
        if first is None and list((bench.folder / "start").glob("*/runs/**/log.jsonl")):
            first = time.perf_counter() - begun
        time.sleep(0.05)
    code = process.poll()
    if code is None:
        os.killpg(process.pid, signal.SIGKILL)
    error = process.stderr.read().decode()[-500:] if process.stderr and code else ""
    ended = time.perf_counter() - begun
    bench.tell(
        "start", "train, one step", to_first_step=first, to_the_end=ended, bare_script=alone, code=code, error=error
    )


SECTIONS = {f.__name__: f for f in (curves, resume, pairs, libmtl, pipeline, start)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--quick", action="store_true", help="everything in tiny")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--seconds", type=float, default=470.0, help="after which no section begins")
    parser.add_argument("--libmtl", type=Path, help="the folder that LibMTL was installed into, if not on the path")
    parser.add_argument("--out", type=Path, default=Path("gpu.jsonl"))
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        sys.exit(f"no GPU here: torch {torch.__version__} sees none; --device cpu --quick tries everything without")
    failed = False
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        bench = Bench(given, Path(scratch))
        gpu = torch.cuda.get_device_name() if given.device == "cuda" else None
        bench.tell("machine", "this one", torch=torch.__version__, gpu=gpu, processors=len(os.sched_getaffinity(0)))
        for name in given.only:
            if bench.left() < 20:
                bench.tell(name, "left out", why="no time")
                continue
            try:
                SECTIONS[name](bench)
            except Exception as error:  # the others are worth having
                failed = True
                traceback.print_exc()
                bench.tell(name, "failed", error=f"{type(error).__name__}: {error}"[:500])
    print()
    for line in table(bench.results):
        print(line)
    wrong = [r for r in bench.results if r.get("agrees") is False or r.get("same_bits") is False]
    sys.exit(1 if failed or wrong else 0)


def table(results: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the results as lines for people."""
    for result in results:
        values = {k: v for k, v in result.items() if k not in ("section", "what", "at")}
        yield f"{result['section']:9} {result['what']:44} " + ", ".join(f"{k} {v}" for k, v in values.items())


if __name__ == "__main__":
    main()
