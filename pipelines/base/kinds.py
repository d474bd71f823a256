"""Validation of a case file's section that is one of several registered kinds, built in or a user's own."""

from collections.abc import Callable
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from mtlcore.registry import Registry
from pipelines.base.section import Section, kind_alone

_OWN = "own"  # the tag of a user's kind


class ByKind:
    """Annotates a section's base class: the key ``kind`` names the class of settings that the section is read as.

    ``Annotated[Base, ByKind(REGISTRY, Base)]``: a class of the registry, an installed package's entry
    point, or ``package.module:Class``, a subclass of ``Base``.

    Args:
        registry: the classes by kind.
        base: the protocol: what a user's class has to be a subclass of.
        alone: whether a kind alone is a section.
    """

    def __init__(self, registry: Registry[type[Any]], base: type[Section], *, alone: bool = False) -> None:
        self._registry = registry
        self._base = base
        self._alone = alone

    def __get_pydantic_core_schema__(self, _: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = {name: handler.generate_schema(self._registry[name]) for name in self._registry.built_in}
        user_schema = core_schema.no_info_plain_validator_function(
            self._own, metadata={"pydantic_js_functions": [lambda *_: self._schema_of_own()]}
        )
        union = core_schema.tagged_union_schema(
            choices | {_OWN: user_schema},
            discriminator=self._tag,
            serialization=core_schema.plain_serializer_function_ser_schema(_as_it_is, info_arg=True),
        )
        return core_schema.no_info_before_validator_function(kind_alone, union) if self._alone else union

    def _tag(self, content: Any) -> str:
        kind = content.get("kind") if isinstance(content, dict) else getattr(content, "kind", None)
        return kind if isinstance(kind, str) and kind in self._registry else _OWN

    def _own(self, content: Any) -> Section:
        if isinstance(content, self._base):
            return content
        kind = content.get("kind") if isinstance(content, dict) else content
        try:
            if not isinstance(kind, str):
                raise ValueError(f"found {kind!r}; expected one of {', '.join(self._registry.names())}")
            settings = self._registry[kind]
            if not (isinstance(settings, type) and issubclass(settings, self._base)):
                raise ValueError(
                    f"found {kind!r}; expected a subclass of {self._base.__module__}:{self._base.__name__}"
                )
        except ValueError as error:
            raise PydanticCustomError("unknown_kind", "{message}", {"message": str(error)}) from None
        return settings.model_validate(content)

    def _schema_of_own(self) -> dict[str, Any]:
        # The names of installed packages' entry points are of one machine; a schema is of all.
        kind = {"type": "string", "pattern": "^[^:]+:[^:]+$", "description": "Your own: package.module:Class."}
        return {"type": "object", "properties": {"kind": kind}, "required": ["kind"]}


def known_name(registry: Registry[Any]) -> Callable[[str], str]:
    """Return a validator of a name: that its form is right; what it names is imported later."""

    def check(name: str) -> str:
        try:
            registry.check_name(name)
        except ValueError as error:
            raise PydanticCustomError("unknown_name", "{message}", {"message": str(error)}) from None
        return name

    return check


def _as_it_is(value: Any, info: core_schema.SerializationInfo) -> Any:
    """Serialise the keys of the value's own class, whichever it is."""
    return value.model_dump(
        mode=info.mode, by_alias=bool(info.by_alias), exclude_none=info.exclude_none, include=info.include,
        exclude=info.exclude,
    )  # fmt: skip
