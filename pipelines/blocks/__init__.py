"""Arrow blocks, the ingested form of a dataset: schema, writer, reader, manifest and cache."""
