"""The mathematics of sampling: samplers and schedules of noise levels. It knows no models."""
