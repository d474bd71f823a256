"""EmotioNet: images from the web with action units."""

from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.sources.published._common import (
    PICTURE,
    action_units,
    coded_units,
    decode,
    malformed,
    matching,
    nothing,
    parse,
    refuse_intensity,
    refuse_part,
)
from pipelines.sources.published.settings import PublishedSet
from pipelines.sources.tree import Tree

_LISTS = r"(?:^|/)(?i:emotionet_facs[^/]*\.(?:csv|tsv|txt)|datafile_[^/]*\.txt)$"
_STATES = {0: False, 1: True, 999: None}
_UNITS = 60  # of a list without a header


class EmotioNet(PublishedSet):
    """EmotioNet as a source; see :func:`read_emotionet`."""

    kind: Literal["emotionet"]

    def read_table(self, tree: Tree) -> pa.Table:
        """Return a row an image."""
        return read_emotionet(tree, self)


def read_emotionet(tree: Tree, source: PublishedSet) -> pa.Table:
    """Read C. F. Benitez-Quiroz, R. Srinivasan, A. M. Martinez, "EmotioNet: An Accurate, Real-Time Algorithm for the
    Automatic Annotation of a Million Facial Expressions in the Wild", CVPR 2016, as the EmotioNet challenge distributes
    it (http://cbcsl.ece.ohio-state.edu/EmotionNetChallenge).

    The set is lists of URLs; the images are downloaded by who uses them, each under the file name of its first
    URL, in folders of any name. Layout::

        EmotioNet_FACS_aws_2020_24600.csv    URL,URL orig,AU 1,AU 2,...,AU 60    (comma or tab; names in quotes or not)
        dataFile_0001.txt, ...               the same without a header: two URLs and 60 numbers, with tabs
        images/N_0000000001_00001.jpg        of https://.../N_0000000001/N_0000000001_00001.jpg

    A URL whose image was not downloaded keeps its row, under the name that the image would have.

    Parts: none.

    Columns: ``AU1``, ``AU2``, ...: true (1), false (0), null (999: not annotated); an action unit that is annotated
    nowhere is no column.
    """
    refuse_part(source)
    refuse_intensity(source, "the set says of an action unit only whether it occurs")
    lists = matching(tree, _LISTS)
    if not len(lists):
        raise nothing(tree, source, "'EmotioNet_FACS_aws_2020_24600.csv' or 'dataFile_0001.txt'")
    rows = pa.concat_tables([_list(tree, name) for name in lists["name"].to_pylist()], promote_options="default")
    pictures = matching(tree, rf"(?P<file>[^/]+){PICTURE}")
    files = pc.replace_substring_regex(pictures["name"], r"^.*/", "")
    indices = pc.index_in(rows["picture"], files)
    if len(rows) and indices.null_count == len(rows):
        raise nothing(tree, source, f"image {rows['picture'][0].as_py()!r}, nor that of any other URL")
    picture_names = pc.coalesce(pictures["name"].take(indices), rows["picture"])
    return coded_units(rows.set_column(0, "picture", picture_names))


def _list(tree: Tree, name: str) -> pa.Table:
    raw = tree.read(name)
    first = raw.partition(b"\n")[0].decode("utf-8-sig", "replace").rstrip("\r")
    delimiter = "\t" if "\t" in first else ","
    header = [field.strip(" '\"").replace(" ", "") for field in first.split(delimiter)]
    skip = int(header[0].upper() == "URL")
    if not skip:
        header = ["URL", "URLorig", *(f"AU{unit}" for unit in range(1, _UNITS + 1))]
    units = action_units(header)
    if not units:
        raise malformed(tree, name, 1, first, "'URL,URL orig,AU 1,AU 2,...'")
    header[0] = "URL"
    types = {"URL": pa.string(), **dict.fromkeys(units, pa.int32())}
    right = f"{len(header)} fields: a URL, its origin, and numbers"
    rows = parse(tree, name, raw, header, types, delimiter=delimiter, skip=skip, right=right, nulls=("", "NaN", "nan"))
    urls = pc.utf8_trim(rows["URL"], " '\"")
    columns = {"picture": pc.replace_substring_regex(urls, r"^.*/|[?#].*$", "")}
    for unit in units:
        columns[unit] = decode(tree, name, rows[unit], _STATES, first_line=1 + skip)
    return pa.table(columns)
