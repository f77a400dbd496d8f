"""Parquet files, for the commands that write them; pyarrow is an extra."""

from pathlib import Path
from typing import Any

from uem.clients.errors import ClientError


def library() -> Any:
    """pyarrow; ClientError when it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ClientError("--parquet needs pyarrow: pip install 'uem[parquet]'") from None
    return pyarrow


def write(path: Path, columns: dict[str, Any]) -> None:
    """Write columns to a file; ClientError when that is not possible."""
    pyarrow = library()
    try:
        pyarrow.parquet.write_table(pyarrow.table(columns), path, compression="zstd")
    except OSError as error:
        raise ClientError(f"cannot write {path}: {error}") from None
