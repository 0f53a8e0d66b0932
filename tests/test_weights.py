"""script/weights.py, the steps it is made of, and script/release.py; nothing is trained."""

import json
from pathlib import Path

import pytest
import torch
from tests_support import compose_config, load_file, small_network

from tempohand.evaluation.provenance import file_hash
from tempohand.model.registry import build_network
from tempohand.training.checkpoint import save_weights

SCRIPTS = Path(__file__).parents[1] / "script"


@pytest.fixture
def steps(monkeypatch, tmp_path):
    """The module, in a working directory of its own."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.chdir(tmp_path)
    import steps

    return steps


def test_a_step_runs_once_and_one_that_fails_is_not_done(steps, tmp_path, capfd):
    work = steps.Steps(tmp_path / "done.json", "the work")
    work.run("one", "-c", "print('ran')")
    with pytest.raises(SystemExit, match="the work stopped in step 'two'"):
        work.run("two", "-c", "raise SystemExit(3)")
    again = steps.Steps(tmp_path / "done.json", "the work")
    again.run("one", "-c", "print('ran')")
    assert capfd.readouterr().out.splitlines().count("ran") == 1 and again.done.keys() == {"one"}


@pytest.mark.parametrize("computes, precision", [(True, "bf16"), (False, "no")])
def test_trainings_take_the_precision_that_the_cpu_computes_in(steps, monkeypatch, computes, precision):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: computes)
    assert f"mixed_precision={precision}" in steps.training("stage1-tiny")
    assert "mixed_precision=no" in steps.training("stage1-tiny", precision="no")


@pytest.mark.parametrize("more", [[], ["--quick"]])
def test_every_command_of_the_weights_is_one_that_exists(steps, monkeypatch, tmp_path, more):
    """Configurations compose with what the commands set; the second Stage 1 learns from the second round of
    labels, its backbone after its head, and Stage 2 begins with that."""
    weights = load_file(SCRIPTS / "weights.py")
    commands = {}
    monkeypatch.setattr(
        weights,
        "Steps",
        lambda *_: type("Recorder", (), {"run": lambda _, name, *words: commands.update({name: words})})(),
    )
    monkeypatch.setattr("sys.argv", ["weights.py", "--real", str(tmp_path), *more])
    weights.main()
    trained, begun = [], []
    for name, words in commands.items():
        script = next(word for word in words if word.startswith("script/"))
        assert (SCRIPTS.parent / script).is_file(), name
        given = [
            word for word in words[words.index(script) + 1 :] if "=" in word and not word.startswith("-")
        ]
        config = [word.removeprefix("--config-name=") for word in words if word.startswith("--config-name=")]
        if config:
            settings = compose_config(config[0], *given)
        if script == "script/train.py":
            begun.append(settings["init_from"])
            trained.append(settings["out"])
    names = ["first-round", "stage1-small", "stage1-small-unfrozen", "stage2-small", "find-small"]
    assert [Path(out).name for out in trained] == names
    assert begun == [None, None, *(f"{out}/checkpoint/best" for out in trained[1:3]), None]
    second = next(word for word in commands["data real_hands2"] if word.startswith("options="))
    assert f"network: {trained[0]}/checkpoint/best" in second
    released = [] if more else ["release tempohand-small", "release tempohand-finder"]
    assert [name for name in commands if name.startswith("release")] == released
    assert list(commands)[-1] == "figures"


def test_the_real_pictures_have_to_be_there(steps, monkeypatch, capsys):
    weights = load_file(SCRIPTS / "weights.py")
    monkeypatch.setattr("sys.argv", ["weights.py", "--real", "nowhere"])
    with pytest.raises(SystemExit):
        weights.main()
    assert "'nowhere' is no folder" in capsys.readouterr().err


def test_a_release_is_written_and_its_digest_printed(tmp_path, capsys):
    torch.manual_seed(0)
    config = {
        "network": small_network(2),
        "view": {"size": 64, "expansion": 2.0},
        "stage": 2,
        "name": "run",
        "step": 7,
        "scores": {},
    }
    save_weights(tmp_path / "best", build_network(small_network(2)).state_dict(), config)
    load_file(SCRIPTS / "release.py").main(
        ["mine", str(tmp_path / "best"), "--note", "noise", "--folder", str(tmp_path / "released")]
    )
    told = json.loads(capsys.readouterr().out)
    assert (
        told["sha256"] == file_hash(tmp_path / "released/mine/model.safetensors") and told["name"] == "mine"
    )
    assert json.loads((tmp_path / "released/mine/config.json").read_text())["training"] == {
        "data": "noise",
        "run": "run",
        "step": 7,
        "scores": {},
    }
