"""Every kind of source, by the name that a case file gives it."""

from typing import Annotated

from mtlcore.registry import Registry
from pipelines.base.kinds import ByKind
from pipelines.sources.source import SourceSettings

SOURCES: Registry[type[SourceSettings]] = Registry(
    "source",
    "kindred.sources",
    {
        "image_folder": "pipelines.sources.image_folder:ImageFolder",
        "csv": "pipelines.sources.text_tables:CsvTable",
        "json_lines": "pipelines.sources.text_tables:JsonLines",
        "parquet": "pipelines.sources.parquet_table:ParquetTable",
        "hugging_face": "pipelines.sources.parquet_table:HuggingFace",
        "webdataset": "pipelines.sources.webdataset:WebDataset",
        "numpy": "pipelines.sources.numpy_arrays:NumpyArrays",
        "series": "pipelines.sources.series:Series",
        "drawn_faces": "pipelines.sources.embedded.drawn.sources:DrawnFaces",
        "drawn_birds": "pipelines.sources.embedded.drawn.sources:DrawnBirds",
        "drawn_shoes": "pipelines.sources.embedded.drawn.sources:DrawnShoes",
        "made_vectors": "pipelines.sources.embedded.studies.source:MadeVectors",
        "affectnet": "pipelines.sources.published.affectnet:AffectNet",
        "aff_wild2": "pipelines.sources.published.aff_wild2:AffWild2",
        "bp4d": "pipelines.sources.published.bp4d:BP4D",
        "celeba": "pipelines.sources.published.celeba:CelebA",
        "cub_200_2011": "pipelines.sources.published.cub_200_2011:CUB200",
        "disfa": "pipelines.sources.published.disfa:DISFA",
        "emotionet": "pipelines.sources.published.emotionet:EmotioNet",
        "grocery_store": "pipelines.sources.published.grocery_store:GroceryStore",
        "raf_db": "pipelines.sources.published.raf_db:RafDB",
        "ut_zappos50k": "pipelines.sources.published.ut_zappos50k:UTZappos50K",
    },
)

Source = Annotated[SourceSettings, ByKind(SOURCES, SourceSettings)]
