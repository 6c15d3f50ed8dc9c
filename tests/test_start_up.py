import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
SLOW_TO_IMPORT = {"matplotlib", "numpy", "PIL", "scipy", "tomli_w", "torch"}

FUNCTION = "from lbsim import Scenario, predict; predict(Scenario.of(gpus=1024))"
COMMAND = "from lbsim.cli.app import main; assert main(['predict', '--gpus', '1024', '--format', 'json']) == 0"


@pytest.mark.parametrize(
    ("statement", "absent"),
    [(FUNCTION, SLOW_TO_IMPORT | {"typer", "rich"}), (COMMAND, SLOW_TO_IMPORT)],
    ids=["function", "command"],
)
def test_a_prediction_loads_no_library_that_is_slow_to_import(statement, absent):
    listing = f"import sys; {statement}; print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", listing], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert "lbsim.simulation.step_simulator" in loaded
    assert loaded & absent == set()


def test_the_import_contracts_hold():
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run([sys.executable, "-c", command], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
