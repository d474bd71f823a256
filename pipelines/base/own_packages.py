"""Import our four packages before a user's folder or file of the same name, in the command and on Ray's workers.

Ray puts the folder in which a command is called in front of everything on its workers' search path, and `python -m`
does so in the command: a user's `cluster.py` or folder `pipelines` would stand in the place of ours.
"""

import sys
from importlib import import_module
from pathlib import Path

PACKAGES = ("mtlcore", "tune_spaces", "pipelines", "cluster")
_ROOT = Path(__file__).parents[2]


def import_own_packages() -> None:
    """Import the four packages from where this one lies; what is imported below them comes from there from then on."""
    sys.path.insert(0, str(_ROOT))
    try:
        for name in PACKAGES:
            import_module(name)
    finally:
        sys.path.remove(str(_ROOT))


def worker_environment() -> dict[str, str]:
    """Return the ``runtime_env`` that lets workers find our packages first; empty where nothing stands in their way.

    Ray runs a setup hook in a worker before it puts the driver's folders on the search path. It is asked for only
    where it is needed: workers that Ray has started already cannot be used with it.
    """
    searched = {Path.cwd(), Path(sys.argv[0]).resolve().parent} - {_ROOT}
    hidden = any(
        (folder / name).is_dir() or (folder / f"{name}.py").exists() for folder in searched for name in PACKAGES
    )
    return {"worker_process_setup_hook": f"{__name__}.{import_own_packages.__name__}"} if hidden else {}
