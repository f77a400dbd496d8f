"""The roofline of one core: multiply-adds from registers and the triad from each level of memory.

Compiled with the installed C compiler for this very machine, so that figures of kernels can be read as a part of what
the machine has. Processor time of the thread, the best of several runs: a limit is what is reached undisturbed.
"""

import ctypes
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SOURCE = Path(__file__).with_suffix(".c")
# Working sets of the triad, all three arrays together: well inside of level 1, level 2 and level 3, and beyond them.
TRIAD_KB = {"24 KB": 24, "768 KB": 768, "8 MB": 8 * 1024, "192 MB": 192 * 1024}


def roofline(short: bool = False) -> dict[str, float]:
    """GFLOP/s (float64) and GB/s by name; empty without a C compiler."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "roofline.so"
        command = [*compiler.split(), "-O3", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC"]
        done = subprocess.run([*command, "-o", str(library), str(SOURCE)], capture_output=True, check=False)
        return {} if done.returncode else _measured(ctypes.CDLL(str(library)), 0.02 if short else 0.1)


def _measured(library: ctypes.CDLL, least_s: float) -> dict[str, float]:
    library.multiply_add.restype = library.triad.restype = ctypes.c_double
    double_p = ctypes.POINTER(ctypes.c_double)
    sink = ctypes.c_double()
    found = {
        "multiply-add, GFLOP/s": _best(
            lambda rounds: library.multiply_add(ctypes.c_long(rounds), ctypes.byref(sink)), least_s
        )
    }
    for name, kilobytes in TRIAD_KB.items():
        count = kilobytes * 1024 // 24
        arrays = [np.full(count, value) for value in (0.0, 1.0, 2.0)]
        pointers = [array.ctypes.data_as(double_p) for array in arrays]

        def run(rounds: int, pointers: list[Any] = pointers, count: int = count) -> float:
            scale, n = ctypes.c_double(0.5), ctypes.c_long(count)
            return float(library.triad(*pointers, scale, n, ctypes.c_long(rounds)))

        found[f"triad over {name}, GB/s"] = _best(run, least_s)
    return found


def _best(run: Callable[[int], float], least_s: float) -> float:
    """The most that was done per nanosecond."""
    rounds, spent, best = 1, 0.0, 0.0
    while spent < least_s:
        rounds *= 2
        began = time.thread_time()
        run(rounds)
        spent = time.thread_time() - began
    for _ in range(5):
        began = time.thread_time()
        done = run(rounds)
        best = max(best, done / (time.thread_time() - began) / 1e9)
    return best


if __name__ == "__main__":
    for name, figure in roofline().items():
        print(f"{name}: {figure:.3g}")
