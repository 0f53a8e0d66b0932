"""UTNet on two processes of which one has depth: nothing waits for a gradient that does not come."""

import os
import subprocess
import sys
from pathlib import Path

CODE = """
import os, sys
sys.path.insert(0, sys.argv[1])
import torch
import torch.distributed
from torch.nn.parallel import DistributedDataParallel
from utnet_support import small_utnet, utnet_batch

def train(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    network = small_utnet(fusion={"widths": [4], "dropout": 0.0}).train()
    before = {name: value.clone() for name, value in network.named_parameters()}
    shared = DistributedDataParallel(network)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-2)
    for step in range(3):  # with depth in one of them, in the other, in neither
        depth = "all" if step == rank else None
        batch = utnet_batch(2, depth=depth)
        said = shared(batch)
        sum(term.value.float().mean() for term in network.criterion(said, batch).values()).backward()
        optimizer.step()
        optimizer.zero_grad()
    still = {name for name, value in network.named_parameters() if value.equal(before[name])}
    assert still <= {"joint_maps.map.bias"}, still  # one number for a whole map says nothing of a place
    torch.save(network.state_dict(), f"{folder}/{rank}.pt")

children = []
for rank in range(2):
    child = os.fork()
    if not child:
        try:
            train(rank, sys.argv[2])
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    children.append(child)
codes = [os.waitpid(child, 0)[1] for child in children]
assert not any(codes), codes
one, other = (torch.load(f"{sys.argv[2]}/{rank}.pt") for rank in range(2))
assert all(one[name].equal(other[name]) for name in one)
"""


def test_processes_with_and_without_depth_step_together(tmp_path):
    tests = Path(__file__).resolve().parents[1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tests), str(tmp_path)],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
