"""The command ``lbsim`` as ``python -m lbsim.cli``."""

import sys

from lbsim.cli.app import main

sys.exit(main())
