"""Foreign files, tables, arrays and data sets in (`convert`), Parquet and Arrow out (`to_parquet`,
`to_arrow`)."""

from fastload.ingest.conversion import convert
from fastload.ingest.export import to_arrow, to_parquet
from fastload.ingest.progress import ProgressState
from fastload.ingest.summary import ConvertSummary, FieldSummary, Refusal

__all__ = ["ConvertSummary", "FieldSummary", "ProgressState", "Refusal", "convert", "to_arrow", "to_parquet"]
