"""What the processes of test_noise_scale.py run: a training through each engine, in folders of their names."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from lbsim.harness.communication.process_group import process_group
from lbsim.harness.training.options import TrainOptions
from lbsim.harness.training.train import train

ENGINES: dict[str, dict[str, Any]] = {
    "plain": {"engine": "plain"},
    "lbsim": {"engine": "lbsim", "communication": ("fusion=none",)},
    "ddp": {"engine": "ddp"},
}
WITHOUT = "lbsim-without"


def main(what):
    folder = Path(what.pop("folder"))
    own = {"data": "digits", "model": "mlp", "rate": 0.1} | what
    with process_group(30, "cpu") as group:
        for name, engine in ENGINES.items():
            options = TrainOptions(output=folder / name, noise_scale_every=1, **engine, **own)
            train(options, group, lambda _: None)
        train(TrainOptions(output=folder / WITHOUT, **ENGINES["lbsim"], **own), group, lambda _: None)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
    sys.stdout.flush()
    os._exit(0)  # see lbsim/harness/communication/ddp_engine.py
