"""The page says first what came out, reads on a phone, in the dark and on paper, and holds 200 classes."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines import commands as steps
from pipelines.base.errors import UserError
from pipelines.evaluate.results import Difference, OutputScores, VerificationOfArm, VerificationResult
from pipelines.experiment.layout import experiment_folder
from pipelines.experiment.resume import find_case
from pipelines.report.headline import headlines
from pipelines.report.page import outputs_shown
from pipelines.report.report import current_report, write_report
from tests.pipelines.report.made_experiment import made_experiment

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: the page is not looked at")


@pytest.fixture(scope="module", params=[10, 200])
def page(request, tmp_path_factory):
    case, results = made_experiment(tmp_path_factory.mktemp(f"classes-{request.param}"), classes=request.param)
    return request.param, write_report(case, results), case, results


def text_of(page):
    content = re.sub(r"(?s)<(style|svg).*?</\1>", " ", Path(page).read_text())
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", content)).split())


def test_the_first_line_says_what_came_out(page):
    after_title = text_of(page[1]).split("Kindred: birds", 1)[1].split("3 arms")[0]
    said = "co-trained: species +10.0 points, traits within chance; no negative transfer"
    assert after_title.strip().removeprefix("birds").strip() == f"{said}; ahead of every baseline on species"


def test_negative_transfer_stands_in_the_first_line(tmp_path):
    _, results = made_experiment(tmp_path, gain=-0.1)
    (line,) = headlines(results)
    assert line.startswith("co-trained: species -10.0 points, traits within chance; negative transfer on species")


def test_a_verdict_is_a_sign_too_and_not_a_colour_alone(page):
    content = Path(page[1]).read_text()
    for verdict, sign in (("better", "▲"), ("no-clear-difference", "≈")):
        cells = re.findall(rf'<span class="{verdict}">(.*?)</span>', content)
        assert cells
        assert all(sign in cell for cell in cells)


def test_text_in_figures_is_text_and_follows_the_pages_colours(page):
    content = Path(page[1]).read_text()
    figures = re.findall(r"(?s)<svg.*?</svg>", content)
    assert all("<text" in figure for figure in figures)
    assert any("trait-03" in figure for figure in figures)
    assert "currentColor" in content
    assert not any("#010203" in figure for figure in figures)


def test_many_classes_are_a_list_and_folds_and_the_least_trusted_come_first(page):
    classes, file, _, _ = page
    content = Path(file).read_text()
    counts = [int(n) for n in re.findall(r"taken for .*?<b>(\d+)</b>", content)]
    assert (len(counts) == 20) == (classes == 200)
    assert counts == sorted(counts, reverse=True)
    assert ("<summary>Relatedness" in content) == (classes == 200)
    trust = content.split('id="trust"')[1].split("</p>", 2)[1]
    shares = [float(value) for value in re.findall(r"&nbsp;(\d\.\d\d)", trust.split("<details>")[0])]
    assert shares == sorted(shares)
    assert len(shares) < 60


def test_a_contents_list_leads_to_every_section_that_is_there(page):
    content = Path(page[1]).read_text()
    anchors = re.findall(r'<a href="#([\w-]+)">', content)
    ids = re.findall(r'<h[23] id="([\w-]+)"', content)
    assert anchors == ids


def test_a_report_is_current_until_what_it_shows_changes(page):
    _, file, case, results = page
    assert current_report(case, results) == file
    assert current_report(case, results.model_copy(update={"seeds": [0, 1]})) is None


def test_the_tables_are_written_as_markdown_and_latex_from_the_folder_alone(tmp_path):
    _, results = made_experiment(tmp_path)
    folder = tmp_path / "store" / results.experiment
    moved = tmp_path / "elsewhere" / "renamed"
    shutil.copytree(folder, moved)
    shutil.rmtree(folder)
    files = steps.report(find_case(str(moved)), ["md", "tex"])
    assert files == [str(moved / f"report.{ending}") for ending in ("md", "tex")]
    markdown, latex = (Path(file).read_text() for file in files)
    assert "+10.0 [+8.0, +12.0]" in markdown
    assert "+10.0 [+8.0, +12.0]" in latex
    rows = [line for line in markdown.splitlines() if line.startswith("| ")]
    assert {line.count(" | ") for line in rows[:4]} == {4}
    assert latex.count(r"\begin") == latex.count(r"\end") == 2
    with pytest.raises(UserError, match="--format: found 'docx'"):
        steps.report(find_case(str(moved)), ["docx"])


def test_verification_has_a_section_of_its_own(tmp_path):
    case, results = made_experiment(tmp_path)
    of_arm = VerificationOfArm(auc=[0.7, 0.8, 0.9], eer=[0.3, 0.2, 0.1], difference=Difference(value=1, low=1, high=1))
    verified = VerificationResult(
        task="species", inputs=90, identities=7, same=30, different=40, arms={"co-trained": of_arm}
    )
    results = results.model_copy(update={"verification": verified})
    said = text_of(write_report(case, results))
    assert "30 pairs of one identity and 40 of two, of 7 identities" in said
    assert "co-trained 0.800 ▲ +100.0 [+100.0, +100.0] 0.200" in said


def test_rows_that_leakage_took_out_stand_by_dataset_and_reason(tmp_path):
    case, results = made_experiment(tmp_path)
    leaky = results.data_sets["train"].model_copy(
        update={"taken_out": 5, "leakage": {"test": 4}, "near": {"test": 1}, "quarantined_for": {"empty file": 2}}
    )
    results = results.model_copy(update={"data_sets": results.data_sets | {"train": leaky}})
    said = text_of(write_report(case, results))
    assert "2 empty file 5 4 the same as in test 1 look like one of test" in said
    results.write(experiment_folder(case))
    (file,) = steps.report(find_case(experiment_folder(case)), ["md"])
    assert "| 5 | 4 the same as in test; 1 look like one of test |" in Path(file).read_text()


def test_of_thousands_of_classes_those_that_changed_most_are_listed(tmp_path):
    case, results = made_experiment(tmp_path)

    def by_output(f1):
        return {
            f"class-{i:04d}": OutputScores(support=1, annotated=9, precision=[f], recall=[f], f1=[f])
            for i, f in enumerate(f1)
        }

    rng = np.random.default_rng(0)
    before = rng.uniform(0.3, 0.7, 3000)
    after = before + rng.uniform(-0.1, 0.1, 3000)
    after[[7, 2000]] = 1.0, 0.0
    of_arms = dict.fromkeys(results.arms, by_output(before)) | {"co-trained": by_output(after)}
    arms = {
        arm: of | {"species": of["species"].model_copy(update={"by_output": of_arms[arm]})}
        for arm, of in results.arms.items()
    }
    results = results.model_copy(update={"arms": arms})
    shown = outputs_shown(results)["species"]
    assert {"class-0007", "class-2000"} < set(shown)
    assert len(shown) == 100
    least = min(abs(after - before)[[int(name[-4:]) for name in shown]])
    assert (abs(after - before) > least + 0.02).sum() < 100
    content = Path(write_report(case, results)).read_text()
    assert "3,000 classes; the 100 that differ most from single-task" in content
    assert content.count("class-") == 100


def test_scores_near_each_other_fill_their_axis():
    from pipelines.report.figures import _range_of

    low, high = _range_of([0.91, 0.93])
    assert low > 0.9
    assert high < 0.94
    assert _range_of([0.999, 1.0])[1] == 1.0


def browse(file, tmp_path, *options):
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    command += ["--no-first-run", "--disable-sync", "--hide-scrollbars", "--allow-file-access-from-files"]
    command += [f"--user-data-dir={tmp_path}/browser", *options, file.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def measured(page, tmp_path, width):
    """Return what a script measures in a frame of a width: a headless window itself is at least 500 wide."""
    probe = """<script>addEventListener("load", () => {
      const table = document.querySelector("#scores"), cells = [...table.querySelectorAll('td[data-of="co-trained"]')];
      parent.postMessage(JSON.stringify({
        page: document.documentElement.scrollWidth, window: innerWidth,
        cotrained: Math.max(...cells.map(c => c.getBoundingClientRect().right)),
        background: getComputedStyle(document.body).backgroundColor }), "*"); });</script></body>"""
    inner = tmp_path / f"page-{width}.html"
    inner.write_text(Path(page).read_text().replace("</body>", probe))
    outer = tmp_path / f"frame-{width}.html"
    outer.write_text(
        f'<body style="margin:0"><iframe src="{inner.name}" style="width:{width}px;height:900px;border:0"></iframe>'
        "<script>"
        'addEventListener("message", e => { document.body.dataset.seen = e.data; });</script></body>'
    )
    dom = browse(outer, tmp_path, "--window-size=1400,900", "--virtual-time-budget=4000", "--dump-dom")
    return json.loads(unescape(dom.split('data-seen="')[1].split('"')[0]))


@in_browser
@pytest.mark.parametrize("width", [390, 1280])
def test_no_arm_is_off_the_screen_and_the_page_does_not_scroll_sideways(page, tmp_path, width):
    seen = measured(page[1], tmp_path, width)
    assert seen["window"] == width
    assert seen["page"] <= width
    assert 0 < seen["cotrained"] <= width


@in_browser
def test_in_the_dark_the_page_is_dark(page, tmp_path):
    if page[0] != 10:
        pytest.skip("the same style")
    pictures = []
    for scheme in ("0", "1"):  # dark, light
        shot = tmp_path / f"{scheme}.png"
        inner = tmp_path / "page.html"
        inner.write_text(Path(page[1]).read_text())
        browse(
            inner,
            tmp_path,
            f"--blink-settings=preferredColorScheme={scheme}",
            "--window-size=800,600",
            f"--screenshot={shot}",
        )
        pictures.append(np.asarray(Image.open(shot).convert("L"), dtype=float))
    dark, light = pictures
    assert np.median(dark) < 60
    assert np.median(light) > 200
    assert (dark > 150).mean() > 0.005, "ink is light where the page is dark"


@in_browser
def test_on_paper_nothing_is_cut_off_by_scroll_bars(page, tmp_path):
    inner = tmp_path / "page.html"
    inner.write_text(Path(page[1]).read_text())
    browse(inner, tmp_path, f"--print-to-pdf={tmp_path / 'page.pdf'}", "--no-pdf-header-footer")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
    style = Path(page[1]).read_text().split("@media print")[1].split("</style>")[0]
    assert ".wide, figure { overflow: visible; }" in style


def test_where_the_baseline_is_at_chance_the_first_line_says_so(tmp_path):
    _, results = made_experiment(tmp_path)
    arm = {task: of.model_copy(update={"difference": None}) for task, of in results.arms["co-trained"].items()}
    results = results.model_copy(update={"arms": results.arms | {"co-trained": arm}})
    assert "species not compared (single-task at chance)" in headlines(results)[0]
    assert Difference(value=0.1, low=0.05, high=0.2).verdict == "better"
