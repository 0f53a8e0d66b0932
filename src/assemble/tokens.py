"""A run's clips from the features of its network's frozen part, which are cached (data/tokens.py)."""

import torch
from accelerate import Accelerator

from tempohand.assemble.data import TrainingData
from tempohand.batch import Frames
from tempohand.data.mixture import Mixture
from tempohand.data.token_store import Processes, TokenStore, key_hash
from tempohand.data.tokens import Encoder, TokenDataset, cached, token_key
from tempohand.data.view import View
from tempohand.model.network import Network
from tempohand.training.processes import gather


def key_of_tokens(settings: dict, view: View, mixture: Mixture, network: Network) -> dict:
    """All that the tokens of a training configuration depend on."""
    return token_key(
        network.frozen_settings(settings["network"]),
        network.frozen.state_dict(),
        view,
        mixture.contents(),
        precision=settings["mixed_precision"],
        dtype=settings["tokens"]["dtype"],
    )


def cached_clips(
    settings: dict, data: TrainingData, network: Network, accelerator: Accelerator
) -> tuple[TokenDataset, TokenDataset]:
    """Training and validation clips of frames with features in place of pictures; what the cache lacks is
    made first, shared among processes. Raises what data/tokens.py's `cached` raises."""
    key, tokens = key_of_tokens(settings, data.training.view, data.mixture, network), settings["tokens"]

    @torch.no_grad()
    def encode(frames: Frames) -> torch.Tensor:
        with accelerator.autocast():
            return network.encode(frames.to(accelerator.device)).cpu()

    return cached(
        TokenStore(data.mixture.token_folder(tokens["folder"], key_hash(key)), key),
        data.training,
        data.held_out,
        Encoder(encode, tokens["dtype"], settings["data"]["workers"]),
        Processes(accelerator.process_index, accelerator.num_processes, gather, accelerator.print),
    )
