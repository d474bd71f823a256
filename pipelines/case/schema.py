"""The case file's JSON Schema, for editors, and docs/case-file.md, the reference generated from it."""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from pipelines.base.section import kind_alone, one_or_more
from pipelines.case.case import Case
from pipelines.case.relatedness import EDGE_FORMS
from pipelines.case.split import Split
from pipelines.case.training import method_alone, metric_alone, mixing_as_section
from pipelines.sources.table_columns import columns_alone

Schema = dict[str, Any]

_WORD = {"type": "string"}
_SHARES = {"type": "object", "additionalProperties": {"type": "number", "exclusiveMinimum": 0}, "minProperties": 1}
# The short forms of a section, by the validator that expands them.
_SHORT_FORMS: dict[Any, tuple[Schema, ...]] = {
    one_or_more: (_WORD,),
    columns_alone: (_WORD,),
    metric_alone: (_WORD,),
    method_alone: (_WORD,),
    kind_alone: ({"kind_alone": True},),
    mixing_as_section: ({"kind_alone": True}, _SHARES),
}


_FROM = "Another dataset, of which every key is taken that is not said here: one table as several datasets."
_VOCABULARIES: tuple[Schema, ...] = (
    {"type": "object", "properties": {"file": _WORD}, "required": ["file"], "additionalProperties": False},
    {"type": "object", "properties": {"from": {"const": "data"}}, "required": ["from"], "additionalProperties": False},
)


class _CaseFileSchema(GenerateJsonSchema):
    """Adds the short forms, which pydantic does not see, and what stands below the fields."""

    def model_schema(self, schema: Any) -> Schema:
        made = super().model_schema(schema)
        section: type[BaseModel] = schema["cls"]
        texts = _texts_below_fields(section)
        for name, field in section.model_fields.items():
            key = field.alias or name
            if name in texts and key in made.get("properties", {}):
                made["properties"][key].setdefault("description", texts[name])
        return made

    def function_before_schema(self, schema: Any) -> Schema:
        full = super().function_before_schema(schema)
        short = _SHORT_FORMS.get(schema["function"]["function"])
        return {"anyOf": [full, *short]} if short else full


def _texts_below_fields(section: type[BaseModel]) -> dict[str, str]:
    """Return the text below each field of a section, by name; of a field that is declared again, what is there."""
    texts: dict[str, str] = {}
    for one in reversed(section.__mro__):
        if one is BaseModel or not issubclass(one, BaseModel):
            continue
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(one))).body
        assert isinstance(definition, ast.ClassDef)
        for field, below in zip(definition.body, [*definition.body[1:], None], strict=True):
            if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
                continue
            texts.pop(field.target.id, None)
            if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                texts[field.target.id] = inspect.cleandoc(str(below.value.value))
    return texts


def case_schema() -> Schema:
    """Return the JSON Schema (draft 2020-12) of a case file as a user writes it, short forms included."""
    schema = Case.model_json_schema(by_alias=True, mode="validation", schema_generator=_CaseFileSchema)
    definitions = schema["$defs"]
    for place in _all(schema):
        _finish(place, definitions)
    edge = definitions["RelatednessEdge"]["properties"]
    edge["table"] = {"anyOf": [*edge["table"]["anyOf"], _WORD], "default": None} | _described(edge["table"])
    edge |= EDGE_FORMS
    definitions["Split"] = Split.model_json_schema(by_alias=True, schema_generator=_CaseFileSchema)
    data_set = definitions["DataSet"]["properties"]
    data_set["split"]["anyOf"] = [{"enum": data_set["split"].pop("enum")}, {"$ref": "#/$defs/Split"}]
    data_set["split"].pop("type", None)
    data_set["from"] = {"type": "string", "description": _FROM}
    definitions["DataSet"].pop("required", None)  # may come from the other
    _finish(definitions["Split"], definitions)
    for place in _all(definitions["Split"]["properties"]):
        _finish(place, definitions)
    for section, key in (("MulticlassTask", "classes"), ("OrdinalTask", "classes"), ("MultilabelTask", "labels")):
        listed = definitions[section]["properties"][key]
        described = _described(listed)
        definitions[section]["properties"][key] = {"anyOf": [listed, *_VOCABULARIES]} | described
    # load.py fills these in.
    schema["required"].remove("arms")
    arms = schema["properties"]["arms"]
    (pattern, arm), *_ = arms["patternProperties"].items()
    arms["patternProperties"] = {pattern: {"anyOf": [arm, {"type": "null"}]}}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A case file of Kindred"}
    return head | {key: value for key, value in schema.items() if key != "title"}


def _described(schema: Schema) -> Schema:
    return {"description": schema["description"]} if "description" in schema else {}


def _all(schema: Any) -> Iterator[Schema]:
    if isinstance(schema, dict):
        yield schema
    for value in list(schema.values()) if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from _all(value)


def _finish(place: Schema, definitions: Schema) -> None:
    """Complete one schema, in place: text may be a number (``classes: [0, 1]``), and a kind may stand alone."""
    if place.get("type") == "string" and not {"enum", "const", "pattern", "maxLength"} & set(place):
        place["type"] = ["string", "number"]
    if isinstance(place.get("title"), str):
        del place["title"]  # the key's name again
    kind = place.get("properties", {}).get("kind")
    if isinstance(kind, dict):
        kind.setdefault("description", "Says that it is this section.")
    if any(option == {"kind_alone": True} for option in place.get("anyOf", ())):
        union = place["anyOf"][0]
        options = union.get("oneOf") or union.get("anyOf") or [union]
        members = [definitions[ref.rpartition("/")[2]] for o in options if (ref := o.get("$ref"))]
        alone = [m["properties"]["kind"] for m in members if set(m.get("required", ())) <= {"kind"}]
        kinds = [name for kind in alone for name in kind.get("enum", [kind.get("const")])]
        place["anyOf"] = [{"enum": kinds} if option == {"kind_alone": True} else option for option in place["anyOf"]]


def case_reference() -> str:
    """Return docs/case-file.md: every section, with every key's type, default and meaning."""
    schema = case_schema()
    sections = _sections(schema)
    lines = [_INTRODUCTION, "## The case\n", *_table(schema, sections)]
    for name in list(sections)[1:]:
        section = schema["$defs"][name]
        lines += [f"## {_heading(name, sections[name])}\n", _text(section.get("description", "")) + "\n"]
        lines += _table(section, sections)
    return "\n".join(lines).rstrip() + "\n"


_INTRODUCTION = """# The case file, key by key

Made by `kindred schema --markdown`; do not edit it by hand. `kindred schema` prints the same as a JSON Schema: with the
line `# yaml-language-server: $schema=case.schema.json` at the top of a case file, an editor completes and checks keys
(the shipped cases have it). `--set key.path=value` changes any key from the command line.

A key without a default is needed, "-" is a default that says "none" or "not at all". How to write your own case:
[README](../README.md).
"""


def _sections(schema: Schema) -> dict[str, str]:
    """Return the sections in the order in which a reader meets them, each with the key that leads to it first."""
    paths: dict[str, str] = {"": ""}
    definitions = schema["$defs"]

    def follow(section: Schema, path: str) -> None:
        new = []
        for key, value in section.get("properties", {}).items():
            for place in _all(value):
                name = str(place.get("$ref", "")).rpartition("/")[2]
                if name and name not in paths:
                    several = "patternProperties" in value or "additionalProperties" in value
                    paths[name] = f"{path}{key}" + (".<name>" if several else "")
                    new.append(name)
        for name in new:
            follow(definitions[name], f"{paths[name]}.")

    follow(schema, "")
    return paths


def _heading(name: str, path: str) -> str:
    return f"`{path}`: {name}"


def _anchor(name: str, path: str) -> str:
    return "".join(c for c in _heading(name, path).lower().replace(" ", "-") if c.isalnum() or c in "-_")


def _table(section: Schema, sections: dict[str, str]) -> list[str]:
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    needed = section.get("required", ())
    for key, value in section.get("properties", {}).items():
        default = "" if key in needed else _default(value)
        cells = (f"`{key}`", _type(value, sections), default, _text(value.get("description", "")))
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|').replace(chr(10), ' ') for cell in cells)} |")
    return [*lines, ""]


def _default(value: Schema) -> str:
    default = value.get("default")
    if default is None or default in ({}, []) or (isinstance(default, dict) and "kind" not in default):
        return "-"
    if isinstance(default, dict):
        return f"`{default['kind']}`"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`".replace("'", "")


def _type(value: Schema, sections: dict[str, str]) -> str:
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        return f"[{name}](#{_anchor(name, sections[name])})"
    if options := value.get("anyOf") or value.get("oneOf"):
        words = [_type(option, sections) for option in options if option != {"type": "null"}]
        return ", or ".join(dict.fromkeys(words))
    if "const" in value or "enum" in value:
        return ", ".join(f"`{option}`" for option in value.get("enum", [value.get("const")]))
    kind = value.get("type")
    if kind == "array":
        if "prefixItems" in value:
            return "[" + ", ".join(_type(item, sections) for item in value["prefixItems"]) + "]"
        return f"list of {_type(value.get('items', {}), sections)}"
    if kind == "object":
        inside = [*value.get("patternProperties", {}).values(), value.get("additionalProperties")]
        entry = next((v for v in inside if isinstance(v, dict)), None)
        by = "step" if value.get("propertyNames", {}).get("pattern") == "^[0-9]+$" else "name"
        return f"by {by}: {_type(entry, sections)}" if entry else "mapping"
    names = {"string": "text", "integer": "whole number", "boolean": "true or false"}
    word = "text" if isinstance(kind, list) else names.get(str(kind), str(kind or "anything"))
    limits = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
    bounds = [f"{sign} {value[limit]:g}" for limit, sign in limits if limit in value]
    return " ".join([word, ", ".join(bounds)]).strip()


def _text(docstring: str) -> str:
    """Turn a docstring's marks into Markdown's."""
    return docstring.replace("``", "`").strip()
