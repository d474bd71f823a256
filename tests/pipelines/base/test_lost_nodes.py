"""What the log says of nodes of a cluster that are lost."""

from pipelines.base.lost_nodes import lost


def node(name, alive, reason=0):
    """Return a node as ``ray.nodes`` has it."""
    return {"NodeID": name * 28, "Alive": alive, "NodeManagerAddress": "10.0.0.7", "DeathReason": reason}


def test_a_node_that_is_lost_is_told_once_and_one_that_ended_as_it_should_is_not():
    known = {node(name, True)["NodeID"] for name in ("aa", "bb", "cc", "dd")}
    nodes = [node("aa", True), node("bb", False, 2), node("cc", False, 4), node("dd", False, 1), node("ee", False, 2)]
    (told,) = lost(known, nodes)
    assert told.startswith("node 10.0.0.7 (bbbbbbbbbbbb) is lost; what it was at is done again")
    assert known == {node("aa", True)["NodeID"]}
    assert list(lost(known, nodes)) == []
