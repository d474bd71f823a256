"""What `kindred submit` sends along with the case: files and folders of one's own code, neither secrets nor data."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pipelines.base.errors import UserError
from pipelines.base.own_packages import PACKAGES

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

    from pipelines.case.case import Case

    _Rules = tuple[Path, GitIgnoreSpec]

CASE_FILE = "case.yaml"
_MOST_BYTES = 20 << 20  # of all files; code is smaller, and data belongs where every node reads it
_IGNORED = (".*", "__pycache__", "*.pyc", "*.egg-info")
_SECRET_NAMES = [".env", ".env.*", "*.pem", "*.key", "*.p12", "*.pfx", "id_rsa*", "id_ecdsa*", "id_ed25519*"]
_SECRET_NAMES += [".netrc", ".npmrc", ".pypirc", "credentials", "credentials.*", "auth_token", "*.kubeconfig"]
_SECRETS = {
    "a private key": re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "an AWS access key": re.compile(rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "an AWS secret key": re.compile(rb"(?i)aws_secret_access_key['\"]?\s*[=:]\s*['\"]?[A-Za-z0-9/+]{40}\b"),
    "a Google service account's key": re.compile(rb"\"private_key_id\"\s*:\s*\"[0-9a-f]{20,}\""),
    "an Azure storage key": re.compile(rb"AccountKey=[A-Za-z0-9+/]{60,}"),
    "a GitHub token": re.compile(rb"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{40,})"),
    "a Hugging Face token": re.compile(rb"\bhf_[A-Za-z0-9]{30,}\b"),
}
_OWN_CODE = re.compile(r"([A-Za-z_]\w*)(?:\.\w+)*:[A-Za-z_]\w*")


@dataclass(frozen=True)
class Sent:
    """A file that is sent.

    Attributes:
        source: where it lies here.
        name: its path in the job's folder.
        content: its bytes.
    """

    source: Path
    name: PurePosixPath
    content: bytes


def gather(places: Sequence[str], token: str | None = None) -> list[Sent]:
    """Read the files to send: each file under its own name, a folder under the folder's.

    Of a folder, hidden files and what a `.gitignore` in it or above it names stay here.

    Args:
        places: files and folders.
        token: the cluster's, which no file may hold.

    Raises:
        UserError: one is not there, holds a secret, stands in the place of Kindred's own, or all are too large.
    """
    listed: dict[PurePosixPath, Path] = {}
    for place in places:
        path = Path(place)
        if not path.exists():
            raise UserError(f"--with: found {place!r}, no such file or folder; expected code to send along")
        for file in _files(path):
            name = PurePosixPath(path.resolve().name, *(file.relative_to(path).parts if path.is_dir() else ()))
            _check_name(place, name)
            if listed.setdefault(name, file).resolve() != file.resolve():
                raise UserError(
                    f"--with: found {listed[name]} and {file}, both {name} in the job; expected one of them"
                )
    sizes = {file: file.stat().st_size for file in listed.values()}  # before any is read: a folder of data has no end
    size = sum(sizes.values())
    if size > _MOST_BYTES:
        largest = max(sizes, key=lambda file: sizes[file])
        raise UserError(
            f"--with: found {size / 1e6:,.0f} MB, the largest {largest} with {sizes[largest] / 1e6:,.0f} "
            f"MB; expected code, {_MOST_BYTES >> 20} MiB at most: data does not travel with a job; copy it to where "
            "every node reads it, and name it as data_root"
        )
    found = [Sent(file, name, file.read_bytes()) for name, file in listed.items()]
    for sent in found:
        _check_secrets(sent, token)
    return found


def described(sent: Sequence[Sent]) -> str:
    """Return a line of what is sent."""
    by_top: dict[str, list[Sent]] = {}
    for one in sent:
        by_top.setdefault(one.name.parts[0] + ("/" if len(one.name.parts) > 1 else ""), []).append(one)
    listed = [f"{top} ({len(of)} files)" if top.endswith("/") else top for top, of in sorted(by_top.items())]
    size = sum(len(one.content) for one in sent)
    return f"sent: {', '.join([CASE_FILE, *listed])}" + (f"; {size / 1000:,.1f} kB of code" if sent else "")


def check_own_code(case: "Case", sent: Sequence[Sent], folders: Sequence[Path]) -> None:
    """Refuse a case that names a module which lies here and is not sent.

    Args:
        case: the case.
        sent: what is sent.
        folders: where its modules are looked for: the working folder and the case file's.

    Raises:
        UserError: names the module and the option.
    """
    travels = {one.name.parts[0].removesuffix(".py") for one in sent}
    for key, word in _words(case.model_dump(mode="json", by_alias=True)):
        found = _OWN_CODE.fullmatch(word)
        if found is None or found[1] in travels:
            continue
        here = next(
            (f for folder in folders for f in (folder / f"{found[1]}.py", folder / found[1]) if f.exists()), None
        )
        if here is not None:
            raise UserError(
                f"{key}: found {word!r}, whose module lies here ({here}) and not on the cluster; expected --with {here}"
            )


def _words(value: object, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _words(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _words(inner, key)


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    rules = [_rules(folder) for folder in [path.resolve(), *path.resolve().parents][: _up_to_repository(path) + 1]]
    yield from _below(path, path.resolve(), [rule for rule in rules if rule])


def _below(folder: Path, resolved: Path, rules: "Sequence[_Rules]") -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        at = resolved / entry.name
        if any(fnmatch(entry.name, pattern) for pattern in _IGNORED) or _is_ignored(at, entry.is_dir(), rules):
            continue
        if entry.is_symlink() and entry.is_dir():
            continue  # it may lead back, or to data
        if entry.is_dir():
            inner = _rules(at)
            yield from _below(entry, at, [inner, *rules] if inner else rules)
        elif entry.is_file():
            yield entry


def _is_ignored(path: Path, is_folder: bool, rules: "Sequence[_Rules]") -> bool:
    """Ask the nearest .gitignore that has something to say, as git does."""
    for folder, spec in rules:
        said = spec.check_file(f"{path.relative_to(folder).as_posix()}{'/' if is_folder else ''}").include
        if said is not None:
            return bool(said)
    return False


def _rules(folder: Path) -> "_Rules | None":
    from pathspec import GitIgnoreSpec

    file = folder / ".gitignore"
    if not file.is_file():
        return None
    return folder, GitIgnoreSpec.from_lines(file.read_text(encoding="utf-8", errors="replace").splitlines())


def _up_to_repository(path: Path) -> int:
    """Return how many folders above this one belong to its git repository; none where it is in none."""
    above = [path.resolve(), *path.resolve().parents]
    return next((i for i, folder in enumerate(above) if (folder / ".git").exists()), 0)


def _check_name(place: str, name: PurePosixPath) -> None:
    top = name.parts[0].removesuffix(".py")
    if top in PACKAGES or str(name) == CASE_FILE:
        raise UserError(f"--with: found {place!r}, a name of Kindred's own; expected another name")


def _check_secrets(sent: Sent, token: str | None) -> None:
    what = "a name that secrets have" if any(fnmatch(sent.source.name, name) for name in _SECRET_NAMES) else None
    what = what or next((name for name, pattern in _SECRETS.items() if pattern.search(sent.content)), None)
    if token and token.encode() in sent.content:
        what = "the cluster's token"
    if what:
        raise UserError(
            f"--with: {sent.source}: found {what}; expected no secrets: the cluster keeps what is sent. Nodes have "
            "credentials of their own (a role, or the environment that they were started with)"
        )
