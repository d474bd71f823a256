"""Pack the project and what a GPU machine without a package index lacks beside torch, for tests/benchmarks/gpu.py.

    python tests/benchmarks/pack_for_gpu.py --python 3.12 --out for-gpu
    # there, from the folder that holds it:
    sh for-gpu/unpack.sh /tmp/kindred && cd /tmp/kindred/project && sh run.sh tests/benchmarks/gpu.py

The machine is taken to have Python, torch with CUDA, NumPy and what torch itself needs. Wheels are downloaded for its
Python by pip; compiled ones are its own, not this environment's. Ray's is packed without what training does not use:
jars, rllib, llm, serve, the dashboard's client; its binaries are stripped of symbols. All is one tar archive under xz,
in parts of `--part` MiB, `--most` MiB in all.
"""

import argparse
import io
import lzma
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

# What the benchmark imports that does not come with torch; each with the version of constraints.txt.
PACKAGES = [
    "ray", "torchjd", "torchmetrics", "lightning-utilities", "pydantic", "pydantic-core", "annotated-types",
    "typing-inspection", "typing-extensions", "tensorboardX", "protobuf", "filelock", "typer", "click", "shellingham",
    "rich", "markdown-it-py", "mdurl", "pygments", "annotated-doc", "jsonschema", "jsonschema-specifications",
    "referencing", "rpds-py", "attrs", "msgpack", "packaging", "pyyaml", "requests", "urllib3", "idna", "certifi",
    "charset-normalizer", "safetensors", "xxhash", "pillow", "fsspec", "psutil",
]  # fmt: skip
# Large, and often there already: packed with --with.
OPTIONAL = ("pyarrow", "pandas", "numpy", "matplotlib")
# LibMTL is measured beside; it needs nothing else that its code imports here.
PEERS = ["LibMTL==1.1.5"]
RAY_LEFT_OUT = (
    "ray/jars/", "ray/rllib/", "ray/llm/", "ray/dashboard/client/", "ray/serve/", "ray/core/generated/java",
    "ray/cpp/", "ray/_private/runtime_env/agent/thirdparty_files/aiohttp/_", "ray/thirdparty_files/memray",
)  # fmt: skip
RUN = """#!/bin/sh
# Run a Python file of the project with the packages that were unpacked beside it.
here=$(cd "$(dirname "$0")" && pwd)
export PYTHONPATH="$here:$here/../packages${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python3}" "$@"
"""
UNPACK = """#!/bin/sh
# Unpack into a folder: packages, and the project beside them.
set -e
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cat "$here"/pack.tar.xz.* | "${PYTHON:-python3}" -c \
"import sys, tarfile; tarfile.open(fileobj=sys.stdin.buffer, mode='r|xz').extractall(sys.argv[1], filter='tar')" "$1"
"""


def constraints(root: Path) -> list[str]:
    """Return how pip is told the versions that the project is tested with."""
    return ["--constraint", str(root / "constraints.txt")] if (root / "constraints.txt").is_file() else []


def download(packages: list[str], python: str, folder: Path, pins: list[str]) -> None:
    """Download wheels for another Python on 64-bit Linux."""
    platforms = [part for version in ("2_17", "2_28", "2_34") for part in ("--platform", f"manylinux_{version}_x86_64")]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", python, "--implementation", "cp", *platforms, "--platform", "manylinux2014_x86_64"]
    subprocess.run([*command, *pins, "--dest", str(folder), *packages], check=True)


def unpack(wheel: Path, packages: Path) -> None:
    """Unpack a wheel as pip would, but for scripts."""
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            name = member.filename
            if name.startswith(RAY_LEFT_OUT) or (
                ".data/" in name and "/purelib/" not in name and "/platlib/" not in name
            ):
                continue
            for place in ("/purelib/", "/platlib/"):
                name = name.split(place, 1)[1] if ".data/" in name and place in name else name
            target = packages / name
            if name.endswith("/"):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(member))
            if (mode := member.external_attr >> 16) & 0o111:
                target.chmod(mode & 0o777)


def strip(packages: Path) -> None:
    """Strip binaries of symbols, where there is a `strip`."""
    if shutil.which("strip") is None:
        return
    for file in packages.rglob("*"):
        if file.is_file() and not file.is_symlink() and file.stat().st_size > 100_000:
            with file.open("rb") as opened:
                is_elf = opened.read(4) == b"\x7fELF"
            if is_elf:
                subprocess.run(["strip", "--strip-unneeded", str(file)], check=False, capture_output=True)


def project_files(root: Path) -> list[Path]:
    """Return the project's tracked files, without what a benchmark does not read."""
    listed = subprocess.run(["git", "-C", str(root), "ls-files"], check=True, capture_output=True, text=True)
    left_out = ("docs/", "cluster/", ".ci/", ".github/")
    return [root / line for line in listed.stdout.splitlines() if not line.startswith(left_out)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default="3.12", help="the machine's Python")
    parser.add_argument("--out", type=Path, default=Path("for-gpu"))
    parser.add_argument("--with", dest="more", nargs="*", default=[], help=f"of {', '.join(OPTIONAL)}")
    parser.add_argument("--part", type=int, default=60, help="MiB of each part")
    parser.add_argument("--most", type=int, default=64, help="MiB in all")
    parser.add_argument("--preset", type=int, default=9, help="of xz: 0 is fast, 9 small")
    given = parser.parse_args()
    root = Path(__file__).resolve().parents[2]
    given.out.mkdir(parents=True, exist_ok=True)
    for old in given.out.glob("pack.tar.xz.*"):
        old.unlink()
    with tempfile.TemporaryDirectory() as scratch:
        wheels, packages = Path(scratch) / "wheels", Path(scratch) / "packages"
        download([*PACKAGES, *given.more], given.python, wheels, constraints(root))
        try:
            download(PEERS, given.python, wheels, [])
        except subprocess.CalledProcessError:
            print("LibMTL could not be downloaded; the benchmark leaves it out", file=sys.stderr)
        for wheel in sorted(wheels.iterdir()):
            unpack(wheel, packages)
        strip(packages)
        names = sorted(folder.name for folder in packages.glob("*.dist-info"))
        buffer = io.BytesIO()
        with (
            lzma.open(buffer, "wb", preset=given.preset) as compressed,
            tarfile.open(fileobj=compressed, mode="w|") as archive,
        ):
            archive.add(packages, "packages")
            for file in project_files(root):
                if file.is_file():
                    archive.add(file, f"project/{file.relative_to(root)}")
            script = RUN.encode()
            info = tarfile.TarInfo("project/run.sh")
            info.size, info.mode = len(script), 0o755
            archive.addfile(info, io.BytesIO(script))
    data, size = buffer.getvalue(), given.part << 20
    for i in range(0, len(data), size):
        (given.out / f"pack.tar.xz.{i // size:02d}").write_bytes(data[i : i + size])
    (given.out / "unpack.sh").write_text(UNPACK)
    print(f"{given.out}: {len(data) / 2**20:.1f} MiB, {len(names)} packages")
    if len(data) > given.most << 20:
        sys.exit(f"found {len(data) / 2**20:.1f} MiB; expected {given.most} at most")


if __name__ == "__main__":
    main()
