"""Model and method joined and compiled: the learner, the loops over steps, the programs."""
