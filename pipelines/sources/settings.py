"""Types that several sources' settings share."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from pipelines.base.section import one_or_more

Columns = Annotated[tuple[str, ...], BeforeValidator(one_or_more)]

# One path or a list of them, each below data_root, absolute, or a URL (s3://, gs://); * and ** match names.
# A part of a path may be a zip or tar archive, which is read in place.
Paths = Annotated[tuple[str, ...], BeforeValidator(one_or_more), Field(min_length=1)]
