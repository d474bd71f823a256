"""The objects of one kind by name: built in, of an installed package (an entry point), or ``package.module:object``."""

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from mtlcore.suggestions import did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """Every metric, say: those that are built in, and where a user's own are found.

    A name is looked up in this order: the built-in names; the entry points of installed packages in ``group``; where
    it holds a colon, ``package.module:object`` is imported. Importing runs a module's code: a name from somebody else
    is somebody else's code.

    Args:
        noun: what an entry is, for messages: ``"metric"``.
        group: the entry points' group: ``"kindred.metrics"``.
        built_in: the built-in entries by name; text ``package.module:object`` is imported when it is asked for.

    Example:
        >>> functions = Registry("function", "kindred.functions", {"up": str.upper, "join": "os.path:join"})
        >>> functions["join"]("a", "b"), functions["math:sqrt"](4.0)
        ('a/b', 2.0)
        >>> functions["upp"]
        Traceback (most recent call last):
            ...
        ValueError: found 'upp', no such function; did you mean 'up'? (or your own: package.module:object)
    """

    def __init__(self, noun: str, group: str, built_in: Mapping[str, T | str]) -> None:
        self.noun = noun
        self.group = group
        self.built_in = dict(built_in)

    def __contains__(self, name: object) -> bool:
        return name in self.built_in

    def names(self) -> list[str]:
        """Return the names of all built-in entries and of all installed packages' entry points."""
        return list(dict.fromkeys([*self.built_in, *(point.name for point in entry_points(group=self.group))]))

    def check_name(self, name: str) -> None:
        """Check the form of a name, without importing anything.

        Raises:
            ValueError: it is no entry's name and not of the form ``package.module:object``.
        """
        module, colon, attribute = name.partition(":")
        if name in self.built_in or (colon and module and attribute) or name in self.names():
            return
        near = did_you_mean(name, self.names())
        raise ValueError(f"found {name!r}, no such {self.noun}{near} (or your own: package.module:object)")

    def __getitem__(self, name: str) -> T:
        """Return the entry of a name.

        Raises:
            ValueError: there is none: begins with what was found, and names the nearest that there is.
        """
        self.check_name(name)
        entry: Any = self.built_in.get(name)
        if entry is None and ":" not in name:
            entry = next(iter(entry_points(group=self.group, name=name))).value.partition(" [")[0]
        elif entry is None:
            entry = name
        found: T = imported_object(entry, found=name) if isinstance(entry, str) else entry
        return found


def imported_object(path: str, *, found: str | None = None) -> Any:
    """Import ``package.module:object``.

    Args:
        path: the module and a name in it; with dots, a name in that object.
        found: what stands in the case file, where it is another name for it.

    Raises:
        ValueError: the module cannot be imported, or has no such object: begins with what was found.
    """
    found = path if found is None else found
    module_name, _, attribute = path.partition(":")
    try:
        target: Any = import_module(module_name)
    except Exception as error:  # importing runs somebody's code
        raise ValueError(
            f"found {found!r}, and {module_name!r} cannot be imported ({type(error).__name__}: {error}); "
            "expected a module that is installed, on PYTHONPATH or in the working directory"
        ) from None
    for name in attribute.split("."):
        if not hasattr(target, name):
            names = [known for known, value in vars(target).items() if callable(value) and not known.startswith("_")]
            raise ValueError(f"found {found!r}, and {module_name!r} has no {attribute!r}{did_you_mean(name, names)}")
        target = getattr(target, name)
    return target
