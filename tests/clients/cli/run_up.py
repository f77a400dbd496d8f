"""`uem up` with fake processes: python run_up.py FOLDER ARGUMENTS..."""

import sys
from pathlib import Path

from uem.clients.cli import up

CHILD = Path(__file__).parent / "fake_child.py"
raise SystemExit(up.main(sys.argv[2:], lambda name: [sys.executable, str(CHILD), sys.argv[1], name], drain_s=5.0))
