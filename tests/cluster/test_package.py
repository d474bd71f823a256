"""What `kindred submit --with` sends, and what it refuses to send."""

from pathlib import Path

import pytest

from cluster.connection import token
from cluster.package import check_own_code, described, gather
from pipelines.base.errors import UserError
from pipelines.case.load import load_case


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A package in a repository, whose .gitignore files name what stays."""
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text("*.log\n/mine/data/\nbuild/\n")
    folder = tmp_path / "mine"
    for name in ("__init__.py", "nets/big.py", "nets/keep.log", "nets/run.log", "data/rows.csv", "build/x.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"# {name}\n")
    (folder / "nets" / ".gitignore").write_text("!keep.log\n")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "x.pyc").write_text("")
    (folder / ".hidden").write_text("")
    return folder


def test_a_folder_goes_without_what_gitignore_names_in_it_above_it_and_below_it(code: Path) -> None:
    sent = gather([str(code)])
    assert sorted(str(one.name) for one in sent) == ["mine/__init__.py", "mine/nets/big.py", "mine/nets/keep.log"]
    assert described(sent).startswith("sent: case.yaml, mine/ (3 files)")


def test_a_file_goes_under_its_own_name(code: Path) -> None:
    (sent,) = gather([str(code / "nets" / "big.py")])
    assert (str(sent.name), sent.content) == ("big.py", b"# nets/big.py\n")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (".env", "A=1", "a name that secrets have"),
        ("deploy.pem", "x", "a name that secrets have"),
        ("a.py", f"KEY = '{'AKIA'}ABCDEFGHIJKLMNOP'", "an AWS access key"),
        ("a.py", f"-----BEGIN {'RSA '}PRIVATE KEY-----", "a private key"),
        ("a.py", "T = 'the-token-of-the-cluster'", "the cluster's token"),
    ],
)
def test_secrets_stay_here(tmp_path: Path, name: str, content: str, says: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=says) as refused:
        gather([str(tmp_path / name)], token="the-token-of-the-cluster")
    assert "the-token-of" not in str(refused.value)


def test_what_is_data_or_stands_in_the_place_of_kindreds_own_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        gather([str(tmp_path / "nothing.py")])
    (tmp_path / "pipelines.py").write_text("")
    with pytest.raises(UserError, match="a name of Kindred's own"):
        gather([str(tmp_path / "pipelines.py")])
    (tmp_path / "rows.bin").write_bytes(bytes(21 << 20))
    with pytest.raises(UserError, match="data does not travel with a job"):
        gather([str(tmp_path / "rows.bin")])


def test_a_case_whose_module_lies_here_and_is_not_sent_is_told_the_option(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text("")
    case = load_case("digits", ["storage.path=/nowhere", "network.backbone=nets:build"], check_paths=False)
    with pytest.raises(UserError, match=r"network.backbone: found 'nets:build'.*expected --with"):
        check_own_code(case, [], [tmp_path])
    check_own_code(case, gather([str(tmp_path / "nets.py")]), [tmp_path])
    check_own_code(case, [], [tmp_path / "elsewhere"])  # the cluster may have it installed


def test_two_files_of_one_name_are_refused_and_one_named_twice_goes_once(code: Path) -> None:
    (other := code.parent / "other").mkdir()
    (other / "big.py").write_text("# another\n")
    with pytest.raises(UserError, match=r"both big\.py in the job"):
        gather([str(code / "nets" / "big.py"), str(other / "big.py")])
    assert len(gather([str(other / "big.py")] * 2)) == 1


def test_a_token_in_a_file_of_rays_does_not_travel_either(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (kept := code.parent / "token").write_text("f00dfeedf00dfeedf00dfeedf00dfeed\n")
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(kept))
    (code / "settings.py").write_text('KEY = "f00dfeedf00dfeedf00dfeedf00dfeed"\n')
    with pytest.raises(UserError, match=r"settings\.py"):
        gather([str(code)], token())
