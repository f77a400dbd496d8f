"""`uem schema`: the JSON Schema of territory files, for editors that complete and check them."""

import argparse
import json
import sys

from uem.territories.schema import Territory


def text() -> str:
    """The schema as docs/territory.schema.json holds it."""
    return json.dumps(Territory.model_json_schema(), indent=1, ensure_ascii=False) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Run `uem schema`; the exit code."""
    argparse.ArgumentParser(
        prog="uem schema",
        description="Print the JSON Schema of territory files: every key, its type, range, default and unit.",
        epilog="example: uem schema > territory.schema.json",
    ).parse_args(argv)
    sys.stdout.write(text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
