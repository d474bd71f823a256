"""BP4D-Spontaneous: frames of 41 people in eight tasks with action units."""

from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.sources.published._common import (
    PICTURE,
    at_frames,
    coded_units,
    decode,
    malformed,
    matching,
    nothing,
    parse,
    read_all,
    refuse_intensity,
    refuse_part,
)
from pipelines.sources.published.settings import PublishedSet
from pipelines.sources.tree import Tree

_STATES = {0: False, 1: True, 9: None}


class BP4D(PublishedSet):
    """BP4D-Spontaneous as a source; see :func:`read_bp4d`."""

    kind: Literal["bp4d"]

    def read_table(self, tree: Tree) -> pa.Table:
        """Return a row an image."""
        return read_bp4d(tree, self)


def read_bp4d(tree: Tree, source: PublishedSet) -> pa.Table:
    """Read X. Zhang, L. Yin, J. F. Cohn, S. Canavan, M. Reale, A. Horowitz, P. Liu, J. M. Girard, "BP4D-Spontaneous: a
    high-resolution spontaneous 3D dynamic facial expression database", Image and Vision Computing 32, 2014
    (http://www.cs.binghamton.edu/~lijun/Research/3DFE/3DFE_Analysis.html).

    Layout, as the set's user guide has it (BP4D+ has the same)::

        AUCoding/AU_OCC/F001_T1.csv          first line: 0, then the action units' numbers; then one line per frame:
                                             its number, then 0 absent, 1 present, 9 not coded
        Sequences(2D+3D)/F001/T1/0000.jpg    the 2D images; their numbers have two to four digits

    Frames are counted from 1 and images from 0: frame 1 is image 0. A folder without an image 0 is taken for one
    whose images are named by their frames. Frames without an image, and images without a line, are left out.

    Parts: none; folds by ``subject`` are the user's.

    Columns: ``subject``, ``task``; ``AU1``, ``AU2``, ...: true, false, null (9); an action unit that is coded nowhere
    is no column.
    """
    refuse_part(source, "its column 'subject' tells the people apart")
    refuse_intensity(source, "AUCoding/AU_OCC says only whether an action unit occurs")
    files = matching(tree, r"(?:^|/)AU_OCC/(?P<subject>[FM]\d{3})_(?P<task>T\d+)\.csv$")
    if not len(files):
        raise nothing(tree, source, "'AUCoding/AU_OCC/F001_T1.csv'")
    tables = []
    for row, raw in zip(files.to_pylist(), read_all(tree, files["name"]), strict=True):
        name = row["name"]
        header = [field.strip() for field in raw.partition(b"\n")[0].decode("utf-8-sig", "replace").split(",")]
        if len(header) < 2 or not all(field.isdigit() for field in header[1:]):
            raise malformed(tree, name, 1, ",".join(header), "'0,1,2,...', the numbers of the action units")
        units = [f"AU{int(field)}" for field in header[1:]]
        types = dict.fromkeys(["frame", *units], pa.int32())
        rows = parse(
            tree, name, raw, ["frame", *units], types, skip=1, right=f"a frame and {len(units)} times 0, 1 or 9"
        )
        columns = {"sequence": f"{row['subject']}/{row['task']}", "subject": row["subject"], "task": row["task"]}
        labels = {unit: decode(tree, name, rows[unit], _STATES, first_line=2) for unit in units}
        same = {column: pa.repeat(value, len(rows)) for column, value in columns.items()}
        tables.append(pa.table({**same, "frame": rows["frame"], **labels}))
    pictures = matching(tree, rf"(?P<subject>[FM]\d{{3}})[/_](?P<task>T\d+)/(?P<number>\d+){PICTURE}")
    sequences = pc.binary_join_element_wise(pictures["subject"], pictures["task"], "/")
    pictures = pictures.append_column("sequence", sequences)
    table = at_frames(pictures, pa.concat_tables(tables, promote_options="default"))
    if not len(table):
        raise nothing(tree, source, "image of a coded frame ('F001/T1/0000.jpg')")
    return coded_units(table)
