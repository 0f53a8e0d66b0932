"""Training that gives the same bits twice on a GPU, too."""

import os
from collections.abc import Generator
from contextlib import contextmanager

import torch

# cuBLAS adds up in one order with a workspace of its own for each stream, which it reads here when the first
# product is computed; these are the two that it knows (its documentation, "Results Reproducibility").
WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
WORKSPACES = (":4096:8", ":16:8")


@contextmanager
def deterministic_operations(wanted: bool) -> Generator[None, None, None]:
    """While this is open and `wanted`, every operation of torch takes the algorithm that gives the same bits
    for the same input on the same machine; one that has none raises RuntimeError. Open it before the first
    operation on a GPU. Raises ValueError where the environment asks cuBLAS for something else.
    """
    if not wanted:
        yield
        return
    workspace = os.environ.get(WORKSPACE)
    if workspace not in (None, *WORKSPACES):
        raise ValueError(
            f"deterministic=true needs {WORKSPACE}={' or '.join(WORKSPACES)}, the environment has "
            f"'{workspace}': unset it, and the first is taken"
        )
    cudnn = torch.backends.cudnn
    before = (cudnn.deterministic, cudnn.benchmark)
    mode = torch.get_deterministic_debug_mode()
    os.environ.setdefault(WORKSPACE, WORKSPACES[0])
    cudnn.deterministic, cudnn.benchmark = True, False
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        cudnn.deterministic, cudnn.benchmark = before
        if workspace is None:
            del os.environ[WORKSPACE]
