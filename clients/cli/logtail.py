"""The log of a process that `uem up` started: a file, and its newest lines in memory."""

import re
from asyncio import StreamReader
from collections import deque
from pathlib import Path

_LINES = 60
_LONGEST = 65_536
_LEVEL = re.compile(r"^\d{4}-\S+( \S+)? (WARNING|ERROR|CRITICAL) ")


class LogTail:
    """Lines go to the file and stay here too, so that a full disk does not hide why a process failed.

    `error` is the newest line of level ERROR, `warning` the newest of WARNING or above; empty when there is none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: deque[str] = deque(maxlen=_LINES)
        self.error = ""
        self.warning = ""
        self._unwritten = ""  # why the file lacks lines

    def add(self, line: bytes) -> None:
        """Take a line, without its end."""
        text = line.decode("utf-8", "replace").rstrip()
        self.lines.append(text)
        level = _LEVEL.match(text)
        if level:
            self.warning = text
            self.error = self.error if level[2] == "WARNING" else text
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.write(line + b"\n")
        except OSError as error:
            self._unwritten = f", incomplete: {error.strerror}"

    async def keep(self, stream: StreamReader) -> None:
        """Take all lines of a stream until its end; one that is very long comes in pieces."""
        rest = b""
        while chunk := await stream.read(_LONGEST):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > _LONGEST:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self.add(line)
        if rest:
            self.add(rest)

    def last_words(self, error_prefix: str, most: int = 12) -> str:
        """From the newest line that begins with `error_prefix` on, else the newest lines; and where the log is."""
        lines = list(self.lines)
        said = [i for i, line in enumerate(lines) if line.startswith(error_prefix)]
        tail = lines[said[-1] :] if said else lines[-most:]
        return "".join(f"\n  {line}" for line in tail) + f"\n  (log: {self.path}{self._unwritten})"
