"""What is known of families of models: the layouts of their checkpoints, and how networks are made of them."""
