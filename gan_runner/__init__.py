"""gan_runner: a Hydra-configured experiment runner for generative adversarial networks."""

import os
import sys

__version__ = "0.1.0"

# Threads of OpenMP spin while they wait for one another, which takes the cores from other work and from themselves.
# Read when torch is loaded, so that it is too late where that was first.
SPINS = not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys()
if SPINS and "torch" not in sys.modules:
    os.environ["GOMP_SPINCOUNT"] = "0"
    SPINS = False
