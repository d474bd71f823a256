"""What the documentation's site needs beside the pages in docs/: MkDocs calls the functions ``on_...``.

The pages are written for a checkout: they link to files and folders of the repository. Here the README becomes the
first page, other texts of the repository become pages, and a file or folder that is linked to becomes a page that shows
it. A reference is made of the public names of mtlcore. Equations become MathML, which a browser shows without a script.
"""

import ast
import json
import posixpath
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
TEXTS = ("ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "cluster/README.md", "pipelines/README.md")
_LINK = re.compile(r"(\]\()(?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]+)?(\))")
_FENCE = re.compile(r"(?s)(```.*?```|`[^`\n]+`)")
_DISPLAYED = re.compile(r"(?s)\$\$(.+?)\$\$")
_IN_DOCSTRING = re.compile(r"(?s)<p>\.\. math::\s*(.*?)</p>")
_ROLE = re.compile(r":(?:func|class|meth|data|mod|attr):<code>~?\.?(.*?)</code>")
_LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".json": "json", ".toml": "toml", ".sh": "bash"}


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are not in docs/."""
    pages = {uri_of(text): (ROOT / text).read_text(encoding="utf-8") for text in ("README.md", *TEXTS)}
    written = [*(ROOT / "docs").rglob("*.md"), *(ROOT / text for text in ("README.md", *TEXTS))]
    shown = {target for page in written for target in linked_from(page)}
    for target in sorted(shown):
        if uri_of(target) not in pages and not target.startswith("docs/"):
            pages[uri_of(target)] = shown_file(target)
    pages |= reference()
    for uri, content in pages.items():
        files.append(File.generated(config, uri, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Make a page's links lead to pages, and its equations MathML."""
    where = in_repository(page.file.src_uri)
    parts = _FENCE.split(markdown)
    for i in range(0, len(parts), 2):
        parts[i] = _LINK.sub(lambda m: m[1] + site_link(where, m[2]) + (m[3] or "") + m[4], parts[i])
        parts[i] = _DISPLAYED.sub(lambda m: f"\n\n{convert(m[1].strip(), display='block')}\n\n", parts[i])
    return "".join(parts)


def on_page_content(html: str, **_: Any) -> str:
    """Make equations and roles of docstrings what they stand for."""
    html = _IN_DOCSTRING.sub(lambda m: convert(_plain(m[1]), display="block"), html)
    return _ROLE.sub(r"<code>\1</code>", html)


def _plain(html: str) -> str:
    text = re.sub(r"<(/?)em>", "_", html)
    return re.sub(r"<[^>]+>", "", text).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").strip()


def linked_from(page: Path) -> set[str]:
    """Return the files and folders of the repository that a text links to, below its root."""
    text = "".join(_FENCE.split(page.read_text(encoding="utf-8"))[::2])
    here = page.parent.relative_to(ROOT).as_posix()
    found = {posixpath.normpath(posixpath.join(here, match[2])) for match in _LINK.finditer(text)}
    return {target for target in found if not target.startswith("..") and (ROOT / target).exists()}


def uri_of(path: str) -> str:
    """Return the page of a file or folder of the repository."""
    if path == "README.md":
        return "index.md"
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if (ROOT / path).is_dir() and f"{path}/README.md" in TEXTS:
        return f"repository/{path}/README.md"
    return f"repository/{path}" if path.endswith(".md") else f"repository/{path}.md"


def in_repository(uri: str) -> str:
    """Return the file of the repository that a page is made of; a page that shows a file has no links."""
    if uri == "index.md":
        return "README.md"
    return uri.removeprefix("repository/") if uri.startswith("repository/") else f"docs/{uri}"


def site_link(where: str, link: str) -> str:
    """Return a link of a text as one from its page to another."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(where), link))
    if target.startswith("..") or not (ROOT / target).exists():
        return link  # MkDocs says that it leads nowhere
    return posixpath.relpath(uri_of(target), posixpath.dirname(uri_of(where)) or ".")


def shown_file(path: str) -> str:
    """Return a page that shows a file, or the names in a folder."""
    place = ROOT / path
    if place.is_dir():
        names = sorted(
            f"{file.name}{'/' if file.is_dir() else ''}" for file in place.iterdir() if file.name[0] not in "._"
        )
        return f"# {path}/\n\n" + "\n".join(f"- `{name}`" for name in names) + "\n"
    if place.suffix == ".ipynb":
        return notebook(place)
    language = _LANGUAGES.get(place.suffix, "text")
    return f"# {path}\n\n````{language}\n{place.read_text(encoding='utf-8')}\n````\n"


def notebook(place: Path) -> str:
    """Return a notebook as a page: its text and its code, which are kept without outputs."""
    parts = []
    for cell in json.loads(place.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    return "\n\n".join(parts) + "\n"


def reference() -> dict[str, str]:
    """Return a page for each part of mtlcore, with its public names, and one of the commands as functions."""
    parts: dict[str, list[str]] = {}
    for module, names in public_names().items():
        part = module.split(".")[1]
        if part in ("balancing", "diagnostics", "losses", "metrics", "networks", "relatedness"):
            whole = [module] if not names or module == "mtlcore.balancing" else [f"{module}.{name}" for name in names]
            parts.setdefault(part, []).extend(whole)
    pages = {
        f"reference/{part}.md": f"# mtlcore: {part}\n\n" + "\n\n".join(f"::: {name}" for name in sorted(names)) + "\n"
        for part, names in parts.items()
    }
    pages["reference/commands.md"] = (
        "# The commands as functions\n\n::: pipelines.commands\n\n::: pipelines.case.load.load_case\n"
    )
    return pages


def public_names() -> dict[str, tuple[str, ...]]:
    """Return mtlcore's public names by module, without importing it."""
    tree = ast.parse((ROOT / "mtlcore" / "__init__.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "_NAMES":
            names: dict[str, tuple[str, ...]] = ast.literal_eval(node.value)
            return names
    raise AssertionError("mtlcore/__init__.py names nothing")
