"""The prior of the generator's input."""

from torch import Tensor

from gan_runner.errors import choose, require
from gan_runner.noise import Noise


class Latent:
    """z in R^dim: N(0, I), or uniform on [low, high)^dim (default -1 to 1; low = high is a point mass).

    dim: number of coordinates.
    distribution: normal or uniform.
    low, high: bounds of distribution=uniform; None: -1 and 1.
    """

    def __init__(
        self, dim: int = 100, distribution: str = "normal", low: float | None = None, high: float | None = None
    ):
        require(dim >= 1, f"dim={dim} must be at least 1")
        self.draw = choose("distribution", distribution, {"normal": self.normal, "uniform": self.uniform})
        require(
            distribution == "uniform" or (low is None and high is None), "low and high belong to distribution=uniform"
        )
        self.dim, self.distribution = dim, distribution
        self.low = -1.0 if low is None else low
        self.high = 1.0 if high is None else high
        require(self.low <= self.high, f"low={self.low} is above high={self.high}; swap them")

    def normal(self, noise: Noise) -> Tensor:
        return noise.normal(self.dim)

    def uniform(self, noise: Noise) -> Tensor:
        return self.low + (self.high - self.low) * noise.uniform(self.dim)

    def sample(self, noise: Noise) -> Tensor:
        """Returns z (B, dim) float32 on the noise's device; B is noise.size, or the size of the noise's part."""
        return self.draw(noise)
