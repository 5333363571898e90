"""ReFrame tests of llava_rlhf: the scaling benchmark on the machine's partitions.

    reframe -c benchmarks/scaling/reframe_llava_rlhf.py -S program=/path/of/llava_rlhf -r

-S layouts='1x1 2x1 4x1' -S size=small and so on are the options of run.sh (start: its --launch). run.sh starts the ranks itself, so
the job's script starts it once, with as many tasks allocated as the largest layout has ranks.
"""
import os
import pathlib

import reframe as rfm
import reframe.utility.sanity as sn


def ranks(layout):
    dp, tp = layout.split("x")
    return int(dp) * int(tp)


@rfm.simple_test
class scaling(rfm.RunOnlyRegressionTest):
    descr = "weak and strong scaling, and what is sent beside theory"
    task = parameter(["sft", "rm", "generate", "ppo"])
    program = variable(str, value="")
    layouts = variable(str, value="1x1 2x1 1x2")
    size = variable(str, value="tiny")
    batch = variable(int, value=16)
    steps = variable(int, value=4)
    start = variable(str, value="")
    valid_systems = ["*"]
    valid_prog_environs = ["*"]
    time_limit = "1h"
    sourcesdir = None

    @run_before("run")
    def set_command(self):
        self.executable = str(pathlib.Path(__file__).resolve().parent / "run.sh")
        self.executable_opts = ["--tasks", self.task, "--layouts", f"'{self.layouts}'", "--size", self.size,
                                "--batch", str(self.batch), "--steps", str(self.steps)]
        program = self.program or os.environ.get("LLAVA_RLHF_BINARY", "")
        if program:
            self.executable_opts += ["--program", program]
        if self.start:
            self.executable_opts += ["--launch", f"'{self.start}'"]

    @run_before("run")
    def start_once(self):
        """run.sh starts the ranks; here is one process."""
        from reframe.core.backends import getlauncher
        self.job.launcher = getlauncher("local")()
        self.num_tasks = max(ranks(layout) for layout in self.layouts.split())

    @sanity_function
    def says_success(self):
        return sn.assert_found(r"^success scaling$", self.stdout)

    @run_before("performance")
    def read_figures(self):
        self.perf_variables = {}
        for mode in ("strong", "weak"):
            for layout in self.layouts.split():
                for figure, unit in (("seconds", "s"), ("efficiency", "1")):
                    name = f"{self.task}.{mode}.{layout}.{figure}"
                    self.perf_variables[name] = sn.make_performance_function(
                        sn.extractsingle(rf"^figure {name} (\S+) {unit}$", self.stdout, 1, float), unit)
