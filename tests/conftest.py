"""How hypothesis runs here: no deadline, for times on a shared machine are noisy, and the same examples each time."""

from hypothesis import settings

settings.register_profile("lbsim", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("lbsim")
