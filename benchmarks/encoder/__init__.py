"""How fast and how fair the encoder service is: one module per scenario, each ratio taken within one run.

Every scenario starts the real service as a process, loads it from other processes (`load`), and returns figures.
`python -m benchmarks.encoder` tells all of them and writes docs/results/encoder.json.
"""
