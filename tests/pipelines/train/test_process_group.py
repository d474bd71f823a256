"""What workers listen on is the interface that is named, and no other."""

import sys

import psutil
import pytest

from pipelines.train import process_group
from pipelines.train.process_group import address_of, interface_of, listen

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux says whose an address is")


def listened():
    return {
        (c.laddr.ip.removeprefix("::ffff:"), c.laddr.port)
        for c in psutil.Process().net_connections("tcp")
        if c.status == psutil.CONN_LISTEN
    }


@pytest.mark.parametrize(
    ("variable", "name"), [("GLOO_SOCKET_IFNAME", "lo"), ("NCCL_SOCKET_IFNAME", "=lo"), ("NCCL_SOCKET_IFNAME", "lo,x")]
)
def test_the_store_of_a_group_listens_on_the_named_interface_alone(variable, name, monkeypatch):
    for other in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(variable, name)
    before = listened()
    address, port = listen(2)
    opened = listened() - before
    process_group._kept.clear()
    assert (address, opened) == ("127.0.0.1", {("127.0.0.1", port)})


def test_an_interface_is_found_by_its_address_and_an_address_by_its_interface():
    assert address_of("lo") == "127.0.0.1"
    assert interface_of("127.0.0.1") == "lo"
    assert address_of("no-such-interface") is None
    assert interface_of("192.0.2.1") is None  # of RFC 5737: nobody's
