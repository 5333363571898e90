#!/usr/bin/env python3
"""Table, figures and chart of what dry runs predict (predict.sh).

usage: benchmarks/scaling/prediction.py [--svg FILE] "NAME=REPORT" ...
"""
import argparse
import pathlib
import re

import chart

LEAST, BENT = 8, 0.05  # ranks of the first row; the share by which a step may be longer than on LEAST ranks


def rows_of(report):
    """Ranks and seconds: all, passes, over tp, over dp, over all ranks, whole batch."""
    rows = []
    for line in pathlib.Path(report).read_text().splitlines():
        numbers = re.sub(r"^\[.*?\]", "", line).split()
        if len(numbers) == 7 and all(re.fullmatch(r"[0-9.e+-]+", n) for n in numbers):
            rows.append([float(n) for n in numbers])
    if not rows:
        raise SystemExit(f"{report} has no table of ranks and seconds")
    return rows


def bend(rows):
    """Ranks at which a step is longer by BENT than on the fewest, between the rows by a straight line; infinity where it
    is not within them."""
    limit = rows[0][1] * (1 + BENT)
    for (a, b) in zip(rows, rows[1:]):
        if b[1] > limit:
            return a[0] + (b[0] - a[0]) * (limit - a[1]) / (b[1] - a[1])
    return float("inf")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--svg", type=pathlib.Path)
    parser.add_argument("reports", nargs="+")
    options = parser.parse_args()
    series = []
    print("| policy + reward | ranks | responses | s a step | passes | over dp | over all ranks | whole batch | efficiency |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    figures = []
    for given in options.reports:
        name, report = given.split("=", 1)
        rows = [row for row in rows_of(report) if row[0] >= LEAST]
        for ranks, seconds, passes, _, dp, world, whole in rows:
            print(f"| {name} | {ranks:.0f} | {64 * ranks:.0f} | {seconds:.1f} | {passes:.1f} | {dp:.2f} | {world:.2f} | {whole:.2f} | "
                  f"{100 * rows[0][1] / seconds:.1f} % |")
            figures.append(f"figure ppo.{name.replace(' ', '')}.{ranks:.0f}.seconds {seconds:.4g} s")
        figures.append(f"figure ppo.{name.replace(' ', '')}.bend {bend(rows):.0f} ranks")
        series.append((name, [(row[0], rows[0][1] / row[1]) for row in rows]))
    print("\n".join(figures))
    if options.svg:
        chart.write(options.svg, [("PPO step, 64 responses a rank", "ranks", "efficiency against 8 ranks", series)])


if __name__ == "__main__":
    main()
