"""The short form of `make fuzz`: without sanitizers, in a process of its own, which a crash would end."""

import subprocess
import sys
from pathlib import Path


def test_mutated_messages_are_read_as_a_plain_decoder_reads_them_or_refused_by_both():
    command = [sys.executable, str(Path(__file__).with_name("fuzz.py")), "--mutations", "20000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("20000 messages alike")
