"""gan_runner: a Hydra-configured experiment runner for generative adversarial networks."""

import os
import sys

__version__ = "0.2.0"

# Waiting OpenMP threads spin by default, which takes the cores from other processes and from the working threads.
# OpenMP reads the variable when torch is loaded, so setting it has no effect if torch was imported first.
SPINS = not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys()
if SPINS and "torch" not in sys.modules:
    os.environ["GOMP_SPINCOUNT"] = "0"
    SPINS = False
