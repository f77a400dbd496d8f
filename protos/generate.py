"""Write the protobuf and gRPC stubs of `uem/v1`, or with --check compare them with what is committed."""

import argparse
import os
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent


def generate(out: Path) -> list[Path]:
    """Write all stubs below `out`; returns the files."""
    sources = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("uem/v1/*.proto"))
    well_known = str(files("grpc_tools") / "_proto")
    arguments = ["protoc", f"-I{ROOT}", f"-I{well_known}", f"--python_out={out}", f"--grpc_python_out={out}"]
    arguments += [f"--mypy_out={out}", f"--mypy_grpc_out={out}", *sources]
    # protoc looks for its mypy plug-ins on the PATH: those beside this interpreter.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    if protoc.main(arguments) != 0:
        raise SystemExit("protoc failed")
    return sorted((out / "uem" / "v1").glob("*_pb2*.py*"))


def differences() -> list[str]:
    """Names of the committed stubs that differ from freshly generated ones."""
    committed = {path.name: path.read_bytes() for path in (ROOT / "uem" / "v1").glob("*_pb2*.py*")}
    with tempfile.TemporaryDirectory() as folder:
        fresh = {path.name: path.read_bytes() for path in generate(Path(folder))}
    return sorted(name for name in committed.keys() | fresh.keys() if committed.get(name) != fresh.get(name))


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 when a stub is out of date")
    if not parser.parse_args().check:
        generate(ROOT)
        return 0
    if wrong := differences():
        print(f"stubs out of date: {', '.join(wrong)}; run `make protos` and commit", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
