"""An address at which something else than Ray listens is told at once; Ray would ask again for many minutes."""

import socket
import threading

import pytest

from pipelines.base.errors import UserError
from pipelines.base.ray_session import check_somebody_answers


@pytest.fixture
def listening():
    """Listen on a port, and answer the first who comes with some bytes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer(reply):
            def serve():
                connection, _ = server.accept()
                with connection:
                    connection.recv(100)
                    connection.sendall(reply)

            threading.Thread(target=serve, daemon=True).start()
            return f"127.0.0.1:{server.getsockname()[1]}"

        yield answer


@pytest.mark.parametrize("reply", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH\r\n", b""])
def test_something_else_that_listens_is_told(listening, reply):
    with pytest.raises(UserError, match=r"RAY_ADDRESS: .*somebody listens there, and it is no Ray"):
        check_somebody_answers(listening(reply))


def test_what_begins_as_grpc_does_is_taken_for_ray(listening):
    check_somebody_answers(listening(b"\0\0\0\x04\0\0\0\0\0"))
