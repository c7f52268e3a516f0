"""Node packs written for the de-facto class APIs: loading them, and the modules of the host that they import."""
