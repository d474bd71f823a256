"""Every kind of source."""

from typing import Annotated

from pydantic import Field

from pipelines.sources.image_folder import ImageFolder
from pipelines.sources.numpy_arrays import NumpyArrays
from pipelines.sources.parquet_table import HuggingFace, ParquetTable
from pipelines.sources.published.settings import PublishedSet
from pipelines.sources.text_tables import CsvTable, JsonLines
from pipelines.sources.webdataset import WebDataset

Source = Annotated[
    ImageFolder | CsvTable | JsonLines | ParquetTable | HuggingFace | WebDataset | NumpyArrays | PublishedSet,
    Field(discriminator="kind"),
]
