"""ReadResponse of OPC UA -> columns: values read in bulk, by the same kernel as notifications."""

from asyncua import ua

from uem.hardware_adapters.opcua.binary import Columns, read_response
from uem.twin_core.errors import AdapterError
from uem.twin_core.measurements import is_bad

MOST_ROWS = 65_536  # of one call, for who does not say how many were asked


def decode(body: bytes, columns: Columns | None = None, *, most_rows: int = MOST_ROWS) -> Columns:
    """Decode the body of a ReadResponse message, into columns of its own or into those of the message before.

    Returns:
        The columns; a row per node and attribute, in the order of the request.

    Raises:
        AdapterError: it is not one, or it is cut short or malformed, or has more rows, or the server refuses to read.
    """
    if columns is None:
        columns = Columns()
    result = read_response(body, columns, most_rows)
    if is_bad(result):
        raise AdapterError(f"the server refuses to read: {ua.StatusCode(result).name}")
    return columns
