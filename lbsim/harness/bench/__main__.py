"""Command ``python -m lbsim.harness.bench``."""

import os
import sys

from lbsim.harness.bench.cli import main

exit_code = main()
sys.stdout.flush()
os._exit(exit_code)  # without the interpreter's teardown, in which torch's communication threads sometimes abort
