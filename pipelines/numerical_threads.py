"""How many threads the linear algebra library has in a process of ours."""

from __future__ import annotations

import os


def only_one() -> None:
    """One, unless the user has set another number; to be called before numpy is imported.

    Our matrices are small, and Beam brings its own parallelism: several threads would only wait for
    each other, and for those of the other workers, by spinning.
    """
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
