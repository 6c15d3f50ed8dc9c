import subprocess
import sys

import pytest

from lbsim.cli.app import main

TRACE = ["workload", "trace", "my_models:Model", "--input", "3"]


def python(code):
    """Run *code* in a process of its own."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_tracing_without_torch_says_what_to_install():
    done = python(f"import sys; sys.modules['torch'] = None; from lbsim.cli.app import main; sys.exit(main({TRACE}))")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "lbsim: tracing a model needs torch; pip install 'lbsim[harness]'\n"


def test_a_prediction_does_not_import_torch():
    done = python(
        "import sys; from lbsim.cli.app import main; main(['predict', '--gpus', '8']); sys.exit('torch' in sys.modules)"
    )
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("options", "told"),
    {
        "no input": (TRACE[:3], "--input"),
        "not JSON": ([*TRACE, "--out", "model.toml"], "model.json"),
    }.values(),
)
def test_wrong_options_get_one_line_that_says_what_to_write(capsys, options, told):
    assert main(options) == 2
    output, error = capsys.readouterr()
    assert output == ""
    assert error.count("\n") == 1
    assert told in error
