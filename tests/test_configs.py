"""Every runnable configuration composes and builds; large networks are built without memory, on the meta
device."""

import re

import numpy as np
import pytest
import torch
from resolved_settings import DATA
from tests_support import CONFIG, compose_config

from tempohand.data.clips import Clips
from tempohand.data.loader import ClipSampling
from tempohand.data.mixture import Balance, RowFilter, TableChoice
from tempohand.data.photometric import Photometric
from tempohand.data.view import Augmentation
from tempohand.model.posenet import PoseNet
from tempohand.model.registry import build_network, network_class
from tempohand.training.objective import check_weights

RUNNABLE = sorted(path.stem for path in CONFIG.glob("stage*.yaml"))


def test_the_promised_names_exist():
    assert {
        "stage1-tiny",
        "stage2-tiny",
        "stage1-dino_large",
        "stage2-dino_large",
        "stage1-dino_base",
        "stage1-dino_small",
    } <= set(RUNNABLE)


@pytest.mark.parametrize("name", RUNNABLE)
def test_a_configuration_builds(name):
    settings = compose_config(name)
    network = settings["network"]
    assert network["num_frame"] == (1 if name.startswith("stage1") else 7)
    photometric = settings["view"]["augmentation"].pop("photometric")
    Augmentation(photometric=Photometric(**photometric), **settings["view"]["augmentation"])
    ClipSampling(**settings["sampling"])
    if (
        "dino" in name and "small" not in name
    ):  # up to 1.2 GB of random numbers each; their blocks are those of the small one
        network["spatial"]["backbone"]["options"]["depth"] = 1
    net = build_network(network)
    parameters = sum(parameter.numel() for parameter in net.parameters())
    if "tiny" in name:
        assert parameters <= 6e6 and network["size"] == (64 if name == "stage1-tiny-palms" else 128)
    else:
        assert network["size"] == 224
    assert settings["loss"].keys() <= network_class(network).terms.keys()


def test_every_loss_term_of_posenet_is_in_the_documentation():
    table = (CONFIG.parent / "docs" / "training.md").read_text().split("\n## Losses\n")[1].split("\n## ")[0]
    named = [
        name
        for line in table.splitlines()
        if line.startswith("| ") and not line.startswith("| term")
        for name in line.split("|")[1].strip().split(", ")
    ]
    assert sorted(named) == sorted(PoseNet.terms)


def test_the_hand_finders_configuration_builds():
    settings = compose_config("find-tiny")
    network, augmentation = build_network(settings["network"]), settings["view"]["augmentation"]
    assert sum(parameter.numel() for parameter in network.parameters()) < 1e6
    assert settings["loss"].keys() == {"centre", "offset", "size"} and settings["tokens"]["mode"] == "online"
    largest, smallest = (
        1 / (settings["network"]["expansion"] * (1 + sign * augmentation["scale"])) for sign in (-1, 1)
    )
    assert smallest < 1 / 6.5 and largest > 1 / 1.3, "the hand box's edge over the picture's"


@pytest.mark.parametrize("name", ["utnet-tiny", "utnet-base", "utnet-huge"])
def test_utnets_configurations_compose(name):
    """tests/model/test_utnet.py builds them."""
    settings = compose_config(name)
    assert settings["view"]["size"] == settings["network"]["size"] == [256, 192]
    assert settings["loss"].keys() == network_class(settings["network"]).terms.keys()
    assert settings["optim"]["clip"] == 1.0 and settings["optim"]["batch_size"] <= 32
    network_class(settings["network"]).check(settings)
    network_class(settings["network"]).check_inherited(settings)


@pytest.mark.parametrize("name", sorted(path.stem for path in CONFIG.glob("hand3d*.yaml")))
def test_hand3ds_configurations_compose(name):
    """tests/model/test_hand3d.py builds their networks."""
    settings = compose_config(name)
    kind = network_class(settings["network"])
    check_weights(settings["loss"], kind.terms)
    kind.check(settings)
    kind.check_inherited(settings)
    assert settings["view"]["expansion"] == 2.2
    assert settings["network"]["size"] == (128 if "tiny" in name else 256)
    assert settings["optim"]["batch_size"] in ((32, 64) if "pretrain" in name else (8, 16))


def test_dino_large_is_the_network_of_its_name():
    import timm

    with torch.device("meta"):
        net = timm.create_model(
            compose_config("stage1-dino_large")["network"]["spatial"]["backbone"]["name"],
            num_classes=0,
            img_size=224,
        )
    assert net.embed_dim == 1024 and sum(p.numel() for p in net.parameters()) > 300e6


@pytest.mark.parametrize("name", DATA)
def test_every_choice_of_data_composes_with_both_stages(name, monkeypatch):
    for stage in (1, 2):
        data = compose_config(f"stage{stage}-dino_large", f"data={name}", "data.folder=tables")["data"]
        for settings in data["tables"].values():
            TableChoice(**settings)
        RowFilter(**data["filter"])
        assert not data["balance"] or Balance(**data["balance"])
        assert any(settings["validation"] for settings in data["tables"].values()) or name == "hamer_tars"
        if name not in ("table", "real_and_drawn"):
            assert all(settings["root"] == f"tables/{table}" for table, settings in data["tables"].items())
    if name == "real_and_drawn":
        assert {settings["root"] for settings in data["tables"].values()} == {
            "tables/hands",
            "tables/real_hands",
        }
        assert sum(settings["weight"] for settings in data["tables"].values()) == pytest.approx(1)
        return
    for table in data["tables"]:
        monkeypatch.setenv(f"TEMPOHAND_{table.upper()}", "elsewhere")
    roots = {
        settings["root"]
        for settings in compose_config("stage1-tiny", f"data={name}")["data"]["tables"].values()
    }
    assert roots == ({"elsewhere"} if name != "table" else {"data/demo"})


def test_the_frames_of_a_sample_are_those_that_the_configuration_tells():
    frames, clips = map(
        int, re.search(r"# (\d+) frames make (\d+) clips", (CONFIG / "stage2-tiny.yaml").read_text()).groups()
    )
    sampling = ClipSampling(**compose_config("stage2-tiny")["sampling"])
    drawn = [
        Clips(np.zeros(100, int), np.arange(100) / 30, 7, sampling).training(position, 99)
        for position in range(50)
    ]
    assert max(len(plan.rows) for plan in drawn) == frames and {len(plan.clips) for plan in drawn} == {clips}
