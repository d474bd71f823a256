"""Tables as people have them, each with the labels that must be read from it, or what must be told."""

from dataclasses import dataclass, field
from typing import Any

KIND = {"kind": {"from": "column", "column": "kind"}}
TRAITS = {"traits": {"from": "columns"}}
IN_ONE_CELL = {"from": "column", "column": "traits"}
BOTH, FURRY, FLIES, NONE = [True, True], [True, False], [False, True], [False, False]


@dataclass(frozen=True)
class Table:
    """Files, how they are read, and what comes of it; every image that a table names is there unless it says so."""

    name: str
    text: str
    labels: dict[str, Any]
    expected: list[Any]  # labels of the one task, in the order of ids
    source: dict[str, Any] = field(default_factory=dict)
    select: dict[str, Any] | None = None
    files: tuple[str, ...] = ("a.png", "b.png", "c.png", "d.png")
    beside: dict[str, str] = field(default_factory=dict)  # other text files
    quarantined: dict[str, str] = field(default_factory=dict)  # reasons by id, each as it begins
    notes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Refused:
    """A table that cannot be read, and what must be told of it."""

    name: str
    text: str
    told: str
    labels: dict[str, Any] = field(default_factory=lambda: KIND)
    source: dict[str, Any] = field(default_factory=dict)
    select: dict[str, Any] | None = None


def columns(*rows, names="furry,flies"):
    return f"file,{names}\n" + "".join(f"{'abcd'[i]}.png,{row}\n" for i, row in enumerate(rows))


def rule(**more):
    return {"traits": {"from": "columns"} | more}


def cell(**more):
    return {"traits": IN_ONE_CELL | more}


SPELT = "file names in another spelling: "
MERGED = "rows put together with another row of the same image"

TABLES = [
    Table("minus-one", columns("1,-1", "-1,1", "-1,-1"), rule(values={1: True, -1: False}), [FURRY, FLIES, NONE]),
    Table(
        "minus-one-and-zero",
        columns("1,-1", "0,1", "-1,"),
        rule(values={1: True, -1: False, 0: None}),
        [FURRY, [None, True], [False, None]],
    ),
    Table("any-case", columns("YES,no", "False,TRUE", "y,N", "On,off"), TRAITS, [FURRY, FLIES, FURRY, FURRY]),
    Table(
        "own-words",
        columns("present,absent", "absent,?"),
        rule(values={"present": True, "absent": False}, not_annotated=["?"]),
        [FURRY, [False, None]],
    ),
    Table("percentages", columns("87%,12%", "50 %,"), rule(threshold="50%"), [FURRY, [True, None]]),
    Table("percent-of-100", columns("87%,12%", "50%,60%"), rule(threshold=50), [FURRY, BOTH]),
    Table("certainties", columns("0.9,0.2", "1.0,0.5"), rule(threshold=0.5), [FURRY, BOTH]),
    Table("bars", columns("furry|flies", "flies", "|", "", names="traits"), cell(), [BOTH, FLIES, NONE, None]),
    Table("blanks", columns("furry flies", "flies", names="traits"), cell(separator=" "), [BOTH, FLIES]),
    Table("semicolons", columns("furry; flies", "flies;", names="traits"), cell(separator=";"), [BOTH, FLIES]),
    Table("commas-in-quotes", columns('"furry, flies"', "flies", names="traits"), cell(separator=","), [BOTH, FLIES]),
    Table("one-hot", columns("1.0,0.0", "0,1", names="cat,dog"), {"kind": {"from": "columns"}}, [0, 1]),
    Table(
        "one-hot-undecided",
        columns("1,0", "1,1", "0,0", ",", names="cat,dog"),
        {"kind": {"from": "columns"}},
        [0, None],
        quarantined={"b.png": "no one class: 2 hold (cat, dog)", "c.png": "no one class: none holds"},
    ),
    Table(
        "numbers-and-names",
        columns("0", "1", "1.0", names="kind"),
        {"kind": {"from": "column", "column": "kind", "names": "names.txt"}},
        [0, 1, 1],
        beside={"names.txt": "cat\ndog\n"},
    ),
    Table(
        "numbered-names",
        columns("7", "3", names="kind"),
        {"kind": {"from": "column", "column": "kind", "names": "names.csv"}},
        [0, 1],
        beside={"names.csv": 'id,name\n7,"cat"\n3,dog\n'},
    ),
    Table(
        "lists-as-pandas-writes-them",
        columns("\"['furry', 'flies']\"", "\"['furry']\"", "[]", '"[""flies""]"', names="traits"),
        cell(),
        [BOTH, FURRY, NONE, FLIES],
    ),
    Table(
        "annotators",
        columns("cat,cat,dog", "dog,,", "cat,dog,", ",,", names="x,y,z"),
        {"kind": {"from": "annotators", "columns": ["x", "y", "z"]}},
        [0, 1, None, None],
    ),
    Table(
        "long",
        "file,traits\na.png,furry\nb.png,flies\na.png,flies\n",
        {"traits": IN_ONE_CELL | {"long": True}},
        [BOTH, FLIES],
        notes={MERGED: 1},
    ),
    Table(
        "long-with-values",
        "file,traits,sure\na.png,furry,1\na.png,flies,0\nb.png,flies,1\nc.png,furry,1\nc.png,furry,0\n",
        {"traits": IN_ONE_CELL | {"long": True, "value_column": "sure"}},
        [FURRY, [None, True]],
        quarantined={"c.png": "contradicting rows"},
        notes={MERGED: 2},
    ),
    Table(
        "split-column",
        columns("cat,train", "dog,test", "dog,train", names="kind,part"),
        KIND,
        [0, 1],
        select={"where": {"part": "train"}},
    ),
    Table(
        "split-number",
        columns("cat,0", "dog,1", "dog,2", names="kind,part"),
        KIND,
        [0, 1],
        select={"where": {"part": [0, 2]}},
    ),
    Table(
        "split-truth", columns("cat,True", "dog,False", names="kind,held"), KIND, [1], select={"where": {"held": False}}
    ),
    Table(
        "folder-and-ending",
        "file,kind\na,cat\nb,dog\n",
        KIND,
        [0, 1],
        {"file_prefix": "x/", "file_suffix": ".png"},
        files=("x/a.png", "x/b.png"),
    ),
    Table(
        "spellings",
        "file,kind\nx\\a.png,cat\nx/b.PNG,dog\nx/c,cat\nx/e%20e.png,dog\n",
        KIND,
        [1, 0, 1, 0],
        files=("x/a.png", "x/b.png", "x/c.png", "x/e e.png"),
        notes={
            SPELT + "other separators": 1,
            SPELT + "another case": 1,
            SPELT + "no ending": 1,
            SPELT + "escapes of a URL": 1,
        },
    ),
    Table(
        "ambiguous-case",
        "file,kind\nA.PNG,cat\n",
        KIND,
        [],
        files=("a.png", "A.png"),
        quarantined={"A.PNG": "missing file"},
    ),
    Table(
        "elsewhere",
        "file,kind\na.png,cat\n",
        KIND,
        [],
        files=("x/a.png",),
        quarantined={"a.png": "missing file: x/a.png is there; set source.file_prefix: 'x/'"},
    ),
    Table(
        "ragged-and-repeated",
        "file,kind\na.png,cat\n\nb.png\nfile,kind\nc.png,dog,1\nd.png,dog\n",
        KIND,
        [0, 1],
        quarantined={
            "pets.csv#line-4": "1 columns where the table has 2",
            "pets.csv#line-5": "repeated header",
            "pets.csv#line-6": "3 columns where the table has 2",
        },
    ),
    Table(
        "over-lines",
        'file,kind,said\na.png,cat,"two\nlines"\nb.png,dog,x\nc.png,cat\n',
        KIND,
        [0, 1],
        quarantined={"pets.csv#line-5": "2 columns where the table has 3"},
        notes={"lines that belong to the row before them (a cell over several lines)": 1},
    ),
    Table("inches", 'file,kind,said\na.png,cat,5" wide\nb.png,dog,6"\n', KIND, [0, 1]),
    Table("quotes-are-text", 'file,kind,said\na.png,cat,"wide\nb.png,dog,x\n', KIND, [0, 1], {"quoting": "none"}),
    Table("of-windows", "\ufefffile,kind\r\na.png,cat\r\nb.png,dog\r\n", KIND, [0, 1]),
]

REFUSED = [
    Refused(
        "stray-quote",
        'file,kind\na.png,cat\nb.png,"dog\nc.png,cat\nd.png,"dog\n',
        "line 3: a quotation mark opens a cell here and is closed on line 5, and 2 of",
    ),
    Refused(
        "stray-quotes",
        'file,kind\na.png,"cat\nb.png,dog\nc.png,cat"\n',
        "line 2: a quotation mark opens a cell here and is closed on line 4, and 2 of",
    ),
    Refused("other-delimiter", "file;kind\na.png;cat\n", 'for which source.delimiter: ";" is there'),
    Refused(
        "no-such-split",
        "file,kind,part\na.png,cat,train\n",
        "found no row with 'training'; the column has 'train' (1)",
        select={"where": {"part": "training"}},
    ),
    Refused(
        "separator-proposed",
        "file,traits\na.png,furry flies\n",
        "set labels.<task>.separator: ' '",
        labels={"traits": IN_ONE_CELL},
    ),
    Refused("web-page", "<!DOCTYPE html><html>404</html>\n", "found a web page"),
    Refused("lfs-pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
    Refused("workbook", "PK\x03\x04xl/workbook.xml\n", "save the sheet as CSV"),
    Refused("nobody-said", "file,kind\na.png,N/A\n", "set labels.<task>.not_annotated: ['N/A']"),
    Refused("numbers-without-names", "file,kind\na.png,3\n", "labels.<task>.names or labels.<task>.values"),
    Refused(
        "minus-one-proposed",
        "file,furry,flies\na.png,1,-1\n",
        "labels.<task>.values says what others mean: {1: yes, -1: no}",
        labels=TRAITS,
    ),
]
