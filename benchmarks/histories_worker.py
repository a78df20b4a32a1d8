"""One code's costs on packets of long histories; started by `benchmarks.histories`, in a process of its own for each checkout.

stdin: the pickle of {points: [packet]}, then one number of points a line → stdout: a line of JSON, µs of CPU a packet of one pass

Names of the first release only, so that an older checkout can be measured beside this one.
"""

from __future__ import annotations

import json
import pickle
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any


def main() -> None:
    """Answer until stdin ends."""
    from operators.fold import fold
    from pipeline.score import score
    from pipeline.state import load

    packets: dict[int, list[bytes]] = pickle.load(sys.stdin.buffer)
    state = load(None, engine="onnxruntime")

    def cost(work: Callable[[], Any], n: int) -> tuple[float, Any]:
        start = time.process_time_ns()
        result = work()
        return (time.process_time_ns() - start) / 1e3 / n, result

    for line in iter(sys.stdin.buffer.readline, b""):
        chosen = packets[int(line)]
        n = len(chosen)
        whole, results = cost(partial(score, chosen, state), n)
        decode, decoded = cost(partial(state.decoder.decode, chosen), n)
        folding, view = cost(partial(fold, decoded.batch), n)
        folded = float(view[:, -1].sum())
        scored = sum(hasattr(result, "top_class") for result in results)
        figures = {"whole_us": whole, "decode_us": decode, "fold_us": folding * n / folded if folded else None, "scored": scored / n}
        print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
