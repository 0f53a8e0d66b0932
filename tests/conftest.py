"""Fixtures that many tests share. Shape annotations are checked while tests run."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault(
    "OMP_WAIT_POLICY", "passive"
)  # threads that spin while they wait make a busy machine ten times slower

from jaxtyping import install_import_hook

install_import_hook("tempohand", "typecheck.check")

import pytest  # noqa: E402
import torch  # noqa: E402
from ray_support import ray_workers  # noqa: E402
from tests_support import hand_rows, new_accelerate_state, write_table  # noqa: E402
from video_support import moving_pictures, write_video  # noqa: E402

torch.set_num_threads(2)


@pytest.fixture(autouse=True)
def no_accelerator_of_another_test():
    """Accelerate keeps one state per process and refuses other settings: each test begins without one, in
    whatever order tests run."""
    with new_accelerate_state():
        yield


@pytest.fixture(scope="session")
def table_root(tmp_path_factory):
    """A small table: 4 training, 2 validation and 2 test sequences, the last of each split a left hand."""
    splits = {}
    for number, (split, count, frames) in enumerate((("train", 4, 12), ("val", 2, 9), ("test", 2, 10))):
        splits[split] = [
            hand_rows(f"{split}-{k}", frames, 100 * number + k, is_right=k != count - 1) for k in range(count)
        ]
    return write_table(tmp_path_factory.mktemp("table"), splits)


@pytest.fixture(scope="session")
def ray_cluster():
    """Two Ray workers, which RAY_ADDRESS names."""
    with ray_workers():
        yield


@pytest.fixture(scope="session")
def video_tools():
    """(moving_pictures, write_video)"""
    return moving_pictures, write_video
