"""Trains either stage of any network, and the hand finder: the only training loop there is.

    python script/train.py --config-name=stage1-tiny
    python script/train.py --config-name=find-tiny data.root=data/find
    accelerate launch script/train.py --config-name=stage2-tiny init_from=outputs/stage1-tiny/checkpoint/best

It knows a network by its contract (model/network.py): network(batch), network.criterion(prediction, batch).
Samples, learning rate and random numbers depend on the optimizer step alone, and a batch is of all processes:
a run is the same on any number of them, and goes on after an interruption as if there had been none
(docs/training.md).
"""

import time
from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from tempohand.assemble.data import TrainingData, loader_workers
from tempohand.assemble.network import (
    check_settings,
    checkpoint_config,
    inherit,
    replay_dump,
    size_line,
    start_network,
    starting_point,
)
from tempohand.assemble.tokens import cached_clips
from tempohand.assemble.validation import RunValidation, watch_bad_rows
from tempohand.console import run_clearly
from tempohand.data.arguments import data_by_name_or_folder
from tempohand.data.ledger import Ledger
from tempohand.data.loader import training_batches
from tempohand.model.batchnorm import sharing_effects
from tempohand.model.weights import load_config
from tempohand.training.determinism import deterministic_operations
from tempohand.training.launch import new_accelerator
from tempohand.training.learner import Learner
from tempohand.training.processes import clips_per_process, on_main_process, seed_step, sum_over_processes
from tempohand.training.resume import binding_settings, resume_point
from tempohand.training.run_checkpoints import Progress, RunCheckpoints
from tempohand.training.run_record import RunRecord, outlive_a_full_disk
from tempohand.training.step_checks import StepChecks
from tempohand.training.stop import StopRequest

CONFIG = Path(__file__).resolve().parents[1] / "config"


@data_by_name_or_folder(CONFIG, ConfigStore.instance().store)
@hydra.main(version_base="1.3", config_path="../config", config_name="stage1-tiny")
@run_clearly
def main(config: DictConfig) -> None:
    if config.debug.replay:
        raise SystemExit(replay_dump(config.debug.replay))
    settings = OmegaConf.to_container(config, resolve=True)
    check_settings(settings)
    with deterministic_operations(config.deterministic):
        train(config, settings)


def train(config: DictConfig, settings: dict) -> None:
    """The whole run. settings: the configuration as plain dicts, to which a checkpoint's are added."""
    optim = config.optim
    root = Path(config.out) / "checkpoint"
    outlive_a_full_disk()

    # ----- processes ----------------------------------------------------------------------------------------
    accelerator = new_accelerator(
        config.mixed_precision, accumulate=optim.accumulate, tracker=config.tracker, out=config.out
    )
    processes = accelerator.num_processes
    say = accelerator.print
    clips = clips_per_process(optim.batch_size, processes, optim.accumulate, config.sampling.consecutive)
    resume = on_main_process(accelerator, lambda: resume_point(config.resume, root, say))
    inherit(settings, starting_point(settings, resume), say)

    # ----- data ---------------------------------------------------------------------------------------------
    data = TrainingData(settings)
    table = data.mixture.train
    for line in data.account():
        say(line)
    ledger = Ledger()
    bad_rows = watch_bad_rows(settings, data, accelerator, resumed=bool(resume))
    validation = RunValidation(settings, data, accelerator, bad_rows)
    best_by = validation.best
    say(f"the best checkpoint is the one with the least {best_by.name} on validation ({best_by.words})")

    # ----- network ------------------------------------------------------------------------------------------
    network = start_network(settings, say)
    clips_words = f"{len(data.rows):,} training clips, mixed_precision={accelerator.mixed_precision}"
    say(f"{config.name}: {size_line(network)}, {clips_words}")
    for line in sharing_effects(network, clips):
        say(line)
    learner = Learner(network, optim, accelerator)

    # ----- resume -------------------------------------------------------------------------------------------
    binding = binding_settings(settings, data.mixture.fingerprint(), network.weight_files)
    run = {"settings": binding, "processes": processes, "steps": optim.steps}
    about = checkpoint_config(settings, best_by.name)
    checkpoints = RunCheckpoints(root, learner, run, about)
    progress = Progress()
    if resume:
        progress = checkpoints.resume(resume, config.init_from, load_config(resume)["scores"])
    elif config.resume:
        say(f"there is no checkpoint in '{root}' yet: starting anew")
    as_given = OmegaConf.to_container(config, resolve=True)
    record = RunRecord(Path(config.out), accelerator, as_given, step=progress.step, lines=progress.lines)

    # ----- clips --------------------------------------------------------------------------------------------
    training, held_out = data.training, data.held_out
    if config.tokens.mode == "cached":
        training, held_out = cached_clips(settings, data, network, accelerator)
    order = data.order(accelerator, clips, progress.step)
    pinned = accelerator.device.type == "cuda"
    batches = training_batches(training, order, loader_workers(settings), ledger, pinned=pinned)

    def save_step() -> None:
        record.sync()
        progress.lines = record.lines
        checkpoints.save_step(progress, config.log.keep)

    def finish_step() -> None:
        """What follows a step: validation and checkpoints, where they are due."""
        last = progress.step == optim.steps
        if last or progress.step % config.log.validate_every == 0:
            progress.scores = validation(learner.evaluated, held_out, progress.step, ledger)
            network.train()
            record.write(progress.step, "val", progress.scores)
            checkpoints.save_best(progress, progress.scores[best_by.name])
        if last or progress.step % config.log.checkpoint_every == 0:
            save_step()

    # ----- the loop -----------------------------------------------------------------------------------------
    name = HydraConfig.get().job.config_name if HydraConfig.initialized() else config.name
    command = f"python script/train.py --config-name={name}"
    checks = StepChecks(accelerator, network, settings, about, table.describe_row, command)
    network.train()
    shown = {"initial": progress.step, "total": optim.steps, "desc": config.name, "mininterval": 2.0}
    with (
        tqdm(**shown, disable=not accelerator.is_main_process) as bar,
        StopRequest(accelerator.device if processes > 1 else "cpu") as stop,
    ):
        signal = None
        if not progress.finished:  # the run was told to stop after this step
            progress.finished = True
            finish_step()
        clock, seen = time.perf_counter(), 0
        while progress.step < optim.steps and not signal:
            network.set_step(progress.step, optim.dropout_start)
            next_step = progress.step + 1
            logged = next_step % config.log.every == 0 or next_step == optim.steps
            checks.begin_step(progress.step, logged=logged)
            for micro_step in range(optim.accumulate):
                batch = next(batches).to(accelerator.device, non_blocking=True)
                seed_step(config.seed, progress.step, micro_step, accelerator.process_index)
                with accelerator.accumulate(learner.model):
                    with accelerator.autocast():
                        prediction = learner.model(batch)
                        terms = network.criterion(prediction, batch)
                    loss = checks.loss(batch, prediction, terms)
                    # That waited for the device, so here what processes were told costs no wait.
                    if accelerator.sync_gradients:
                        signal = stop.agreed(sum_over_processes)
                    accelerator.backward(loss)
                    if accelerator.sync_gradients:
                        checks.clip_gradient(optim.clip)
                    learner.optimizer.step()
                    learner.optimizer.zero_grad()
                seen += len(batch) * processes
            progress.step = next_step
            learner.end_step(next_step)
            bar.update()
            if logged:
                bad_rows.check(ledger, table)
                values, rate = checks.log_values(), seen / (time.perf_counter() - clock)
                values |= {"lr": learner.schedule.get_last_lr()[-1], "clips_per_s": rate}
                record.write(progress.step, "train", values)
                bar.set_postfix_str(f"loss {values['loss'].item():.3f}, {rate:.0f} clips/s")
                clock, seen = time.perf_counter(), 0
            before = time.perf_counter()
            if signal:
                progress.finished = False
                save_step()
            else:
                finish_step()
            clock += time.perf_counter() - before

    # ----- the end ------------------------------------------------------------------------------------------
    # a launcher ends all processes when one has ended early, even while another writes
    accelerator.wait_for_everyone()
    say(bad_rows.line(bad_rows.total(ledger, table), table))
    say(checkpoints.ending(progress.step, signal and signal.name, best_by.line(progress.best)))
    learner.release()
    record.close()
    if signal:
        raise SystemExit(128 + signal)
    checkpoints.require_last()


if __name__ == "__main__":
    main()
