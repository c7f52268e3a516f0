"""Training as nodes: pictures with captions, the forward process, losses, optimisation, and what comes of it.

`TrainingState` is consumed state (see `mezzotint.engine.consumed_state`): networks, optimiser, averages, random numbers
and the place in the data, changed in place by one node after another.
"""
