"""The version of lbsim, which every answer states."""

__version__ = "0.1.0"
