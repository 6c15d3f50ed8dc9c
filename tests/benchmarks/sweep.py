"""Time a sweep of 10,000 scenarios around 1,024 GPUs: python tests/benchmarks/sweep.py [SCENARIOS]

It runs the command as anyone would, with two workers, and prints the seconds by the clock, which must be at most 60 on
two free cores, and the seconds of processor that it took, which do not depend on what else the machine does.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
WORKERS = 2
GPUS = [str(gpus) for gpus in range(256, 2049, 199)]
"""Ten."""
BATCHES = [str(batch) for batch in range(16, 116, 10)]
BANDWIDTHS = [f"{rate} Gb/s" for rate in range(10, 210, 20)]
THRESHOLDS = [f"{size} MiB" for size in (1, 2, 4, 8, 16, 25, 32, 64, 128, 256)]
GRID = ["gpus", *GPUS, "batch_per_gpu", *BATCHES, "cluster.inter_node.bandwidth", *BANDWIDTHS]
GRID += ["plan.fusion_threshold", *THRESHOLDS]


def main() -> None:
    """Run the sweep, and print how long it took."""
    sample = ["--random", sys.argv[1]] if len(sys.argv) > 1 else []
    with tempfile.TemporaryDirectory() as folder:
        out = ["--out", str(Path(folder) / "results.csv")]
        command = [
            sys.executable,
            "-m",
            "lbsim.cli.app",
            "sweep",
            *GRID,
            "--cluster",
            "mn-1",
            "--workers",
            str(WORKERS),
        ]
        start = time.perf_counter()
        environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
        done = subprocess.run([*command, *sample, *out], check=True, env=environment, capture_output=True, text=True)
        seconds, used = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = used.ru_utime + used.ru_stime
    print(done.stdout.strip().partition(": ")[2])
    print(f"{seconds:.1f} s by the clock, {busy:.1f} s of processor: {busy / WORKERS:.1f} s on two free cores at least")


if __name__ == "__main__":
    main()
