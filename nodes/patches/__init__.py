"""Changes of what a model's network computes, and of its guidance."""
