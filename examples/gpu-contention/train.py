"""Train a small network to tell how much a parcel costs; it can be stopped after any epoch and go on there.

Plain Python in place of a framework: what matters is that the work is real, takes long, and that
what was learned before a stop is not learned twice.
"""

from __future__ import annotations

import json
import random
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from network import Network

from counterpoint.sdk import current

EPOCHS = 12
EPOCH_S = 0.8  # the least that an epoch takes: a real one takes minutes
WEIGHTS = Path("weights.json")

stop_asked = False


def main() -> int:
    """Train; 0 when all epochs are done, 1 when asked to make room before."""
    run = current()
    signal.signal(signal.SIGTERM, ask_to_stop)
    saved = run.resumed_from
    first = saved["data"]["epoch"] + 1 if saved else 1
    network = Network.load(WEIGHTS) if saved else Network(random.Random(7))
    print(f"{run.attempt}: from epoch {first}" + (f", by checkpoint {saved['name']}" if saved else ""))
    for epoch in range(first, EPOCHS + 1):
        began = time.monotonic()
        loss = network.learn(random.Random(epoch), samples=4000)
        while not stop_asked and time.monotonic() - began < EPOCH_S:
            time.sleep(0.02)
        network.save(WEIGHTS)
        with Path("epochs.log").open("a") as log:
            log.write(json.dumps({"attempt": run.attempt, "epoch": epoch, "loss": round(loss, 4)}) + "\n")
        run.checkpoint("epoch", {"epoch": epoch, "loss": loss})
        run.progress(epoch / EPOCHS, f"epoch {epoch}, loss {loss:.4f}")
        if stop_asked and epoch < EPOCHS:
            print(f"asked to make room: saved after epoch {epoch}")
            return 1
    run.publish("model", metadata={"epochs": EPOCHS, "loss": round(loss, 4)})
    return 0


def ask_to_stop(signum: int, frame: FrameType | None) -> None:
    """Somebody with a better claim wants the GPU."""
    global stop_asked
    stop_asked = True


if __name__ == "__main__":
    sys.exit(main())
