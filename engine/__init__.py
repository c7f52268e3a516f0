"""The engine: typed nodes, graphs, signatures, the cache and the executor. It knows nothing of diffusion or HTTP."""
