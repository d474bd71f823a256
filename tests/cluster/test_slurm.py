"""cluster/slurm.sh, run with stand-ins for Slurm's and Ray's commands: what it starts, passes on, and asks for."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "cluster" / "slurm.sh"
HOSTNAME = '[[ $1 == --short ]] && echo node1 || echo "10.0.0.1 fd00::1"'
NOTE = 'echo "$(basename "$0") $*" >> "$NOTES"\n'
# The steps are in the background: a run that ends at once would end them before they are noted.
STEPS_STARTED = 'until (($(grep -c "^srun" "$NOTES") == SLURM_JOB_NUM_NODES)); do sleep 0.02; done\n'
Allocation = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "notes"


@pytest.fixture
def allocation(tmp_path: Path, notes: Path) -> Allocation:
    """Starts the script as the batch script of a two-node allocation; ``run`` is what `kindred` does there."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "auth_token").write_text("a-token")

    def start(*arguments: str, run: str = "exit 0", nodes: int = 2) -> "subprocess.Popen[str]":
        # A step lasts until it is ended. The pipe of its caller is not held open by what it leaves behind.
        srun = NOTE + "exec > /dev/null 2>&1 < /dev/null; exec sleep 30"
        commands = {
            "srun": srun,
            "ray": "exit 0",
            "scontrol": NOTE,
            "kindred": NOTE + STEPS_STARTED + run,
            "hostname": HOSTNAME,
        }
        for name, body in commands.items():
            command = tmp_path / "bin" / name
            command.write_text(f"#!/usr/bin/env bash\n{body}\n")
            command.chmod(0o755)
        env = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "HOME": str(tmp_path), "NOTES": str(notes)}
        env |= {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": str(nodes), "SLURM_CPUS_PER_TASK": "8"}
        env |= {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "auth_token"), "KINDRED_ENVIRONMENT": str(tmp_path)}
        return subprocess.Popen(
            ["bash", SCRIPT, *arguments], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    return start


def noted(notes: Path, command: str) -> list[str]:
    lines = notes.read_text().splitlines() if notes.exists() else []
    return [line.partition(" ")[2] for line in lines if line.startswith(f"{command} ")]


def test_it_is_a_shells_and_shellcheck_finds_nothing() -> None:
    subprocess.run(["bash", "-n", SCRIPT], check=True)
    if checker := shutil.which("shellcheck"):
        subprocess.run([checker, SCRIPT], check=True)


def test_sbatch_reads_its_options_which_stand_before_the_first_command() -> None:
    lines = SCRIPT.read_text().splitlines()
    options = [number for number, line in enumerate(lines) if line.startswith("#SBATCH ")]
    first = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
    assert max(options) < first
    assert {"#SBATCH --requeue", "#SBATCH --open-mode=append"} <= set(lines)


@pytest.mark.parametrize("code", [0, 1, 2])
def test_one_ray_for_the_allocation_and_the_runs_exit_code(allocation: Allocation, notes: Path, code: int) -> None:
    process = allocation("my.yaml", "--set", "training.workers=2", run=f"exit {code}")
    process.communicate(timeout=20)
    assert process.returncode == code
    steps = noted(notes, "srun")
    (head,) = [step for step in steps if "--head" in step.split()]
    (workers,) = [step for step in steps if "--head" not in step.split()]
    assert "--nodelist=node1 " in head
    assert "--node-ip-address=10.0.0.1" in head
    assert "--exclude=node1" in workers
    assert "--address=10.0.0.1:20007" in workers
    (run,) = noted(notes, "kindred")
    assert run.startswith("run my.yaml --set storage.path=")
    assert run.endswith("--set training.workers=2")
    assert not noted(notes, "scontrol")


def test_one_node_has_no_step_for_workers(allocation: Allocation, notes: Path) -> None:
    allocation(nodes=1).communicate(timeout=20)
    (head,) = noted(notes, "srun")
    assert "--head" in head


# Says that it works; on SIGTERM it ends as `kindred run` does, in its own time.
WORKS = "trap 'echo saved; exit 143' TERM; echo works; while true; do sleep 0.05; done"


@pytest.mark.parametrize(
    ("sent", "again"), [(signal.SIGUSR1, ["requeue 7"]), (signal.SIGTERM, [])], ids=["time is up", "ended from outside"]
)
def test_the_run_is_let_end_in_order_and_goes_back_when_its_time_is_up(
    allocation: Allocation, notes: Path, sent: signal.Signals, again: list[str]
) -> None:
    process = allocation(run=WORKS)
    assert process.stdout is not None
    assert process.stdout.readline() == "works\n"
    process.send_signal(sent)
    said, _ = process.communicate(timeout=20)
    assert "saved" in said
    assert process.returncode == 143
    assert noted(notes, "scontrol") == again


def test_without_a_token_nothing_is_started(allocation: Allocation, notes: Path, tmp_path: Path) -> None:
    (tmp_path / "auth_token").unlink()
    process = allocation()
    _, said = process.communicate(timeout=20)
    assert process.returncode == 2
    assert "expected a file that" in said
    assert not notes.exists()
