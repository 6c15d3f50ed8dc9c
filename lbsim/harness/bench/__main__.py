"""The command ``python -m lbsim.harness.bench``."""

import os
import sys

from lbsim.harness.bench.cli import main

exit_code = main()
sys.stdout.flush()
os._exit(exit_code)  # at once, as the other commands end
