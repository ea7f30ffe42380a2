"""A network of one hidden layer in plain Python, which can be saved and loaded."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

HIDDEN = 12
RATE = 0.02


def price(x: float) -> float:
    """What is to be learned: cost of a parcel by its weight, 0 to 1."""
    return 0.3 + 0.4 * x + 0.2 * math.sin(6 * x)


@dataclass
class Network:
    """Weights of one hidden layer with tanh, and of a linear output."""

    random: Random
    into: list[tuple[float, float]] = field(default_factory=list)
    out: list[float] = field(default_factory=list)
    bias: float = 0.0

    def __post_init__(self) -> None:
        if not self.into:
            self.into = [(self.random.uniform(-3, 3), self.random.uniform(-1, 1)) for _ in range(HIDDEN)]
            self.out = [self.random.uniform(-0.5, 0.5) for _ in range(HIDDEN)]

    def predict(self, x: float) -> float:
        """The price of a parcel of this weight."""
        return self.bias + sum(o * math.tanh(w * x + b) for o, (w, b) in zip(self.out, self.into, strict=True))

    def learn(self, random: Random, samples: int) -> float:
        """One pass of stochastic gradient descent; the mean squared error."""
        total = 0.0
        for _ in range(samples):
            x = random.random()
            hidden = [math.tanh(w * x + b) for w, b in self.into]
            error = self.bias + sum(o * h for o, h in zip(self.out, hidden, strict=True)) - price(x)
            total += error * error
            self.bias -= RATE * error
            for i, h in enumerate(hidden):
                w, b = self.into[i]
                slope = RATE * error * self.out[i] * (1 - h * h)
                self.out[i] -= RATE * error * h
                self.into[i] = (w - slope * x, b - slope)
        return total / samples

    def save(self, path: Path) -> None:
        """Write the weights, whole at once: whoever is killed meanwhile leaves the file before."""
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps({"into": self.into, "out": self.out, "bias": self.bias}))
        partial.rename(path)

    @classmethod
    def load(cls, path: Path) -> Network:
        """The network that was saved."""
        saved = json.loads(path.read_text())
        return cls(Random(0), [(w, b) for w, b in saved["into"]], saved["out"], saved["bias"])
