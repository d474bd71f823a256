"""The documentation is a site whose links lead somewhere, with equations shown and every public name listed."""

import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path
from urllib.parse import unquote

import pytest

pytest.importorskip("mkdocs")
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site; a link that leads nowhere fails the build."""
    out = tmp_path_factory.mktemp("site") / "built"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(out)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_every_link_of_every_page_leads_to_a_page_and_a_heading(site):
    content = {page: page.read_text() for page in site.rglob("*.html")}
    ids = {page: set(re.findall(r'\bid="([^"]+)"', text)) for page, text in content.items()}
    for page, text in content.items():
        if page.name == "404.html":
            continue
        for link in re.findall(r'<a[^>]* href="([^"]+)"', text):
            target, _, anchor = unescape(link).partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            file = (page.parent / unquote(target)).resolve() if target else page
            file = file / "index.html" if file.is_dir() else file
            assert file.exists(), f"{page.name}: {link}"
            assert not anchor or file.suffix != ".html" or unquote(anchor) in ids[file], f"{page.name}: {link}"


def test_equations_of_pages_and_docstrings_are_shown(site):
    method, losses = ((site / name).read_text() for name in ("method.html", "reference/losses.html"))
    assert method.count("<math") >= 6
    assert "$$" not in method
    assert losses.count("<math") >= 10
    for page in site.rglob("reference/*.html"):
        assert ".. math::" not in page.read_text()
        assert not re.search(r":(func|class|meth|data):", page.read_text())


def test_every_public_name_of_mtlcore_stands_in_the_reference(site):
    import mtlcore

    pages = "".join(page.read_text() for page in site.rglob("reference/*.html"))
    functions = [name for module, names in mtlcore._NAMES.items() for name in names if module.count(".") == 2]
    constants = [name for name in functions if name.isupper()]
    for name in set(functions) - set(constants) - {"Verdict", "primary_metric"}:
        assert re.search(rf'id="mtlcore\.[\w.]*\.{name}"', pages), name


def test_nothing_is_fetched_by_who_reads_it(site):
    for page in site.rglob("*.html"):
        assert not re.search(r'<(script|link|img)[^>]+(src|href)="https?:', page.read_text()), page.name
