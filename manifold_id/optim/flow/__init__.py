"""The data flow of a network: which slices of which parameters and values can be removed together."""

from manifold_id.optim.flow.flow import Contraction, Flow
from manifold_id.optim.flow.follow import follow
from manifold_id.optim.flow.trace import Trace, trace
from manifold_id.optim.flow.units import Units

__all__ = ["Contraction", "Flow", "Trace", "Units", "follow", "trace"]
