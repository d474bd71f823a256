"""Build what is published, and install it as a user does: in an environment of its own.

    python tests/wheel.py FOLDER

builds the wheel and the sdist into FOLDER, installs the wheel into FOLDER/environment, and prints the path of the
command `kindred` there. Dependencies are those of the running Python, seen through a .pth file: torch is not installed
a second time.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
PUBLISHED = ("mtlcore", "tune_spaces", "pipelines", "cluster", "docs", "tests", ".ci")


def build(folder):
    """Build from a copy of the sources, so that nothing that lies about in the checkout comes along."""
    copy = folder / "sources"
    for name in PUBLISHED:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ROOT.iterdir():
        if file.is_file():
            shutil.copy(file, copy)
    for kind in ("wheel", "sdist"):
        code = f"import sys; from setuptools.build_meta import build_{kind} as build; build(sys.argv[1])"
        subprocess.run([sys.executable, "-c", code, str(folder)], cwd=copy, check=True, capture_output=True)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


def install(wheel, folder):
    """Install a wheel into a new environment; return its command."""
    environment = folder / "environment"
    venv.create(environment, symlinks=True)
    python = environment / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, str(wheel)], check=True, env=outside())
    paths = {"base": str(environment), "platbase": str(environment)}
    site = Path(sysconfig.get_path("purelib", vars=paths))
    # A line of a .pth file comes after the environment's own packages, and the .pth files there are not read: an
    # editable install of the checkout stays out of sight.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment / "bin" / "kindred"


def outside():
    """Return the environment variables of a user: nothing of the checkout's, nothing of a running Ray's."""
    return {name: v for name, v in os.environ.items() if name != "PYTHONPATH" and not name.startswith("RAY_")}


if __name__ == "__main__":
    where = Path(sys.argv[1]).absolute()
    print(install(build(where)[0], where))
