"""The whole of `kindred run` on the embedded default, as a user starts it, and what it leaves behind."""

import json
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest

from pipelines.base.progress import read_line
from pipelines.evaluate.results import Results, read_results
from pipelines.report.results_table import results_table
from tests.commands import kindred, kindred_here

pytestmark = pytest.mark.starts_ray
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """`kindred run digits`, exactly as shipped."""
    store = tmp_path_factory.mktemp("run")
    done = kindred("run", "digits", "--json", "--set", f"storage.path={store}", timeout=1200)
    assert done.returncode == 0, done.stderr
    return done, json.loads(done.stdout)


def test_co_training_is_ahead_of_single_task_on_the_digit_by_more_than_chance(outcome):
    results = Results.model_validate(outcome[1]["results"])
    assert len(results.seeds) >= 5
    gained = results.arms["co-trained"]["digit"].difference
    assert gained.low > 0.05
    assert results.arms["co-trained"]["digit"].mean() > results.arms["naive"]["digit"].mean()


def test_the_main_task_has_far_fewer_labels_and_no_picture_carries_both(outcome):
    data = Results.model_validate(outcome[1]["results"]).data_sets
    assert data["digit_pictures"].annotated == {"digit": 50}
    assert data["trait_pictures"].annotated == {"traits": 947}
    assert data["test_pictures"].annotated == {"digit": 500, "traits": 500}


def test_results_json_follows_its_schema_and_names_what_made_it(outcome):
    written = json.loads((Path(outcome[1]["experiment"]) / "results.json").read_text())
    assert written == outcome[1]["results"]
    jsonschema.validate(written, Results.model_json_schema())
    assert written["versions"]["torch"]
    assert {timing["run"] for timing in written["timings"]} >= {"single-task/digit/seed-0", "co-trained/seed-4"}
    assert len(written["timings"]) == 20
    confusion = written["confusion"]["counts"]["co-trained"]
    assert sum(n for _, _, n in confusion) == 500 * len(written["seeds"])
    accuracy = sum(n for true, predicted, n in confusion if true == predicted) / (500 * len(written["seeds"]))
    mean = Results.model_validate(written).arms["co-trained"]["digit"].mean()
    assert accuracy == pytest.approx(mean, abs=1e-6)


def test_it_is_quiet_and_json_alone_stands_on_standard_output(outcome):
    done, _ = outcome
    others = [line for line in done.stderr.splitlines() if read_line(line) is None]
    assert others == [], "beside progress nothing is said"
    assert done.stdout.count("\n") == 1


def test_the_case_it_wrote_is_a_case_that_gives_the_same_experiment(outcome):
    experiment = Path(outcome[1]["experiment"])
    shown = kindred_here("report", str(experiment / "case.yaml"), "--json")
    assert shown.returncode == 0, shown.stderr
    assert Path(json.loads(shown.stdout)["report"]) == experiment / "report.html"


def test_the_same_command_again_answers_without_ray_by_its_note_and_without_it(outcome):
    done, _ = outcome
    store = Path(outcome[1]["experiment"]).parent
    nobody = {"RAY_ADDRESS": "127.0.0.1:1"}
    for noted in (True, False):
        if not noted:
            shutil.rmtree(store / ".finished")
        again = kindred("run", "digits", "--json", "--set", f"storage.path={store}", more=nobody)
        assert again.returncode == 0, again.stderr
        assert json.loads(again.stdout) == json.loads(done.stdout)


def test_an_experiments_folder_is_enough_to_report_and_export_wherever_it_lies(outcome, tmp_path):
    moved = tmp_path / "moved" / "experiment"
    shutil.copytree(outcome[1]["experiment"], moved)
    done = kindred_here("export", str(moved), str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "model.safetensors").is_file()
    done = kindred_here("report", str(moved), "--format", "md")
    assert done.stdout.strip() == str(moved / "report.md")


def browse(page, *options):
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    command += ["--no-first-run", "--disable-sync", "--disable-component-update", "--enable-logging=stderr", "--v=0"]
    command += [f"--user-data-dir={page.parent}/browser", *options, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: the report page is not looked at")
def test_the_report_shows_its_table_and_plots_in_a_browser_without_a_console_error(outcome, tmp_path):
    report = Path(outcome[1]["report"])
    page = tmp_path / "report.html"
    # What a person would see: the page says which of its figures take up room on the screen.
    probe = (
        "<script>document.body.dataset.seen = JSON.stringify([...document.querySelectorAll('figure')].map(f => "
        "[f.className, f.querySelector('svg').getBoundingClientRect().width > 100]));</script></body>"
    )
    page.write_text(report.read_text().replace("</body>", probe))
    dom, console = browse(page, "--dump-dom")
    assert console == []
    seen = json.loads(dom.split('data-seen="')[1].split('"')[0].replace("&quot;", '"'))
    assert all(visible for _, visible in seen)
    figures = [name for name, _ in seen]
    assert sorted(figures) == [
        "confusion",
        "losses",
        "mixing",
        "rate",
        "relatedness",
        "scores",
        "scores",
        "visible",
        "visible",
    ]
    table = dom.split('<table id="scores"')[1].split("</table>")[0]
    for word in ("digit", "traits", "single-task", "naive", "co-trained", "accuracy", "macro-f1"):
        assert word in table
    assert 'src="http' not in dom
    assert 'href="http' not in dom

    page.write_text(report.read_text().replace("</body>", "<script>no_such_name()</script></body>"))
    assert browse(page, "--dump-dom")[1], "the check would not see a console error"


def test_the_table_at_the_end_shows_task_by_method_with_intervals(outcome):
    experiment = Path(outcome[1]["experiment"])
    shown = results_table(read_results(str(experiment)))
    difference = Results.model_validate(outcome[1]["results"]).arms["co-trained"]["digit"].difference
    assert f"{100 * difference.value:+.1f} [{100 * difference.low:+.1f}, {100 * difference.high:+.1f}]" in shown
    assert "Delta_m" in shown
