"""What is told of a text file that is not UTF-8: what it seems to be instead, and how it becomes one that is."""

import codecs

_PARQUET = b"PAR1"  # at both ends
_BINARY = (
    (b"PK\x03\x04", "an Excel workbook or another zip archive: save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook: save the sheet as CSV"),
    (b"\x1f\x8b", "compressed by gzip: unpack it"),
    (_PARQUET, "Parquet: set source.kind: parquet"),
    (b"\x93NUMPY", "an array of NumPy: set source.kind: numpy"),
)
_POINTER = b"version https://git-lfs.github.com/"


def text_of_table(content: bytes) -> str:
    """Return the text of a table, without a byte-order mark.

    Raises:
        ValueError: it is no text in UTF-8, or text of another kind; says what it seems to be.
    """
    for begins, what in _BINARY:
        if content.startswith(begins) and (begins != _PARQUET or content.endswith(_PARQUET)):
            raise ValueError(f"found {what}; expected a table as text in UTF-8")
    if content.startswith(_POINTER):
        raise ValueError("found a pointer of Git LFS in the place of the file; `git lfs pull` brings it")
    if content[:200].lstrip(b"\xef\xbb\xbf \r\n\t").lower().startswith((b"<!doctype html", b"<html")):
        raise ValueError("found a web page, perhaps a download that was refused; expected a table as text")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        other = "UTF-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "ISO-8859-1"
        raise ValueError(
            f"byte {error.start} is not UTF-8; expected a table in UTF-8 (`iconv -f {other} -t UTF-8 FILE` writes it, "
            f"if it is {other})"
        ) from None
