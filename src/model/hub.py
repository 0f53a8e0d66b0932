"""Networks in folders and on the Hugging Face Hub: `from_pretrained`, `save_pretrained` and `push_to_hub`,
with a model card made of what the network's configuration says."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import safetensors.torch
from huggingface_hub import ModelCard, ModelHubMixin, snapshot_download

from tempohand.manifest import write_manifest
from tempohand.model.weights import CONFIG_NAME, WEIGHTS_NAME, locate

NOTICES = ("LICENSE*", "NOTICE*")  # what travels with weights that were made from others'
CARD = """---
{{ card_data }}
---

# {{ name }}

{{ title }} of Tempohand: 3D hands from ordinary video. From crops of {{ crop.width }} x {{ crop.height }} px,
{{ frames }}, it gives MANO pose [B, 1, 48], shape [B, 1, 10], wrist [B, 1, 3], 21 joints and 778 vertices in
camera space (OpenCV's axes, mm).

    from {{ module }} import {{ kind }}
    from tempohand.inference.predictor import StreamingPredictor

    network = {{ kind }}.from_pretrained("FOLDER OR USER/NAME")
    hand = StreamingPredictor(network).push(image, box, time, focal=1050)

    tempohand predict clip.mp4 --checkpoint FOLDER

| | |
|---|---|
| hand model | {{ hand }} |
| weights | {{ parameters }} parameters |
{%- for key, value in facts.items() %}
| {{ key }} | {{ value }} |
{%- endfor %}

Scores are those of the run's own validation split. How to evaluate it on data of yours: docs/evaluation.md.
{%- if notices %}

Licences and attributions that travel with these weights: {{ notices | join(", ") }}.
{%- endif %}
"""


class PretrainedMixin(
    ModelHubMixin,
    library_name="tempohand",
    pipeline_tag="keypoint-detection",
    tags=["hand-pose-estimation", "3d-hand", "mano"],
    model_card_template=CARD,
):
    """What users of the hub expect of a network: `from_pretrained`, and the hub library's `save_pretrained`
    and `push_to_hub`. A folder is an ordinary checkpoint directory."""

    config: Mapping = MappingProxyType({})  # the config.json that it was loaded with
    folder: Path | None = None  # the directory that it was loaded from

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **hub):
        """The network of a checkpoint directory, of a name that comes with the package, or of a repository on
        the hub, in evaluation mode, on the CPU.

        hub: of a repository, huggingface_hub.snapshot_download's `revision`, `token`, `cache_dir`,
        `local_files_only`, ...; a directory or a name that is here is never looked for there. Raises
        ValueError when it holds a network of another class, and what loading and downloading raise.
        """
        from tempohand.model.registry import load_network  # which imports every network, and they this

        name = pretrained_model_name_or_path
        place = locate(name)
        if not place.is_dir():
            kept = [WEIGHTS_NAME, "*.json", *NOTICES]
            place = Path(snapshot_download(str(name), allow_patterns=kept, **hub))
        network = load_network(place)
        if not isinstance(network, cls):
            raise ValueError(
                f"'{name}' holds a {type(network).__name__}, not a {cls.__name__}: "
                f"{type(network).__name__}.from_pretrained loads it"
            )
        return network

    def _save_pretrained(self, save_directory: Path) -> None:
        """A checkpoint directory of the weights as they are. Raises ValueError for a network that was built
        and not loaded: what it is stands in no configuration."""
        if not self.config:
            raise ValueError(
                f"this {type(self).__name__} has no configuration: load it (`from_pretrained`) from a "
                "checkpoint of its run, which is a directory of this kind already"
            )
        network = cast(Any, self)  # a Network, which this is mixed into
        weights = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
        for notice in self.notices():
            shutil.copy(notice, save_directory / notice.name)
        (save_directory / CONFIG_NAME).write_text(json.dumps(self.config, indent=1), encoding="utf-8")
        safetensors.torch.save_file(weights, save_directory / WEIGHTS_NAME)
        write_manifest(save_directory)

    def notices(self) -> list[Path]:
        """The licences and attributions that lie beside the weights it was loaded from."""
        return [] if self.folder is None else sorted(p for each in NOTICES for p in self.folder.glob(each))

    def generate_model_card(self, **more) -> ModelCard:
        """The card of this network; `more`: values for the template, or other card data."""
        config, network = self.config, cast(Any, self)  # a Network, which this is mixed into
        training = config.get("training", config)
        facts = {"trained on": training.get("data"), "step": training.get("step")}
        scores = {name: value for name, value in (training.get("scores") or {}).items() if "/" not in name}
        facts |= {f"validation, {name}": f"{value:.4g}" for name, value in scores.items()}
        hand = config.get("network", {}).get("hand")
        frames = f"up to {network.num_frame} frames" if network.num_frame > 1 else "one frame"
        return super().generate_model_card(
            name=config.get("name", type(self).__name__),
            title=network.title[:1].upper() + network.title[1:],
            crop=network.crop,
            frames=f"{frames} at a time",
            module=type(self).__module__,
            kind=type(self).__name__,
            hand=Path(hand).name if hand else "the open hand, which comes with the package",
            parameters=f"{sum(value.numel() for value in network.parameters()):,}",
            facts={key: value for key, value in facts.items() if isinstance(value, (str, int))},
            notices=[path.name for path in self.notices()],
            **more,
        )
