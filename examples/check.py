"""Stop a pipeline if cleaning took more rows than it should.

iadsr denoise log.csv -o clean.csv --json > summary.json
python examples/check.py summary.json --max-removed 0.1
"""

import argparse
import json
import sys
from pathlib import Path


def main() -> None:
    """Check the counts of a summary."""
    parser = argparse.ArgumentParser(description="Check the JSON summary of iadsr denoise.")
    parser.add_argument("summary", type=Path)
    parser.add_argument("--max-removed", type=float, required=True, help="largest allowed share of removed rows")
    arguments = parser.parse_args()
    summary = json.loads(arguments.summary.read_text(encoding="utf-8"))
    share = summary["removed"] / summary["rows"]
    if summary["kept"] + summary["removed"] != summary["rows"]:
        sys.exit(f"{summary['rows']} rows came in, {summary['kept'] + summary['removed']} were decided on")
    if share > arguments.max_removed:
        sys.exit(f"{share:.1%} of the rows were removed, more than {arguments.max_removed:.1%}")
    print(f"ok: {share:.1%} of {summary['rows']} rows removed")


if __name__ == "__main__":
    main()
