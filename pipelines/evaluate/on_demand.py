"""Values that are made when they are asked for, and not kept: predictions of many runs do not fit memory together."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, overload

K = TypeVar("K")
V = TypeVar("V", covariant=True)


class OnDemand(Mapping[K, V]):
    """A mapping that makes a value anew whenever it is asked for.

    Args:
        make: by key, what makes its value.
    """

    def __init__(self, make: Mapping[K, Callable[[], V]]) -> None:
        self._make = dict(make)

    def __getitem__(self, key: K) -> V:
        return self._make[key]()

    def __iter__(self) -> Iterator[K]:
        return iter(self._make)

    def __len__(self) -> int:
        return len(self._make)

    def __contains__(self, key: object) -> bool:  # Mapping's own would make the value
        return key in self._make


class Chosen(Sequence[V]):
    """Some values of a mapping in the order of their keys; each is taken from it when it is asked for."""

    def __init__(self, values: Mapping[Any, V], keys: Sequence[Any]) -> None:
        self._values, self._keys = values, keys

    @overload
    def __getitem__(self, place: int) -> V: ...
    @overload
    def __getitem__(self, place: slice) -> "Chosen[V]": ...
    def __getitem__(self, place: int | slice) -> Any:
        if isinstance(place, slice):
            return Chosen(self._values, self._keys[place])
        return self._values[self._keys[place]]

    def __len__(self) -> int:
        return len(self._keys)
