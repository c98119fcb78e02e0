"""Tables as Parquet files, by pyarrow, where it is installed."""

from __future__ import annotations

import io

from fleet.web.exporting import Table
from wire.errors import UnavailableError


def parquet_bytes(table: Table) -> bytes:
    """Return the table as a Parquet file; raise UnavailableError without pyarrow."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise UnavailableError("Parquet needs pyarrow: pip install 'edgeflock[parquet]'") from error
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(table.columns), out, compression="zstd")
    return out.getvalue()
