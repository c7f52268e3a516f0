"""A model run by a sampler: the denoiser, guidance, noise, the driver, and their nodes."""
