"""The methods: how an image is trained on. Each is one entry here and one class in `methods/`."""

from __future__ import annotations

from collections.abc import Mapping

from patchtrain.catalog.facts import MethodFacts

GRID_SETTINGS = ("patch_size", "sampling_rate", "inner_iterations")
"""Read by every method that samples patches."""

METHODS: Mapping[str, MethodFacts] = {
    "local_global": MethodFacts(
        implementation="patchtrain.methods.local_global:LocalGlobal",
        input_side="patch_size",
        samples_patches=True,
        has_latent=True,
        has_global=True,
        reads=(*GRID_SETTINGS, "aggregator", "layout", "fusion", "fusion_scale", "global_pass"),
    ),
    "patchgd": MethodFacts(
        implementation="patchtrain.methods.patchgd:PatchGd",
        input_side="patch_size",
        samples_patches=True,
        has_latent=True,
        reads=(*GRID_SETTINGS, "aggregator", "layout"),
    ),
    "published": MethodFacts(
        implementation="patchtrain.methods.published:Published",
        input_side="patch_size",
        samples_patches=True,
        has_latent=True,
        has_global=True,
        global_is_input=False,
        scrambles_maps=True,
        reads=(*GRID_SETTINGS, "aggregator", "fusion", "fusion_scale"),
    ),
    "published_patchgd": MethodFacts(
        implementation="patchtrain.methods.published:PublishedPatchGd",
        input_side="patch_size",
        samples_patches=True,
        has_latent=True,
        reads=(*GRID_SETTINGS, "aggregator"),
        refuses={
            "detection": "is the authors' code, which has no PatchGD for detection; use "
            "method=patchgd or published"
        },
    ),
    "tiled": MethodFacts(
        implementation="patchtrain.methods.tiled:Tiled",
        input_side="patch_size",
        samples_patches=True,
        may_overlap=True,
        reads=(*GRID_SETTINGS, "tile_overlap"),
        refuses={
            "classification": "needs a label for every patch, which classification does not have; "
            "use method=patchgd or local_global"
        },
    ),
    "downsampled": MethodFacts(
        implementation="patchtrain.methods.downsampled:Downsampled",
        input_side="patch_size",
        reads=("patch_size",),
    ),
    "full": MethodFacts(
        implementation="patchtrain.methods.full:Full",
        input_side="image_size",
        leaner="checkpointed",
    ),
    "checkpointed": MethodFacts(
        implementation="patchtrain.methods.full:Checkpointed",
        input_side="image_size",
        refuses=dict.fromkeys(
            ("segmentation", "detection"),
            "trains classification only; use full, or local_global for less memory",
        ),
    ),
}
