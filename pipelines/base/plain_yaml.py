"""Plain YAML with bounds: what a short file can say is a small thing, and what is wrong is one message with its line.

Aliases let a file of a few hundred bytes stand for more nodes than fit in memory, deep nesting ends in a
RecursionError, and Python refuses to print a number of thousands of digits. Nodes are counted while they are composed,
what an alias stands for included, so a file that goes beyond the bounds is refused before anything is built of it.
"""

from collections.abc import Hashable
from typing import Any

import yaml
from yaml.nodes import CollectionNode, Node

from pipelines.base.errors import UserError

MAX_NODES = 1_000_000  # mappings, lists, keys and values, with aliases expanded
MAX_DEPTH = 100
MAX_NUMBER_LENGTH = 100  # characters

_PREFIX = "tag:yaml.org,2002:"
_MERGE = f"{_PREFIX}merge"
_NUMBERS = (f"{_PREFIX}int", f"{_PREFIX}float")
_PLAIN_TAGS = {
    _PREFIX + kind for kind in ("null", "bool", "int", "float", "str", "seq", "map", "merge", "value", "timestamp")
}


class _PlainLoader(yaml.SafeLoader):
    """SafeLoader with bounds; it also refuses a key written twice, where YAML would silently keep the last."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._extents: dict[Node, tuple[int, int]] = {}  # nodes and depth of every composed node, aliases expanded

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        """Compose the next node, within the bounds."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _refused(f"nested more than {MAX_DEPTH} deep", event.start_mark)
        node = super().compose_node(parent, index)
        if node is None:
            return None
        if not isinstance(event, yaml.AliasEvent):
            self._extents[node] = self._extent(node)
        elif node not in self._extents:
            raise _refused(f"the alias *{event.anchor} stands within what it names", event.start_mark)
        nodes, depth = self._extents[node]
        if nodes > MAX_NODES:
            raise _refused(f"more than {MAX_NODES:,} nodes, aliases expanded", event.start_mark)
        self._depth -= 1
        if self._depth + depth > MAX_DEPTH:
            raise _refused(f"nested more than {MAX_DEPTH} deep, aliases expanded", event.start_mark)
        return node

    def _extent(self, node: Node) -> tuple[int, int]:
        if node.tag.startswith(_PREFIX) and node.tag not in _PLAIN_TAGS:
            raise _refused(f"found the tag !!{node.tag.removeprefix(_PREFIX)}; expected plain YAML", node.start_mark)
        if not isinstance(node, CollectionNode):
            if node.tag in _NUMBERS and len(node.value) > MAX_NUMBER_LENGTH:
                words = f"a number of {len(node.value):,} characters; expected at most {MAX_NUMBER_LENGTH}"
                raise _refused(words, node.start_mark)
            if "\0" in node.value:
                raise _refused("found a NUL character; expected text", node.start_mark)
            return 1, 1
        children = node.value
        if isinstance(node, yaml.MappingNode):
            children = [child for pair in node.value for child in pair]
        extents = [self._extents[child] for child in children]
        return 1 + sum(nodes for nodes, _ in extents), 1 + max((depth for _, depth in extents), default=0)

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        """Construct a value; one that its tag does not fit is an error with a line."""
        try:
            return super().construct_object(node, deep)  # type: ignore[no-untyped-call]
        except (ValueError, KeyError, TypeError, ArithmeticError):
            kind = node.tag.removeprefix(_PREFIX)
            raise _refused(f"found {node.value!r:.100}, which is no {kind}", node.start_mark) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Construct a mapping whose keys are names, each written once."""
        seen: set[Any] = set()
        if isinstance(node, yaml.MappingNode):
            for key_node, _ in node.value:
                if key_node.tag == _MERGE:
                    continue
                key = self.construct_object(key_node, deep=True)
                if not isinstance(key, Hashable) or key in seen:
                    wrong = "stands twice in one section" if isinstance(key, Hashable) else "is not a name"
                    raise _refused(f"the key {key!r} {wrong}", key_node.start_mark)
                seen.add(key)
        return super().construct_mapping(node, deep)


def _refused(problem: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, mark)


def parse_yaml(text: str, place: str) -> Any:
    """Return what a text in plain YAML holds: mappings, lists, text, numbers, truth values, dates and null.

    Args:
        text: the YAML.
        place: where it stands, for messages.

    Raises:
        UserError: it is not YAML, holds other tags, or goes beyond the bounds; names place, line and column.
    """
    try:
        return _unshared(yaml.load(text, Loader=_PlainLoader))  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise UserError(f"{place}{where}: not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{place}: not valid YAML: {' '.join(str(error).split())}") from None


def _unshared(value: Any) -> Any:
    """Copy a value so that what YAML's aliases share is shared no more: a change to one is a change to one."""
    if isinstance(value, dict):
        return {key: _unshared(each) for key, each in value.items()}
    return [_unshared(each) for each in value] if isinstance(value, list) else value
