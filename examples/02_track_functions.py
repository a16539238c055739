"""Track calls: what went in, what came out, how long it took, what went wrong."""

import asyncio
import os
import tempfile
from collections.abc import Iterator

from xetrack import Tracker

os.chdir(tempfile.mkdtemp(prefix="xetrack-"))
tracker = Tracker("track.db", log_system_params=True, measurement_interval=0.1, raise_on_error=False)


def train(lr: float, epochs: int) -> dict[str, float]:
    return {"accuracy": 1 - lr, "loss": lr / epochs}


print("returned:", tracker.track(train, args=[0.1], kwargs={"epochs": 10}, params={"dataset": "digits"}))


@tracker.wrap(params={"stage": "inference"})
def predict(x: int) -> int:
    return 10 // x


@tracker.wrap
async def fetch(x: int) -> int:
    await asyncio.sleep(0.01)
    return x


@tracker.wrap
def batches(count: int) -> Iterator[int]:
    yield from range(count)


predict(5)
predict(0)  # fails: logged, and not raised, as the tracker was told
asyncio.run(fetch(3))
print("batches:", list(batches(4)))

rows = tracker.to_df()
print(rows[["function_name", "args", "function_result", "error"]].to_string())
print(rows[["function_name", "function_items", "accuracy", "dataset", "stage"]].to_string())
print("sampled during the call:", [name for name in tracker.columns if name.endswith("_percent")])
