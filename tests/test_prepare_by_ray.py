"""script/prepare.py by the workers of a Ray cluster: the same tables, byte for byte."""

from pathlib import Path

import pytest
from own_support import marked_hands, write_csv
from tests_support import compose_config, load_file

from tempohand.data.parallel_jobs import open_engine

SCRIPT = Path(__file__).parents[1] / "script" / "prepare.py"
FILM = ("num_train=33", "num_val=1", "num_test=1", "frames_train=1", "frames_val=1", "frames_test=1")

pytestmark = pytest.mark.slow


def made(out: Path, prepare: str, config: str, *overrides: str) -> dict[str, bytes]:
    """The files of a table that one of the script's functions makes."""
    settings = compose_config(config, f"out={out}", *overrides)
    engine = open_engine(settings.pop("engine"), settings.pop("processes"))
    getattr(load_file(SCRIPT), prepare)(settings.pop("dataset"), settings, engine)
    return {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.mark.parametrize("prepare", ["prepare_synthetic", "prepare_public"])
def test_tables_are_the_same_by_ray(tmp_path, ray_cluster, prepare):
    if prepare == "prepare_synthetic":
        arguments = (prepare, "synthetic-demo", *FILM, "camera.image_size=48", "processes=2")
    else:
        root = tmp_path / "labels"
        write_csv(root, marked_hands(root))
        arguments = (prepare, "prepare", "dataset=csv", f"root={root}", "processes=2")
    local = made(tmp_path / "local", *arguments)
    assert local == made(tmp_path / "ray", *arguments, "engine=ray")
    assert "table.json" in local and any(name.endswith(".arrow") for name in local)
