"""What cleaning takes at 10^8 to 10^11 rows: costs per row measured at three sizes, a model of them, and its check.

    python benchmarks/scale.py [--rows 1000000 3000000 10000000] [--items 200000] [--cpus 32]
    python benchmarks/scale.py --default --rows 3000000 5000000 10000000

Logs are those of benchmarks/parts.py, with a ready model, cleaned in parts. The smallest and the largest size give
seconds per row of each pass (a straight line through both), the middle one checks what the line says of it. With
`--default` the default method judges them, which learns from the first two million rows, as many in each size: that is
part of the start. What stays on disk on the way is looked at in a run that --max-removed stops before it writes. Prices
are an assumption: --dollars an hour for each CPU, --dollars-disk a month for each GB.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import iadsr
from parts import generate, make_model

_PASSES = ("split", "score", "write")
_ROWS_PER_USER = 100


def on_the_way(folder: Path, shared: list[object]) -> float:
    """Return the bytes in the cache when all is judged and nothing is written."""
    command = [sys.executable, "-m", "iadsr_cli", "denoise", folder / "log.parquet", "-o", folder / "none.parquet"]
    found = subprocess.run([*map(str, [*command, *shared, "--max-removed", "0%"])], capture_output=True, check=False)
    if found.returncode != 3:
        raise SystemExit(found.stderr.decode())
    return sum(path.stat().st_size for path in (folder / "cache").rglob("*.arrow"))


def main() -> None:
    """Measure, fit, check, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs=3, default=[1_000_000, 3_000_000, 10_000_000])
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--default", action="store_true", help="judge by the default method, without a model")
    parser.add_argument("--cpus", type=int, default=32, help="of a cluster that scores by --engine ray")
    parser.add_argument("--dollars", type=float, default=0.05, help="for a CPU and an hour")
    parser.add_argument("--dollars-disk", type=float, default=0.08, help="for a GB of disk and a month")
    parser.add_argument("--folder", help="where the logs go while it runs")
    arguments = parser.parse_args()
    seconds: dict[int, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        folder = Path(temporary)
        shared: list[object] = ["--cache-dir", folder / "cache", "--budget", "5%", "--in-parts", "always"]
        if not arguments.default:
            make_model(folder / "model", arguments.items)
            shared += ["--model", folder / "model"]
        for rows in arguments.rows:
            generate(folder / "log.parquet", rows, rows // _ROWS_PER_USER, arguments.items)
            took, memory, summary = iadsr(
                "denoise", folder / "log.parquet", "-o", folder / "clean.parquet", *shared, "--json", "--force"
            )
            seconds[rows] = {**summary["seconds"], "all": took}
            size = (folder / "log.parquet").stat().st_size / rows
            passes = ", ".join(f"{name} {seconds[rows][name]:.1f} s" for name in _PASSES)
            print(f"{rows:,} rows, {size:.0f} bytes each: {took:.0f} s ({passes}), peak {memory:.2f} GB", flush=True)
            if rows == arguments.rows[0]:
                disk = on_the_way(folder, shared) / rows
                print(f"  on disk on the way: {disk:.0f} bytes per row", flush=True)
    small, middle, large = arguments.rows
    per_row = {name: (seconds[large][name] - seconds[small][name]) / (large - small) for name in _PASSES}
    whole = sum(per_row.values())
    start = seconds[small]["all"] - whole * small
    told = start + whole * middle
    print(f"start {start:.1f} s; " + ", ".join(f"{name} {1e6 * per_row[name]:.2f} µs a row" for name in _PASSES))
    print(
        f"the line says {told:.0f} s of {middle:,} rows, which took {seconds[middle]['all']:.0f} s "
        f"({told / seconds[middle]['all'] - 1:+.0%})\n"
    )
    print(f"| rows | hours, 2 CPUs | hours, {arguments.cpus} CPUs | GB on disk | GB read and written | dollars |")
    print("|---|---|---|---|---|---|")
    for power in (8, 9, 10, 11):
        rows = 10**power
        alone = (start + rows * whole) / 3600
        # One process splits and writes; the pairs of CPUs that were measured score side by side.
        serial = (start + rows * (per_row["split"] + per_row["write"])) / 3600
        shared_out = serial + rows * per_row["score"] / 3600 / (arguments.cpus / 2)
        held = rows * (disk + 2 * size) / 1e9
        moved = rows * (2 * disk + 4 * size) / 1e9
        price = shared_out * arguments.cpus * arguments.dollars + held * arguments.dollars_disk * shared_out / 730
        print(f"| 10^{power} | {alone:,.1f} | {shared_out:,.1f} | {held:,.0f} | {moved:,.0f} | {price:,.2f} |")


if __name__ == "__main__":
    main()
