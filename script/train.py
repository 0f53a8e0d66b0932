"""Trains either stage of any network, and the hand finder: the only training loop there is.

    python script/train.py --config-name=stage1-tiny
    python script/train.py --config-name=find-tiny data.root=data/find
    accelerate launch script/train.py --config-name=stage2-tiny init_from=outputs/stage1-tiny/checkpoint/best

It knows a network by network(batch), network.criterion(prediction, batch) and network.load_pretrained(path).
Samples, learning rate and random numbers depend on the optimizer step alone, and a batch is of all processes:
a run is the same on any number of them, and goes on after an interruption as if there had been none
(docs/training.md).
"""

import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import hydra
import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from tempohand.batch import Frames
from tempohand.console import run_clearly
from tempohand.data.arguments import data_by_name_or_folder
from tempohand.data.clips import ClipSampling
from tempohand.data.ledger import BAD_ROWS_NAME, BadRowWatch, Ledger, left_out_line
from tempohand.data.loader import ClipDataset, TrainingOrder, evaluation_batches, training_batches
from tempohand.data.mixture import Balance, Mixture, RowFilter, spread_over_parts
from tempohand.data.photometric import Photometric
from tempohand.data.token_store import TokenStore, key_hash
from tempohand.data.tokens import TokenDataset, cached, token_key
from tempohand.data.view import Augmentation, View
from tempohand.evaluation.validation import BATCH, scores_of
from tempohand.model.backbone import loading_lines
from tempohand.model.batchnorm import sharing_effects
from tempohand.model.registry import build_network, inherit_settings, load_network, network_class
from tempohand.model.weights import load_config
from tempohand.training.average import WeightAverage
from tempohand.training.checkpoint import NotSaved, go_back, load_state, save_best, save_step
from tempohand.training.debug.dump import Dump
from tempohand.training.debug.replay import replay
from tempohand.training.launch import PATIENCE, refuse_contradictions
from tempohand.training.optim import parameter_groups, warmup_cosine
from tempohand.training.processes import (
    average_statistics,
    clips_per_process,
    gather,
    on_main_process,
    seed_step,
    sum_over_processes,
)
from tempohand.training.resume import (
    binding_settings,
    refuse_other_frozen_weights,
    refuse_other_run,
    restore,
    resume_point,
)
from tempohand.training.run_record import RunRecord, outlive_a_full_disk
from tempohand.training.step_checks import StepChecks
from tempohand.training.stop import StopRequest

CONFIG = Path(__file__).resolve().parents[1] / "config"


def check(config: DictConfig) -> None:
    """Refuses settings that contradict each other, before anything is loaded."""
    network_class(config.network).check(OmegaConf.to_container(config, resolve=True))
    if config.log.keep < 1:
        raise ValueError(f"log.keep={config.log.keep} must be at least 1 checkpoint")


def key_of_tokens(
    config: DictConfig, settings: dict, data: Mixture, network: torch.nn.Module, view: View
) -> dict:
    """What the tokens of a run depend on; `settings`: the network's."""
    kind = {"precision": config.mixed_precision, "dtype": config.tokens.dtype}
    return token_key(settings, network.frozen.state_dict(), view, data.contents(), **kind)


def through_tokens(
    config: DictConfig,
    settings: dict,
    data: Mixture,
    network: torch.nn.Module,
    training: ClipDataset,
    held_out: ClipDataset,
    accelerator: Accelerator,
) -> tuple[TokenDataset, TokenDataset]:
    """The same clips by way of the frozen network's tokens, which are made where they are not yet."""
    tokens, key = config.tokens, key_of_tokens(config, settings, data, network, training.view)

    @torch.no_grad()
    def encode(frames: Frames) -> torch.Tensor:
        with accelerator.autocast():
            return network.encode(frames.to(accelerator.device)).cpu()

    return cached(
        TokenStore(tokens.folder or Path(data.home) / "tokens" / key_hash(key), key),
        training,
        held_out,
        encode,
        dtype=tokens.dtype,
        workers=config.data.workers,
        rank=accelerator.process_index,
        processes=accelerator.num_processes,
        gather=gather,
        say=accelerator.print,
    )


def replay_dump(folder: str) -> int:
    """`debug.replay`: does the step of a dump again (docs/training.md); 1 when something is not finite, as in
    the run, 0 when all is."""
    dump = Dump.load(folder)
    network = load_network(folder).to("cuda" if torch.cuda.is_available() else "cpu")
    return int(replay(dump, network))


@data_by_name_or_folder(CONFIG, ConfigStore.instance().store)
@hydra.main(version_base="1.3", config_path="../config", config_name="stage1-tiny")
@run_clearly
def main(config: DictConfig) -> None:
    if config.debug.replay:
        raise SystemExit(replay_dump(config.debug.replay))
    check(config)
    refuse_contradictions(os.environ, config.mixed_precision, config.optim.accumulate)
    outlive_a_full_disk()
    run = Path(config.out)

    # ----- processes ----------------------------------------------------------------------------------------
    accelerator = Accelerator(
        mixed_precision=config.mixed_precision,
        gradient_accumulation_steps=config.optim.accumulate,
        log_with=config.tracker,
        project_dir=run,
        kwargs_handlers=[
            DistributedDataParallelKwargs(broadcast_buffers=False),
            InitProcessGroupKwargs(timeout=PATIENCE),
        ],
    )
    rank, processes = accelerator.process_index, accelerator.num_processes
    clips = clips_per_process(
        config.optim.batch_size, processes, config.optim.accumulate, config.sampling.consecutive
    )
    say = accelerator.print

    resume = on_main_process(accelerator, lambda: resume_point(config.resume, run / "checkpoint", say))
    settings = OmegaConf.to_container(config, resolve=True)
    network_settings = settings["network"]
    kind = network_class(network_settings)
    # where settings that belong to weights come from
    start = config.init_from or (resume if kind.stage == 2 else None)
    if kind.stage == 2 and not start:
        raise ValueError(
            "Stage 2 needs init_from=<Stage 1 checkpoint>, for example init_from=outputs/stage1-tiny/checkpoint/best"
        )

    # ----- data ---------------------------------------------------------------------------------------------
    if start:
        inherit_settings(network_settings, start, say)
    kind.check_inherited(settings)
    colour = Photometric(**settings["view"]["augmentation"].pop("photometric"))
    augmentation = Augmentation(photometric=colour, **settings["view"]["augmentation"])
    view = View(network_settings["size"], network_settings["expansion"], augmentation)
    num_frame, sampling = network_settings["num_frame"], ClipSampling(**settings["sampling"])
    mixture = Mixture(settings["data"]["tables"], network_settings.get("hand"))
    table, held_out_table = mixture.train, mixture.validation
    training = ClipDataset(table, view, num_frame, sampling, config.seed, config.tokens.views)
    held_out = ClipDataset(held_out_table, view, num_frame)
    eligible = training.clips.training_rows()
    rows = mixture.kept(eligible, RowFilter(**settings["data"]["filter"]))
    frequency = mixture.frequencies(
        rows, Balance(**settings["data"]["balance"]) if config.data.balance else None
    )
    for line in mixture.account(eligible, rows, frequency):
        say(line)
    on_main, file = accelerator.is_main_process, run / BAD_ROWS_NAME
    ledger, bad_rows = (
        Ledger(),
        BadRowWatch(file, config.data.max_bad, gather=gather, say=say, main=on_main, resumed=bool(resume)),
    )
    bad_rows.known(training.inconsistent, table, judged=True)
    bad_rows.known(held_out.inconsistent, held_out_table, judged=False)
    scoring = scores_of(kind.prediction)
    validation_rows = spread_over_parts(held_out_table, config.data.validation_rows)
    held_out_order = (held_out_table.sequence_starts(), held_out_table.column("time"))
    usable = np.setdiff1d(validation_rows, list(held_out.inconsistent))
    best_by = scoring.best(
        held_out_table.column("joints_mask")[usable], held_out_table.column("joints2d_mask")[usable]
    )
    say(f"the best checkpoint is the one with the least {best_by.name} on validation ({best_by.words})")

    # ----- network ------------------------------------------------------------------------------------------
    torch.manual_seed(config.seed)  # the same first weights on every process
    network = build_network(network_settings)
    for line in loading_lines(network):
        say(line)
    if config.init_from:
        for line in network.load_pretrained(config.init_from):
            say(line)
    trainable = sum(p.numel() for p in network.parameters() if p.requires_grad)
    total = sum(p.numel() for p in network.parameters())
    say(
        f"{config.name}: {total / 1e6:.2f} M parameters, {trainable / 1e6:.2f} M trained, {num_frame} frame(s), "
        f"{len(rows):,} training clips, mixed_precision={accelerator.mixed_precision}"
    )
    for line in sharing_effects(network, clips):
        say(line)
    o = config.optim
    optimizer = torch.optim.AdamW(
        parameter_groups(network, o.lr, o.backbone_lr, o.weight_decay), betas=(0.9, 0.99), fused=True
    )
    schedule = warmup_cosine(optimizer, o.warmup, o.steps)
    average = WeightAverage(network, decay=o.ema, use_warmup=True, warmup_power=0.8) if o.ema else None
    model, optimizer = accelerator.prepare(network, optimizer)
    if average:
        average.to(accelerator.device)

    # ----- resume -------------------------------------------------------------------------------------------
    parts = {"network": network, "optimizer": optimizer, "schedule": schedule}
    parts |= {"average": average.module} if average else {}
    parts |= {"scaler": accelerator.scaler} if accelerator.scaler else {}
    binding = binding_settings(
        OmegaConf.to_container(config, resolve=True) | {"network": network_settings}, mixture.fingerprint()
    )
    step, best, lines, finished, scores, unsaved = 0, math.inf, 0, True, {}, None
    if resume:
        state, scores = load_state(resume), load_config(resume)["scores"]
        refuse_other_run(state["settings"], binding, str(resume))
        if config.init_from:
            refuse_other_frozen_weights(network, state["network"], config.init_from)
        restore(state, parts, str(resume), processes=processes, steps=o.steps, say=say)
        step, best, lines, finished = (state[name] for name in ("step", "best", "lines", "finished"))
        if accelerator.is_main_process:
            go_back(run / "checkpoint", resume, step, say)
    elif config.resume:
        say(f"there is no checkpoint in '{run / 'checkpoint'}' yet: starting anew")
    record = RunRecord(run, accelerator, OmegaConf.to_container(config, resolve=True), step=step, lines=lines)

    # ----- tokens -------------------------------------------------------------------------------------------
    workers = config.data.workers
    if config.tokens.mode == "cached":
        training, held_out = through_tokens(
            config, network_settings, mixture, network, training, held_out, accelerator
        )
        workers = 0  # reading records is quicker than passing them between processes

    # ----- validation and checkpoints -----------------------------------------------------------------------
    evaluated = average.module if average else network  # what is validated and saved

    def validate() -> dict[str, float]:
        evaluated.eval()
        results, left_out = scoring(network_settings["expansion"], *held_out_order), Ledger()
        with torch.no_grad():
            size = min(o.batch_size, BATCH)
            for batch in evaluation_batches(
                held_out, validation_rows, size, workers, left_out, rank=rank, world=processes
            ):
                batch = batch.to(accelerator.device)
                with accelerator.autocast():
                    prediction = evaluated(batch)
                    terms = evaluated.criterion(prediction, batch)
                results.add(prediction, batch, terms)
        network.train()
        scores = results.means(gather, settings["loss"])
        missing, total = bad_rows.total(left_out, held_out_table), bad_rows.total(ledger, table)
        for line in (
            results.line(scores),
            left_out_line(missing, held_out_table),
            total.left_out and bad_rows.line(total, table),
        ):
            if line:
                say(f"step {step}: {line}")
        return scores | {"left_out": missing.left_out}

    checkpoint_config = {
        "network": network_settings,
        "view": {"size": network_settings["size"], "expansion": network_settings["expansion"]},
        "stage": kind.stage,
        "name": config.name,
        "loss": settings["loss"],
        "best_by": best_by.name,
    }

    def save(write: Callable[[], None]) -> bool:
        """Whether the main process could write a checkpoint. The run outlives a full disk: what is learned is
        in memory, and room may come."""
        nonlocal unsaved
        try:
            write()
            unsaved = None
        except NotSaved as error:
            unsaved = str(error)
            say(
                f"step {step}: {error}. Earlier checkpoints are whole, the run goes on and saves again when one is due next"
            )
        return unsaved is None

    def save_state(finished: bool) -> None:
        if not accelerator.is_main_process:
            return
        record.sync()
        state = {name: part.state_dict() for name, part in parts.items()}
        state |= {"step": step, "best": best, "lines": record.lines, "finished": finished}
        state |= {"settings": binding, "processes": processes, "steps": o.steps}
        save(
            lambda: save_step(
                run / "checkpoint",
                step,
                evaluated.state_dict(),
                {**checkpoint_config, "step": step, "scores": scores},
                state,
                config.log.keep,
            )
        )

    def finish_step() -> None:
        """What follows a step: validation and checkpoints, where they are due."""
        nonlocal best, scores
        if step % config.log.validate_every == 0 or step == o.steps:
            scores = validate()
            record.write(step, "val", scores)
            better = scores[best_by.name] < best and accelerator.is_main_process  # nan is never best
            saved_as = {**checkpoint_config, "step": step, "scores": scores}
            if better and save(lambda: save_best(run / "checkpoint", step, evaluated.state_dict(), saved_as)):
                best = scores[best_by.name]
        if step % config.log.checkpoint_every == 0 or step == o.steps:
            save_state(finished=True)

    # ----- what is checked in every step --------------------------------------------------------------------
    command = f"python script/train.py --config-name={HydraConfig.get().job.config_name}"
    checks = StepChecks(accelerator, network, settings, checkpoint_config, table.describe_row, command)

    # ----- the loop -----------------------------------------------------------------------------------------
    place = {"rank": rank, "world": processes, "seed": config.seed, "start": step * o.accumulate}
    order = TrainingOrder(rows, clips // sampling.consecutive, frequency=frequency, **place)
    batches = training_batches(training, order, workers, ledger, pinned=accelerator.device.type == "cuda")
    network.train()
    progress = {
        "initial": step,
        "total": o.steps,
        "desc": config.name,
        "disable": not on_main,
        "mininterval": 2.0,
    }
    with tqdm(**progress) as bar, StopRequest(accelerator.device if processes > 1 else "cpu") as stop:
        told = None
        if not finished:  # the run was told to stop after this step
            finish_step()
        clock, seen = time.perf_counter(), 0
        while step < o.steps and not told:
            network.set_step(step, o.dropout_start)
            logged = (step + 1) % config.log.every == 0 or step + 1 == o.steps
            checks.begin_step(step, logged=logged)
            for micro_step in range(o.accumulate):
                batch = next(batches).to(accelerator.device, non_blocking=True)
                seed_step(config.seed, step, micro_step, rank)
                with accelerator.accumulate(model):
                    with accelerator.autocast():
                        prediction = model(batch)
                        terms = network.criterion(prediction, batch)
                    loss = checks.loss(batch, prediction, terms)
                    # That waited for the device, so here what processes were told costs no wait.
                    if accelerator.sync_gradients:
                        told = stop.agreed(sum_over_processes)
                    accelerator.backward(loss)
                    if accelerator.sync_gradients:
                        checks.clip_gradient(o.clip)
                    optimizer.step()
                    optimizer.zero_grad()
                seen += len(batch) * processes
            schedule.step()
            step += 1
            average_statistics(network, sum_over_processes, processes)
            if average:
                average.update(network, step=step)
            bar.update()
            if logged:
                bad_rows.check(ledger, table)
                values = checks.log_values()
                rate = seen / (time.perf_counter() - clock)
                values |= {"lr": schedule.get_last_lr()[-1], "clips_per_s": rate}
                record.write(step, "train", values)
                bar.set_postfix_str(f"loss {values['loss'].item():.3f}, {rate:.0f} clips/s")
                clock, seen = time.perf_counter(), 0
            before = time.perf_counter()
            if told:
                save_state(finished=False)
            else:
                finish_step()
            clock += time.perf_counter() - before

    # ----- the end ------------------------------------------------------------------------------------------
    # a launcher ends all processes when one has ended early, even while another writes
    accelerator.wait_for_everyone()
    say(bad_rows.line(bad_rows.total(ledger, table), table))
    if told:
        saved = f"{unsaved}, a checkpoint before it is" if unsaved else "all of it is saved"
        say(
            f"stopped by {told.name} after step {step}: {saved}; the same command with resume=auto goes on from there"
        )
    else:
        say(f"{best_by.line(best)}; checkpoints in '{run / 'checkpoint'}'")
    # The wrapped model holds the process group. Let go of after the group's end, it would drop the last
    # reference in a destructor that may wait forever.
    model, optimizer = accelerator.free_memory(model, optimizer)
    record.close()
    if told:
        raise SystemExit(128 + told)
    if unsaved:
        raise ValueError(
            f"the last checkpoint of the run is missing: {unsaved}; make room, and start the same command with resume=auto"
        )


if __name__ == "__main__":
    main()
