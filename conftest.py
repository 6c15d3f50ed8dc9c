"""Without torch, nothing of the harness is collected: it is an extra."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("torch") else ["lbsim/harness", "tests/benchmarks/lars.py"]
collect_ignore_glob = [] if find_spec("torchvision") else ["*/image_folder.py"]
