"""Entry point of ``python -m lbsim.cli``, which is the command ``lbsim``."""

import sys

from lbsim.cli.app import main

sys.exit(main())
