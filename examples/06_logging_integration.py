"""Rows to log files, to stdout and to a JSONL dataset, with or without a store."""

import os
import tempfile

from xetrack import Reader, Tracker

os.chdir(tempfile.mkdtemp(prefix="xetrack-"))

# A store, and beside it a line of JSON for every row.
with Tracker("track.db", jsonl="data/prompts.jsonl", params={"source": "seed"}) as tracker:
    tracker.log({"prompt": "Help me with my taxes", "tokens": [31, 7], "score": 0.5})
    tracker.log({"prompt": "Help me with my moves", "tokens": [], "score": float("nan")})

dataset = Reader.read_jsonl("data/prompts.jsonl")
print(dataset[["prompt", "tokens", "score", "source"]])

# No store at all: lines in a daily file and on stdout.
service = Tracker(Tracker.SKIP_INSERT, logs_path="logs", logs_stdout=True)
service.log({"latency_ms": 12})
service.logger.info("ready")
service.log({"latency_ms": 15})

print(Reader.read_logs("logs")[["latency_ms"]])
