"""lbsim predicts how fast large-batch, data-parallel training runs, why not faster, and how sure that is."""

from lbsim.errors import InputError
from lbsim.predict import predict
from lbsim.scenario.scenario import Anchor, Scenario, override
from lbsim.simulation.prediction import Prediction
from lbsim.version import __version__

__all__ = ["Anchor", "InputError", "Prediction", "Scenario", "__version__", "override", "predict"]
