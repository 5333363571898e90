#!/usr/bin/env python3
"""What the runs of run.sh say: table, figures, scaling.json and scaling.svg in their folder.

usage: benchmarks/scaling/report.py FOLDER --layouts "DPxTP ..." --tasks "NAME ..." --modes "NAME ..." [--predict]
exit status: 0, or 1 where what was sent is not what theory says
"""
import argparse
import json
import math
import pathlib
import re
import sys

import chart
import prediction

SHARE_UNIT = 16  # elements: an owner's share of a gradient is a whole multiple (src/model/params.h)
REAL, WIDE, INDEX = 4, 8, 4  # bytes
PASSES = ["prefill", "decode", "policy", "reference", "value", "reward", "forward"]
NOT_WORK = ["set-up", "checkpoint", "other"]


def setting(text, group, name):
    """The value of a setting in the echo of a run's input."""
    body = re.search(rf"^&{group}\b(.*?)^/", text, re.S | re.M).group(1)
    found = re.search(rf"^\s*{name}\s*=\s*([^!\n]+)", body, re.M)
    return found.group(1).strip().strip("'")


class Model:
    """Sizes that traffic depends on."""

    def __init__(self, base, run, adapted):
        self.c, self.f = int(setting(base, "model", "hidden")), int(setting(base, "model", "mlp"))
        self.layers = int(setting(base, "model", "layers"))
        self.r = int(setting(run, "adapter", "r")) if adapted else 0
        self.u = 7 * self.r
        self.adapter = self.layers * self.r * (4 * 2 * self.c + 3 * (self.c + self.f))


class Run:
    def __init__(self, folder, mode, task, layout, base):
        path = folder / "runs" / mode / task / layout
        self.mode, self.task, self.layout = mode, task, layout
        self.dp, self.tp = (int(n) for n in layout.split("x"))
        self.ranks = self.dp * self.tp
        self.text = (path / "input.nml").read_text()
        self.perf = json.loads((path / "perf.json").read_text())
        self.regions = {r["name"]: r for r in self.perf["regions"]}
        self.sent = {(c["among"], c["name"]): c["bytes"] for c in self.perf["collectives"]}
        self.model = Model(base, self.text, task != "generate")
        metrics = path / "metrics.jsonl"
        self.dry = folder / "runs" / mode / task / f"{layout}.dry"
        self.steps = [json.loads(line) for line in metrics.read_text().splitlines()] if metrics.exists() else []

    def seconds(self):
        """Of the fastest step but the first, or of a whole generation."""
        if self.task == "generate":
            return sum(r["max"] for name, r in self.regions.items() if name not in NOT_WORK)
        return min(step["step_seconds"] for step in self.steps[1:])

    def tokens(self, names):
        return sum(self.regions[name]["tokens"] for name in names if name in self.regions)

    def updates(self):
        """Updates of a step, and elements that are trained: split over tp, and held by every rank of it."""
        m = self.model
        head = m.c + 1
        if self.task == "sft":
            return 1, [(m.adapter, False)]
        if self.task == "rm":
            return 1, [(m.adapter, False), (head, True)]
        inner = int(setting(self.text, "ppo", "inner_epochs"))
        batches = int(setting(self.text, "rollout", "batch")) // int(setting(self.text, "ppo", "minibatch"))
        return inner * batches, [(m.adapter, False), (m.adapter, False), (head, True)]

    def dp_theory(self):
        updates, sets = self.updates()
        reduced = gathered = 0
        for elements, whole in sets:
            local = elements if whole else elements // self.tp
            unit = self.dp * SHARE_UNIT
            reduced += math.ceil(local / unit) * unit * (self.dp - 1) * REAL * self.tp
            gathered += local * REAL * self.tp
        n = updates * len(self.steps)
        return {("dp", "reduce-scatter"): n * reduced, ("dp", "all-gather"): n * gathered}

    def dp_sums(self):
        """Each rank's arrays of the whole batch: losses and hits of samples; what PPO knows of samples: ends, owners,
        rewards, sums of their tokens' numbers."""
        if self.task == "sft":
            batch = int(setting(self.text, "optim", "batch"))
            return self.ranks * len(self.steps) * batch * 2 * WIDE
        batch, inner = int(setting(self.text, "rollout", "batch")), int(setting(self.text, "ppo", "inner_epochs"))
        return self.ranks * len(self.steps) * (batch * (4 * INDEX + (1 + 2 + 4 + 13 * inner) * WIDE) + WIDE)

    def tp_theory(self):
        """Sums of the passes: embedding; behind O and down; the adapters' u. Backwards: in front of gate and up, in
        front of q, k and v but in the first layer; du; hidden states behind the output head."""
        m = self.model
        rows, back = self.tokens(PASSES), self.tokens(["forward"])
        heads = caches = 0
        if self.task == "sft":
            heads = sum(step["sft/tokens"] for step in self.steps)
        if self.task == "ppo":
            inner, batch = int(setting(self.text, "ppo", "inner_epochs")), int(setting(self.text, "rollout", "batch"))
            heads = inner * sum(round(step["rollout/response_length"] * batch) for step in self.steps)
            caches = len(self.steps)
        if self.task == "generate":
            caches = 1
        sums = rows * (m.c + m.layers * (2 * m.c + m.u))
        sums += back * ((2 * m.layers - 1) * m.c + m.layers * m.u) + heads * m.c
        return {("tp", "all-reduce"): self.tp * (sums * REAL + caches * self.dp * WIDE)}

    def theory(self):
        out = {}
        if self.dp > 1 and self.task != "generate":
            out.update(self.dp_theory())
        if self.dp > 1 and self.task in ("sft", "ppo"):
            out["dp", "all-reduce"] = self.dp_sums()
        if self.tp > 1:
            out.update(self.tp_theory())
        return out

    def predicted(self, first):
        """Seconds by the cost model, whose only number that is fitted is what passes took in the run FIRST."""
        _, seconds, passes, *_ = prediction.rows_of(self.dry)[0]
        _, first_seconds, first_passes, *_ = prediction.rows_of(first.dry)[0]
        slower = (first.seconds() - (first_seconds - first_passes)) / first_passes
        return passes * slower + seconds - passes

    def name(self):
        return f"{self.task}.{self.mode}.{self.layout}"


def work_per_rank(run):
    """What a rank gets done in a second, in batches of a group or of all."""
    return (run.dp if run.mode == "weak" else 1) / (run.seconds() * run.ranks)


def table(runs, firsts):
    print(f"{'task':9} {'mode':7} {'layout':7} {'ranks':>5} {'seconds':>9} {'efficiency':>10}  sent, MB (of theory)")
    for run in runs:
        sent = [f"{among} {name} {run.sent.get((among, name), 0) / 1e6:.4g} ({run.sent.get((among, name), 0) / expected:.6f})"
                for (among, name), expected in run.theory().items()]
        efficiency = work_per_rank(run) / work_per_rank(firsts[run.task, run.mode])
        print(f"{run.task:9} {run.mode:7} {run.layout:7} {run.ranks:5d} {run.seconds():9.4f} {efficiency:10.3f}  {', '.join(sent)}")


def figures(runs, firsts):
    """Lines for whoever reads them by a program; whether all that was sent is what theory says."""
    equal = True
    for run in runs:
        print(f"figure {run.name()}.seconds {run.seconds():.6f} s")
        print(f"figure {run.name()}.efficiency {work_per_rank(run) / work_per_rank(firsts[run.task, run.mode]):.6f} 1")
        for (among, name), expected in run.theory().items():
            sent = run.sent.get((among, name), 0)
            equal = equal and sent == expected
            print(f"figure {run.name()}.sent.{among}.{name} {sent:.0f} B")
            print(f"figure {run.name()}.theory.{among}.{name} {expected:.0f} B")
    return equal


def predictions(runs, firsts):
    for run in runs:
        first = firsts[run.task, run.mode]
        if run is first or run.task == "generate":
            continue
        print(f"figure {run.name()}.predicted {run.predicted(first):.6f} s")
        print(f"figure {run.name()}.predicted_error {run.predicted(first) / run.seconds() - 1:+.4f} 1")


def as_json(runs, firsts):
    return {"format": "llava_rlhf scaling", "format_version": 1, "runs": [
        {"task": run.task, "mode": run.mode, "dp": run.dp, "tp": run.tp, "seconds": run.seconds(),
         "efficiency": work_per_rank(run) / work_per_rank(firsts[run.task, run.mode]),
         "regions": {name: r["max"] for name, r in run.regions.items()},
         "sent": [{"among": among, "name": name, "bytes": sent, "theory": run.theory().get((among, name))}
                  for (among, name), sent in run.sent.items()]} for run in runs]}


def draw(path, runs, firsts, modes, tasks):
    panels = []
    for mode in modes:
        series = []
        for task in tasks:
            line = sorted((run.ranks, work_per_rank(run) / work_per_rank(firsts[task, mode])) for run in runs
                          if run.mode == mode and run.task == task)
            series.append((task, line))
        panels.append((f"{mode} scaling", "ranks", "efficiency", series))
    chart.write(path, panels)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    for name in ("layouts", "tasks", "modes"):
        parser.add_argument(f"--{name}", required=True, type=str.split)
    parser.add_argument("--predict", action="store_true")
    options = parser.parse_args()
    base = (options.folder / "base" / "input.nml").read_text()
    runs = [Run(options.folder, mode, task, layout, base)
            for task in options.tasks for mode in options.modes for layout in options.layouts]
    firsts = {}
    for run in runs:
        firsts.setdefault((run.task, run.mode), run)
    table(runs, firsts)
    equal = figures(runs, firsts)
    if options.predict:
        predictions(runs, firsts)
    (options.folder / "scaling.json").write_text(json.dumps(as_json(runs, firsts), indent=1) + "\n")
    draw(options.folder / "scaling.svg", runs, firsts, options.modes, options.tasks)
    print("success scaling" if equal else "failure scaling: what was sent is not what theory says")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
