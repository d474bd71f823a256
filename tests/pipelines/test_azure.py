"""Azure's storage: what a URL has to say, and files in it, where its emulator Azurite is installed."""

import json
import os
import shutil
import socket
import subprocess
import sys

import pytest

from pipelines.base.errors import UserError
from pipelines.base.storage import file_system
from tests.processes import wait_until

# Azurite's own, which is the same everywhere and stands in its documentation.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
FILES = """
import json, sys
from pipelines.base import storage
url = sys.argv[1]
missing = storage.missing_bucket(url)
storage.file_system(url)[0].create_dir("pets")
file = storage.join(url, "a", "b.txt")
storage.write_whole(file, "hello")
said = [missing, storage.missing_bucket(url), storage.read_bytes(file).decode(), storage.kind_of(file)]
said += [storage.kind_of(url), storage.stat(file).size, [entry.name for entry in storage.list_below(url)]]
opened = storage.open_ranges(file)
opened.seek(2)
said.append(opened.read(2).decode())
storage.delete(file)
storage.delete(file)
said.append(storage.kind_of(file))
print(json.dumps(said))
"""


@pytest.fixture(autouse=True)
def no_account(monkeypatch):
    for name in list(os.environ):
        if name.startswith("AZURE_"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("abfs://pets/runs", "no account, and AZURE_STORAGE_ACCOUNT is not set; expected abfs://CONTAINER@ACCOUNT"),
        ("abfs://@birds.dfs.core.windows.net/runs", "found no container"),
        ("abfs://me:a-secret@birds.dfs.core.windows.net/runs", "credentials do not belong in a URL"),
        ("abfs://pets@birds/runs?sig=a-secret", "secrets do not belong in a URL"),
        ("abfs://pets@birds/runs?account_key=a-secret", "secrets do not belong in a URL"),
        ("abfs://pets@birds/runs?tennant_id=1", "did you mean 'tenant_id'?"),
    ],
)
def test_a_wrong_url_of_azure_is_told_and_no_secret_with_it(url, says):
    with pytest.raises(UserError) as refused:
        file_system(url)
    assert says in str(refused.value)
    assert "a-secret" not in str(refused.value)


def test_the_account_stands_in_the_url_or_in_the_environment(monkeypatch):
    monkeypatch.setenv("AZURE_STORAGE_KEY", KEY)
    assert file_system("abfs://pets@birds.dfs.core.windows.net/runs/a%3Fb/")[1] == "pets/runs/a?b"
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "birds")
    assert file_system("abfss://pets/runs")[1] == "pets/runs"


@pytest.mark.skipif(shutil.which("azurite-blob") is None, reason="Azurite (npm install --global azurite) is not there")
def test_files_in_azure(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["azurite-blob", "--silent", "--inMemoryPersistence", "--blobHost=127.0.0.1", f"--blobPort={port}"]
    server = subprocess.Popen([*command, "--skipApiVersionCheck"], cwd=tmp_path, stdout=subprocess.DEVNULL)
    try:

        def listens():
            with socket.socket() as asked:
                return asked.connect_ex(("127.0.0.1", port)) == 0

        wait_until(listens, "Azurite listens", 60, still=lambda: server.poll() is None)
        emulated = "&".join(
            f"{of}_authority=127.0.0.1:{port}&{of}_scheme=http" for of in ("blob_storage", "dfs_storage")
        )
        url = f"abfs://pets@devstoreaccount1.dfs.core.windows.net/runs?{emulated}"
        environment = os.environ | {"AZURE_STORAGE_KEY": KEY}
        done = subprocess.run(
            [sys.executable, "-c", FILES, url], env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == ["pets", None, "hello", "file", "folder", 5, ["a/b.txt"], "ll", "none"]
    finally:
        server.kill()
        server.wait()
