"""Version of lbsim, part of every JSON output."""

__version__ = "0.1.0"
