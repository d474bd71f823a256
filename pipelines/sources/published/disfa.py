"""DISFA: frames of videos of 27 people with the intensities of twelve action units."""

from typing import Literal

import pyarrow as pa

from pipelines.base.errors import UserError
from pipelines.sources.published._common import (
    PICTURE,
    at_frames,
    coded_units,
    decode,
    matching,
    nothing,
    parse,
    read_all,
    refuse_part,
)
from pipelines.sources.published.settings import PublishedSet
from pipelines.sources.tree import Tree

HOLDS_FROM = 2.0


class DISFA(PublishedSet):
    """DISFA as a source; see :func:`read_disfa`."""

    kind: Literal["disfa"]

    def read_table(self, tree: Tree) -> pa.Table:
        """Return a row an image."""
        return read_disfa(tree, self)


def read_disfa(tree: Tree, source: PublishedSet) -> pa.Table:
    """Read S. M. Mavadati, M. H. Mahoor, K. Bartlett, P. Trinh, J. F. Cohn, "DISFA: A Spontaneous Facial Action
    Intensity Database", IEEE Transactions on Affective Computing 4, 2013 (http://mohammadmahoor.com/disfa).

    Layout; the set ships videos, and the frames are extracted from them by who uses them::

        ActionUnit_Labels/SN001/SN001_au1.txt    1,0        (one line per frame, from 1; then the intensity, 0 to 5)
        Images/SN001/1.jpg                       frame 1

    An image belongs to the subject that a folder of its path names (SN001, or LeftVideoSN001_comp), and its file name
    ends with the frame's number (1.jpg, or LeftVideoSN001_comp_00001.jpg); a folder that starts with 0 is counted from
    0. Frames without an image, and images without a line, are left out; both cameras' frames have the labels.

    Parts: none; folds by ``subject`` are the user's.

    Columns: ``subject``; ``AU1``, ``AU2``, ... (12): true from an intensity of ``intensity`` on, by default 2, which is
    usual since K. Zhao, W.-S. Chu, H. Zhang, "Deep Region and Multi-label Learning for Facial Action Unit Detection",
    CVPR 2016.
    """
    refuse_part(source, "its column 'subject' tells the people apart")
    files = matching(tree, r"(?:^|/)(?P<sequence>SN\d{3})_(?i:au)(?P<unit>\d+)\.txt$")
    if not len(files):
        raise nothing(tree, source, "'ActionUnit_Labels/SN001/SN001_au1.txt'")
    least = HOLDS_FROM if source.intensity is None else source.intensity
    holds = {intensity: intensity >= least for intensity in range(6)}
    subjects: dict[str, dict[str, pa.Array]] = {}
    for row, raw in zip(files.to_pylist(), read_all(tree, files["name"]), strict=True):
        types = {"frame": pa.int32(), "intensity": pa.int32()}
        rows = parse(tree, row["name"], raw, list(types), types, right="'frame,intensity'")
        columns = subjects.setdefault(row["sequence"], {"frame": rows["frame"]})
        if not rows["frame"].equals(columns["frame"]):
            raise UserError(
                f"{tree}: {row['name']!r}: found other frames than the subject's other files have; expected the same"
            )
        columns[f"AU{row['unit']}"] = decode(tree, row["name"], rows["intensity"], holds)
    labels = pa.concat_tables(
        [
            pa.table({**dict.fromkeys(("sequence", "subject"), pa.repeat(subject, len(columns["frame"]))), **columns})
            for subject, columns in subjects.items()
        ],
        promote_options="default",
    )
    pictures = matching(tree, rf"(?P<sequence>SN\d{{3}})[^/]*/(?:.*/)?[^/]*?(?P<number>\d+){PICTURE}")
    table = at_frames(pictures, labels)
    if not len(table):
        raise nothing(tree, source, "image of a labelled frame ('Images/SN001/1.jpg')")
    return coded_units(table)
