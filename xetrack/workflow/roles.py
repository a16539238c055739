"""Which columns of a table are parameters, which are metrics, and which xetrack fills in.

A table does not say, so this guesses the way a person would: by what varies within
a run, by type, and by the names that the field uses.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pandas as pd

FIXED = ("timestamp", "track_id")
#: Columns of tracked calls and of what is measured beside them.
AUTOMATIC = {
    *("function_name", "args", "kwargs", "error", "function_time", "function_items", "function_result", "cache"),
    *("cpu_percent", "ram_percent", "p_memory_percent", "disk_percent", "gpu_percent", "gpu_memory_percent"),
    *("bytes_sent", "bytes_recv", "git_commit", "git_commit_hash"),
}
STEPS = {"step", "epoch", "iteration", "iter", "batch", "fold", "global_step"}
_METRIC = re.compile(
    r"(^|_)(acc|accuracy|loss|f1|precision|recall|auc|auroc|roc|score|rmse|mae|mse|mape|r2|bleu|rouge\w*|ppl|perplexity"
    r"|error_rate|latency\w*|throughput|seconds|time|duration\w*|ms|iou|map|ndcg|mrr|hit_rate|reward|correct|confidence"
    r"|probability|cost|tokens)(_|$|\d|@)",
    re.IGNORECASE,
)
_PARAMETER = re.compile(
    r"(^|_)(lr|learning_rate|rate|alpha|beta\d?|gamma|dropout|momentum|temperature|top_p|top_k|weight_decay|decay|c|seed"
    r"|eps|epsilon|tol|threshold|ratio|size|depth|layers?|dim|hidden|heads|estimators|clusters|max_\w+|min_\w+|n_\w+"
    r"|num_\w+)(_|$)",
    re.IGNORECASE,
)


class Roles(NamedTuple):
    """Names of columns by what they are, each in the table's order."""

    parameters: list[str]
    metrics: list[str]
    steps: list[str]
    others: list[str]


def roles_of(frame: pd.DataFrame) -> Roles:
    """What each of the user's columns is.

    A parameter is the same within every run; a number that is, but is called like a
    measure or has a fraction and no name of a parameter, is a metric all the same.
    """
    import pandas as pd

    found = Roles([], [], [], [])
    runs = frame.groupby("track_id", sort=False)
    rows_per_run = len(frame) / max(1, runs.ngroups)
    for name in frame.columns:
        if name in FIXED or name in AUTOMATIC:
            continue
        column = frame[name]
        is_bool = pd.api.types.is_bool_dtype(column.dtype)
        is_number = pd.api.types.is_numeric_dtype(column.dtype) and not is_bool
        constant = bool((runs[name].nunique() <= 1).all())
        if name.lower() in STEPS:
            found.steps.append(name)
        elif not is_number:
            # What names every row, such as an item's text, is no parameter; nor is a verdict called like a measure.
            (found.parameters if constant and not _METRIC.search(name) else found.others).append(name)
        elif not constant or _METRIC.search(name):
            found.metrics.append(name)
        elif rows_per_run > 1 or _PARAMETER.search(name) or not pd.api.types.is_float_dtype(column.dtype):
            found.parameters.append(name)
        else:
            found.metrics.append(name)
    return found


def is_lower_better(metric: str) -> bool:
    """Whether less of a metric is better, as far as its name tells."""
    return bool(
        re.search(
            r"(^|_)(loss|error|error_rate|rmse|mae|mse|mape|ppl|perplexity|latency\w*|seconds|time|duration\w*|ms|cost)(_|$)",
            metric,
            re.IGNORECASE,
        )
    )
