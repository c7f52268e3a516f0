"""Models made of others, and saving what a workflow made of a model."""
