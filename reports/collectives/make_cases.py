"""Case files of collectives in NVSwitch nodes, from published tables.

Run: python reports/collectives/make_cases.py PUBLISHED KERNELS OUT

PUBLISHED has ``modern.csv`` (group NCM: nccl-tests and torch benchmarks), KERNELS has the communication tables of
ai-dynamo/aiconfigurator at 095f58a5, and OUT is the folder for the case files. Equal rows count by their median.
"""

import csv
import json
import re
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CLUSTERS = {"A100": "dgx-a100", "H100": "dgx-h100", "H200": "hgx-h200", "B200": "hgx-b200", "GB200": "hgx-b200"}
TABLES = {"a100_sxm": "A100", "h100_sxm": "H100", "b200_sxm": "B200", "gb200": "GB200"}
OPERATIONS = {"alltoall": "all-to-all"}
BYTES = {"half": 2, "int8": 1}
LAUNCH = {"nccl-tests": "10 us", "torch": "21 us"}
"""Start-up cost that a benchmark adds to a kernel: mean over systems, 0.5 to 18 us and 20 to 25 us."""
OUTLIER = "NCM-025"
"""68 us for 32 B, out of place; 13.5 us in place, in the same row."""


@dataclass(frozen=True)
class Row:
    """One published time or bus bandwidth of a collective inside a node."""

    id: str
    source: str
    locator: str
    system: str
    chip: str
    release: str
    operation: str
    algorithm: str
    """Name of the algorithm if the source forced it; else empty."""
    gpus: int
    message: float
    """Bytes of the largest buffer of a GPU."""
    seconds: float
    rounding: float
    """Half of the last digit, as a fraction of the value."""
    harness: str

    @property
    def library(self) -> str:
        """Name of the library profile: the latest that is not newer than the release; 2.28 if none is given."""
        minor = int(found[1]) if (found := re.match(r"2\.(\d+)", self.release)) else 28
        return f"nccl-2.{max(known for known in (18, 23, 28, 29) if known <= max(minor, 18))}"


def factor(operation: str, gpus: int) -> float:
    """Return the bus bandwidth over the algorithmic bandwidth."""
    return (2 if operation == "all-reduce" else 1) * (gpus - 1) / gpus


def kernel_rows(folder: Path) -> Iterator[Row]:
    """Yield the medians of the kernel tables, by the release in their column *version*."""
    times = defaultdict(list)
    for file in sorted(folder.glob("*__comm__nccl__*.csv")):
        table, _, _, release, *_ = file.name.split("__")
        for row in csv.DictReader(file.open()) if table in TABLES else ():
            if size := BYTES.get(row["nccl_dtype"]):
                operation = OPERATIONS.get(row["op_name"], row["op_name"].replace("_", "-"))
                message, gpus = int(row["message_size"]) * size, int(row["num_gpus"])
                key = TABLES[table], row.get("version") or release, operation, row["nccl_dtype"], gpus, message
                times[key].append(float(row["latency"]) / 1e3)
    for (chip, release, operation, kind, gpus, message), seconds in times.items():
        if kind == "int8" and operation != "all-reduce":
            continue
        name = f"{chip}-{release}-{operation}-{kind}-{gpus}-{message}"
        ring = "ring" if kind == "int8" else ""  # switches add floating-point numbers only
        source = "ai-dynamo/aiconfigurator at 095f58a5, systems/data"
        values = float(message), statistics.median(seconds), 0.0, "kernel"
        yield Row(name, source, "", f"aiconfigurator {chip}", chip, release, operation, ring, gpus, *values)


def benchmark_rows(file: Path) -> Iterator[Row]:
    """Yield the rows of nccl-tests and torch benchmarks inside one NVSwitch node."""
    for row in csv.DictReader(file.open()):
        chip = next((chip for chip in CLUSTERS if chip in row["gpu"].replace("GB200", "") or chip == row["gpu"]), None)
        size = re.match(r"(\d+) bytes", row["dataset"]) or re.match(r"([\d.]+) ?([KMG])iB", row["dataset"])
        if row["group"] != "NCM" or chip is None or size is None or "PCIe" in row["system"] + row["gpu"]:
            continue
        gpus, value = int(row["n_gpus"]), float(row["value"])
        digits = len(row["value"].partition(".")[2])
        if gpus > int(row["gpus_per_node"]) or int(row["gpus_per_node"]) > 8 or row["id"] == OUTLIER:
            continue
        if "before tuning" in row["allreduce_fusion"].lower() or 0.5 * 10**-digits / value >= 0.05:
            continue
        message = float(size[1]) * ({"K": 2**10, "M": 2**20, "G": 2**30}[size[2]] if size.lastindex == 2 else 1)
        operation, _, kind = row["metric"].rpartition(" ")
        seconds = value * 1e-6 if kind == "time" else factor(operation, gpus) * message / value / 1e9
        torch = "all_reduce_bench" in row["model"] or "torch" in row["software"] or "ml-engineering" in row["system"]
        release = re.search(r"2\.\d+(\.\d+)?", row["software"].replace("torch 2.9.1+cu130", ""))
        yield Row(
            row["id"],
            row["source"],
            row["locator"],
            row["system"].replace(" (1 node)", ""),
            chip,
            release[0] if release else "",
            operation,
            forced_algorithm(row["allreduce_fusion"].lower()),
            gpus,
            message,
            seconds,
            0.5 * 10**-digits / value,
            "torch" if torch else "nccl-tests",
        )


def forced_algorithm(text: str) -> str:
    """Return the algorithm that *text* forces; empty for NCCL's own choice."""
    if "picked" in text or "default" in text:
        return ""
    if "nvls_enable=0" in text or "ring" in text:
        return "ring"
    return "nvls" if "nvls" in text else ""


def entry(row: Row) -> str:
    """Return the TOML of one observation."""
    changes = [f'"plan.gpus" = {row.gpus}', f'"software.library" = "{row.library}"']
    if row.algorithm:
        changes.append(f'"plan.all_reduce" = "{row.algorithm}"')
    if row.harness in LAUNCH:
        changes.append(f'"software.library.launch" = "{LAUNCH[row.harness]}"')
    size = "1 MiB and more" if row.message >= 2**20 else "below 1 MiB"
    return "\n".join(
        (
            "[[observed]]",
            f'id = "{row.id}"',
            f'quantity = "{row.operation.replace("-", "_")}_time"',
            f'value = "{row.seconds * 1e6:.6g} us"',
            f'message = "{row.message:.0f} B"',
            f"relative_uncertainty = {max(0.005, round(row.rounding, 4))}",
            *([f"locator = {json.dumps(row.locator, ensure_ascii=False)}"] if row.locator else ()),
            'role = "calibrate"',
            f'class = "{row.operation}, {size}"',
            f"set = {{ {', '.join(changes)} }}",
            "",
        )
    )


def main(published: Path, kernels: Path, out: Path) -> None:
    """Write one case file per system."""
    systems = defaultdict(list)
    for row in (*kernel_rows(kernels), *benchmark_rows(published / "modern.csv")):
        systems[row.system].append(row)
    for system, rows in systems.items():
        rows.sort(key=lambda row: (row.operation, row.release, row.gpus, row.message, row.id))
        sources = "; ".join(sorted({row.source for row in rows}))
        head = (
            "# Written by reports/collectives/make_cases.py.",
            f"source = {json.dumps(sources, ensure_ascii=False)}",
            f"system = {json.dumps(system, ensure_ascii=False)}",
            "fitted_on_this_system = true",
            "",
            "[scenario]",
            f'cluster = "{CLUSTERS[rows[0].chip]}"',
            'software = "pytorch-nccl"',
            "[scenario.plan]",
            f"gpus = {rows[0].gpus}",
            'all_reduce = "auto"',
            "",
        )
        name = re.sub(r"[^a-z0-9]+", "_", system.lower()).strip("_")
        (out / f"{name}.toml").write_text("\n".join((*head, *map(entry, rows))), encoding="utf-8")
    print(sum(map(len, systems.values())), "observations in", len(systems), "files")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
