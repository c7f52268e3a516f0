"""Measurements: `make bench` prints them and writes them into docs/benchmarks.md."""
