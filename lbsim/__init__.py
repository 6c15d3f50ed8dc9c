"""Performance prediction for large-batch data-parallel training.

Predictions
-----------
- `predict` returns the `Prediction` for a `Scenario`: throughput, efficiency, time to train, intervals and breakdown.
- `override` returns a scenario with the fields at dotted paths replaced, e.g. ``cluster.inter_node.bandwidth``.

Scenarios
---------
- `Scenario` holds a cluster, a model, a software stack, a plan and an optional anchor; `Scenario.of` builds one.
- `Anchor` is a measured throughput that rescales compute time.

Errors
------
- `InputError` is raised for every invalid input; its message states the value, the fault and the correction.

First prediction
----------------
>>> from lbsim import Scenario, override, predict
>>> scenario = Scenario.of(gpus=1024, cluster="mn-1", model="resnet50", software="chainer-2017", batch_per_gpu=32)
>>> efficiency = predict(scenario).scaling_efficiency
>>> faster = override(scenario, {"cluster.inter_node.bandwidth": "200 Gb/s"})
>>> predict(faster).scaling_efficiency > efficiency
True

All quantities are floats in SI units: seconds, bytes, bytes per second, samples per second. Public modules list their
public names in ``__all__``; modules and names that start with an underscore are private.
"""

from lbsim.errors import InputError
from lbsim.predict import predict
from lbsim.scenario.scenario import Anchor, Scenario, override
from lbsim.simulation.prediction import Prediction
from lbsim.version import __version__

__all__ = ["Anchor", "InputError", "Prediction", "Scenario", "__version__", "override", "predict"]
