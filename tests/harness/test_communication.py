import itertools
from pathlib import Path

import pytest
import torch
from torch import nn

from lbsim.errors import InputError
from lbsim.fusion import fuse
from lbsim.harness import collectives
from lbsim.harness.communication import CommunicationOptions, GradientEngine, fusion_buffers
from lbsim.workload import GRADIENTS  # noqa: F401
