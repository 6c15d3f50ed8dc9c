"""Version of lbsim, part of every JSON output."""

__all__ = []

__version__ = "0.1.0"
