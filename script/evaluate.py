"""Evaluates Stage 1, Stage 2 or both on a split of a frame table: a table in the terminal, metrics.json, and
strips for the report.

    python script/evaluate.py stage1=outputs/stage1-tiny/checkpoint/best
    stage2=outputs/stage2-tiny/checkpoint/best data=data/demo
    torchrun --nproc_per_node 2 script/evaluate.py stage2=outputs/stage2-tiny/checkpoint/best data=data/demo
    python script/evaluate.py protocol=freihand stage1=... data=data/freihand submission=pred.zip

Every row sees every frame of the split that can be used once (bad data is counted and named): mean_pose (a
constant hand that knows the box alone), with landmarks=true landmarks (MediaPipe's alone) and landmarks_fit
(a hand fitted to them, without any training), stage1, stage1_one_euro, stage1_kalman and stage1_accurate
(Stage 1 under causal filters tuned on the validation split) and stage2 (histories of 1 to num_frame frames
from each sequence's start). Processes share the split out by groups of whole sequences, batches are cut
within groups, and sums per recording are added up, so the numbers do not depend on how many processes there
are. Intervals and Stage 2's differences to the other rows come from a paired bootstrap over recordings.

With `protocol` it prints instead what a data set's official script prints, writes protocol_<name>.json, and
with `submission` the file that its server takes (docs/protocols.md).
"""

from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from tempohand.assemble.comparison import compared_rows_of, comparison_json, new_strips
from tempohand.assemble.evaluation import Evaluation
from tempohand.assemble.official import OfficialFiles, predict_samples, write_submission
from tempohand.console import run_clearly
from tempohand.data.arguments import data_by_name_or_folder
from tempohand.data.ledger import left_out_line
from tempohand.evaluation.evaluator import score_sequences
from tempohand.evaluation.protocols.registry import find_protocol
from tempohand.evaluation.protocols.result import protocol_json, protocol_table
from tempohand.evaluation.results import METRICS_NAME, summary, write_json
from tempohand.training.launch import new_accelerator

CONFIG = Path(__file__).resolve().parents[1] / "config"


def compare(evaluation: Evaluation, out: Path) -> None:
    """Scores every row of the comparison on the same frames."""
    frames = evaluation.frames(evaluation.splits.evaluated)
    rows = compared_rows_of(evaluation, frames)
    strips = new_strips(evaluation, frames, out)

    sequences = frames.predict(rows.predictors, f"evaluating {evaluation.splits.evaluated}", strips.watching)
    recordings = int(frames.recording.max()) + 1
    board = score_sequences(
        sequences, rows.names, rows.smoothed(), frames.recording, recordings, strips.watch
    )
    board.reduce(evaluation.total)

    content, ledger = comparison_json(evaluation, frames, rows, board)
    if content is None:
        return
    print(evaluation.counted(content["n"]))
    if ledger.left_out:
        print(left_out_line(ledger, frames.table))
    write_json(out / METRICS_NAME, content)
    print(summary(content), end="")
    print(f"\nwrote '{out / METRICS_NAME}' and {len(strips.choices)} strips")


def follow_protocol(evaluation: Evaluation, name: str, out: Path) -> None:
    """Prints and writes what a data set's official script prints of each given network."""
    protocol = find_protocol(name)
    frames = evaluation.frames(evaluation.splits.evaluated)
    official = OfficialFiles.read(evaluation, protocol, frames)

    samples = predict_samples(evaluation, protocol, frames, official)
    if samples is None:
        return
    truth, hands, ledger = samples
    rows = protocol.evaluate(truth, hands)
    print(evaluation.counted(len(truth)))
    if evaluation.settings["submission"]:
        print(write_submission(evaluation, protocol, frames, official.order, truth, hands))
    else:
        protocol.check_truth(truth, rows)

    root = evaluation.settings["protocol_root"]
    content = protocol_json(
        rows,
        frames.drawn_by(),
        protocol=name,
        title=protocol.title,
        n=len(truth),
        truth=root or "the table's labels",
        missing=len(set(official.order) - set(truth.keys())) if root else None,
        **evaluation.provenance(frames, ledger),
        seconds=evaluation.seconds(),
    )
    path = out / f"protocol_{name}.json"
    write_json(path, content)
    print(f"\n{protocol_table(content)}\n\nwrote '{path}'")


@data_by_name_or_folder(CONFIG, ConfigStore.instance().store)
@hydra.main(version_base="1.3", config_path="../config", config_name="evaluate")
@run_clearly
def main(config: DictConfig) -> None:
    settings = OmegaConf.to_container(config, resolve=True)
    protocol = settings["protocol"]
    if not protocol and (settings["submission"] or settings["protocol_root"]):
        raise ValueError("submission and protocol_root belong to a protocol: give protocol=<name>")
    accelerator = new_accelerator(settings["mixed_precision"], cpu=settings["device"] == "cpu")
    evaluation = Evaluation(settings, accelerator)
    if protocol:
        follow_protocol(evaluation, protocol, Path(settings["out"]))
    else:
        compare(evaluation, Path(settings["out"]))
    accelerator.end_training()


if __name__ == "__main__":
    main()
