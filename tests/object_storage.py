"""Endpoints of S3 and GCS on loopback, and a proxy before them that counts requests and fails some of them."""

import http.client
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

SECRET = "the-secret-that-nobody-may-read"
_FAILURES = ("500", "503", "no answer", "half an answer")

# Port 0: the system chooses one that is free. The servers end with their standard input, however the test ends.
_S3 = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


_GCS = """
import sys
from gcp_storage_emulator.server import create_server
server = create_server("127.0.0.1", 0, in_memory=True, default_bucket="pets")
server.start()
print(server._api._httpd.server_address[1], flush=True)
sys.stdin.read()
server.stop()
"""


def s3_server():
    """Run an S3 endpoint (moto's) for as long as the block runs; yield its port."""
    return _serving(_S3)


def gcs_server():
    """Run a GCS endpoint with a bucket ``pets`` for as long as the block runs; yield its port."""
    return _serving(_GCS)


@contextmanager
def _serving(code):
    with _process("-c", code) as server:
        yield int(server.stdout.readline())


@contextmanager
def _process(*arguments):
    """Run Python in a process that ends with the block, by the end of its standard input."""
    command = [sys.executable, *arguments]
    # CREDENTIALS name a profile that is in no file, which the endpoint's own client library does not forgive.
    env = {name: value for name, value in os.environ.items() if name not in CREDENTIALS}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env
    ) as process:
        try:
            yield process
        finally:
            process.stdin.close()
            process.wait(timeout=30)


CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "kindred",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    # else the clients would read what the person who runs the tests has at home
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "AWS_PROFILE": "default",
}


def environment_for(port, **more):
    """Return the variables by which S3 clients find an endpoint on loopback, and nothing else."""
    return {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"} | CREDENTIALS | more


def url_at(port, path, anonymous=True):
    """Return the URL of something at an endpoint on loopback; not anonymous, it needs CREDENTIALS beside it.

    To write takes these: what comes anonymously is kept there with the marks of its transfer in it.
    """
    who = "&anonymous=true" if anonymous else ""
    return f"s3://{path}?endpoint_override=127.0.0.1:{port}&scheme=http{who}&region=us-east-1"


def gcs_url_at(port, path):
    """Return the URL of something at a GCS endpoint on loopback."""
    return f"gs://{path}?endpoint_override=127.0.0.1:{port}&scheme=http&anonymous=true"


def make_bucket(port, name):
    """Make a bucket that everybody may read and write."""
    anybody = {"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": [f"arn:aws:s3:::{name}/*"]}
    _ask(port, "PUT", f"/{name}")
    _ask(port, "PUT", f"/{name}?policy", json.dumps({"Version": "2012-10-17", "Statement": [anybody]}))


def ask_for_credentials(port, after):
    """Let an endpoint take the next ``after`` requests, and then those of its users only, of whom it has none."""
    _ask(port, "POST", "/moto-api/reset-auth", str(after))


def _ask(port, method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request(method, path, body)
    answer = connection.getresponse()
    assert answer.status < 300, answer.read()
    connection.close()


def put(port, path, content):
    """Store an object; the path begins with its bucket."""
    _ask(port, "PUT", f"/{quote(path)}", content)


def remove(port, path):
    _ask(port, "DELETE", f"/{quote(path)}")


def upload(port, folder, below):
    """Put every file of a folder below a path of a bucket."""
    for file in sorted(Path(folder).rglob("*")):
        if file.is_file():
            put(port, f"{below}/{file.relative_to(folder)}", file.read_bytes())


class Proxied:
    """What came through a proxy.

    Attributes:
        port: where it listens.
        requests: how many requests came, by method and path (without the query); as of the last ``count``.
        failed: how many of them it failed, by way.
    """

    def __init__(self, process):
        self.port = int(process.stdout.readline())
        self._process = process

    def count(self):
        self._process.stdin.write("count\n")
        self._process.stdin.flush()
        requests, failed = json.loads(self._process.stdout.readline())
        self.requests = Counter({(method, path): n for (method, path), n in requests})
        self.failed = Counter(failed)


@contextmanager
def proxy(port, fail_every=0):
    """Pass requests on to an endpoint, and every so many of them not; counted when the block ends.

    In a process of its own: pyarrow holds Python's lock in some of its requests, and would wait for itself.
    """
    with _process(__file__, str(port), str(fail_every)) as process:
        passing = Proxied(process)
        yield passing
        passing.count()


class _Counts:
    def __init__(self, fail_every):
        self.fail_every = fail_every
        self.requests, self.failed = Counter(), Counter()
        self._counting = threading.Lock()

    def failure_of(self, method, path):
        """Count a request; return how to fail it, or None."""
        with self._counting:
            self.requests[method, path.partition("?")[0]] += 1
            if not self.fail_every or self.requests.total() % self.fail_every:
                return None
            way = _FAILURES[self.failed.total() % len(_FAILURES)]
            if method != "GET" and way == "half an answer":
                way = "500"
            self.failed[way] += 1
            return way


def _handler(counts, port):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self):
            body = self._body()
            way = counts.failure_of(self.command, self.path)
            if way == "no answer":
                self.close_connection = True
            elif way in ("500", "503"):
                self._answer(int(way), [("Content-Type", "application/xml")], b"<Error><Code>SlowDown</Code></Error>")
            else:
                self._pass_on(body, cut=way is not None)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any

        def _body(self):
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            chunks = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return b"".join(chunks)

        def _pass_on(self, body, cut):
            upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            try:
                upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    if name.lower() not in ("transfer-encoding", "content-length", "connection", "expect"):
                        upstream.putheader(name, value)
                upstream.putheader("Content-Length", str(len(body)))
                upstream.endheaders(body)
                answer = upstream.getresponse()
                content = answer.read()
                headers = answer.getheaders()
            finally:
                upstream.close()
            self._answer(answer.status, headers, content, cut)

        def _answer(self, status, headers, content, cut=False):
            self.send_response_only(status)
            # HEAD tells the length of what it does not send
            length = next((value for name, value in headers if name.lower() == "content-length"), len(content))
            for name, value in headers:
                if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(length if self.command == "HEAD" else len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content[: len(content) // 2] if cut else content)
            self.close_connection |= cut

        def log_message(self, *_):
            pass

    return Handler


def _run_proxy(port, fail_every):
    counts = _Counts(fail_every)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(counts, port))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    for _ in sys.stdin:
        print(json.dumps([[*counts.requests.items()], counts.failed]), flush=True)
    server.shutdown()


if __name__ == "__main__":
    _run_proxy(int(sys.argv[1]), int(sys.argv[2]))
