"""Data that come with an installed library, written out as sources so that a case runs without a download."""

from pathlib import Path

from pipelines.case import Case


def write_embedded(case: Case) -> None:
    """Write the sources of a case whose data are embedded; do nothing for another, or where they stand already."""
    if case.embedded == "digits":
        from pipelines.embedded.digits import write_digits

        write_digits(Path(str(case.data_root)))
