"""What a search shows while it goes on: a small table on a terminal, lines elsewhere."""

import io

from rich.console import Console

from pipelines.search.live import LiveSearch
from pipelines.search.search import Job, Summary
from tests.pipelines.search.simulated import search_of, simulated_case


def drawn(live, width=100):
    console = Console(file=io.StringIO(), width=width)
    console.print(live.table())
    return [line.split() for line in console.file.getvalue().splitlines()]


def live_on_a_terminal(**more):
    console = Console(file=io.StringIO(), force_terminal=True, width=100, legacy_windows=False)
    return LiveSearch("digits", 15, console=console, **more)


def test_a_terminal_shows_the_best_what_runs_what_ended_early_what_failed_and_the_time_left(tmp_path):
    clock = [0.0]
    live = live_on_a_terminal(now=lambda: clock[0])
    search = search_of(simulated_case("tuning.seeds=[0]"), tmp_path)
    live.show(search.summary())
    jobs = [search.next(f"worker-{i}") for i in range(6)]
    assert all(isinstance(job, Job) for job in jobs)
    for job, score in zip(jobs[:4], (0.5, 0.6, 0.55, 0.7), strict=True):
        search.scored(job, 0, {"digit": score, "traits": score}, {}, 1.0)
    search.failed(jobs[4], "ValueError: the loss is not finite\nand more", 1.0)
    clock[0] = 60.0
    live.show(search.summary())
    rows = drawn(live)
    live.close()
    rate = jobs[3].settings["training.optimizer.lr"]
    assert rows[0] == ["tune", "digits", "trials"]
    assert rows[1][:4] == ["trials", "5", "of", "15"]
    assert rows[2][:6] == ["best", "so", "far", "0.7000", "trial", "3:"]
    assert f"optimizer.lr={rate:.3g}" in " ".join(rows[2])
    assert rows[4] == ["stopped", "early", "0"]
    assert rows[5] == ["failed", "1", "trial", "4:", "ValueError:", "the", "loss", "is", "not", "finite"]
    assert rows[6] == ["time", "left", "0:02:00"]


def test_what_trials_wait_for_is_shown_while_none_runs():
    live = live_on_a_terminal(waiting=lambda begun: "waiting for 2 CPUs; the cluster has 0")
    live.show(Summary(15))
    assert " ".join(drawn(live)[0]) == "tune digits waiting for 2 CPUs; the cluster has 0"
    live.show(Summary(15, running=1))
    assert " ".join(drawn(live)[0]) == "tune digits trials"
    live.close()


def test_no_setting_or_reason_moves_the_cursor_or_is_taken_for_colours():
    live = live_on_a_terminal()
    live.show(Summary(15, best=(3, 0.5), best_name="trial 3", best_settings="a=[red]\x1b[2J", last_failure="x\x1b[1A"))
    console = Console(file=io.StringIO(), width=60)
    console.print(live.table())
    live.close()
    assert "\x1b" not in console.file.getvalue()
    assert "a=[red]" in console.file.getvalue()


def test_where_nobody_looks_it_is_lines(capsys):
    live = LiveSearch("digits", 15)
    live.show(Summary(15, ended=4, best=(1, 0.5), best_name="single-task"))
    live.close()
    assert capsys.readouterr() == ("", "")  # none is due yet
    assert (
        Summary(15, best=(1, 0.5), best_name="single-task").words().startswith("best 0.5000 (single-task), 0 running")
    )
