"""`patchtrain` runs parts that it finds in the user's working folder, and says what is wrong."""

from __future__ import annotations

import json

import pytest
from extensions.conftest import write_config

from patchtrain.cli import main

OWN = {
    "dataset": "my_parts.datasets:Colours",
    "method": "my_parts.methods:Neighbours",
    "backbone": "my_parts.backbones:Vectors",
    "aggregator": "my_parts.aggregators:Strongest",
}


# the three commands in one process: most of the time goes into importing torch
COMMANDS = """
from patchtrain.cli import main
for arguments in (
    ["estimate", "trial.yaml", "--json", "--quick"],
    ["train", "trial.yaml", "--out", "out"],
    ["evaluate", "out", "--json"],
):
    assert main(arguments) == 0, arguments
"""


def test_a_trial_of_own_parts_only_is_estimated_trained_and_evaluated(folder, command):
    write_config(folder / "trial.yaml", **OWN)
    finished = command("-c", COMMANDS)
    assert (finished.returncode, finished.stderr) == (0, "")
    record = json.loads((folder / "out" / "record.json").read_text())
    assert {name: record[name] for name in OWN} == OWN
    assert record["data_is_sample"]
    estimated, _ = json.JSONDecoder().raw_decode(finished.stdout)
    predicted = estimated["predicted_peak_bytes"]
    assert record["peak_allocated_bytes"] == record["predicted_peak_bytes"] == predicted
    assert f'"{record["metric_name"]}"' in finished.stdout


@pytest.mark.parametrize(
    "settings",
    [
        {"dataset": "drive", "backbone": "my_parts.backbones:Maps", "aggregator": "conv1x1"},
        {
            "dataset": "tju",
            "backbone": "my_parts.backbones:Pyramid",
            "aggregator": "conv1x1",
            "image_size": 128,
            "patch_size": 64,
            "latent_channels": 64,
            "method": "my_parts.methods:Neighbours",
        },
    ],
    ids=["segmentation", "detection"],
)
def test_networks_for_other_tasks_are_trained(folder, here, settings):
    write_config(folder / "trial.yaml", **settings)
    assert main(["train", "trial.yaml", "--out", "out"]) == 0
    record = json.loads((folder / "out" / "record.json").read_text())
    assert record["backbone"] == settings["backbone"]
    assert record["peak_allocated_bytes"] == record["predicted_peak_bytes"]


WRONG = """
from dataclasses import replace
from torch import cat, nn, zeros
from patchtrain.catalog import DatasetFacts, MethodFacts
from patchtrain.datasets import DataSet
from patchtrain.methods import Method
from my_parts.backbones import Maps, Pyramid, Vectors
from my_parts.aggregators import Strongest
from my_parts.datasets import Colours

class NoMethod: facts = MethodFacts(input_side="patch_size")
class NoFacts(Method): pass
class Unfinished(Method): facts = MethodFacts(input_side="patch_size", reads=("patch_size",))
class UnknownTaskMethod(Method):
    facts = MethodFacts(input_side="patch_size", refuses={"regression": "is too hard"})
class UnknownSetting(Method):
    facts = MethodFacts(input_side="patch_size", reads=("patch_sise",))
class UnknownTask(Colours): facts = DatasetFacts(task="regression")
class NoDataSet: facts = DatasetFacts(task="classification")
class UnfinishedData(DataSet): facts = DatasetFacts(task="classification")
class RaisingData(Colours):
    def __init__(self): raise RuntimeError("no\\nluck")
class Raising(Vectors):
    def __init__(self): raise ValueError("no\\nluck")
class Lying(Vectors):
    def __init__(self):
        super().__init__()
        self.num_features = 7
class NoFeatures(nn.Module):
    def forward(self, images): return images.mean(dim=(2, 3))
class Flat(Vectors):
    def forward(self, images): return zeros(3)
class NoModule:
    pass
class WrongScores(Strongest):
    def forward(self, latent): return super().forward(latent)[:, :, None]
class NoChannels(nn.Module):
    def forward(self, images): return []
class RaisingMethod(Method):
    facts = MethodFacts(input_side="patch_size", reads=("patch_size",))
    def __init__(self, config, tools): raise ValueError("no luck")
    def _encode(self, generator): pass
    def predict(self, batch): pass
class Quits(Vectors):
    def __init__(self): raise SystemExit(0)
class QuittingData(Colours):
    def __init__(self): raise SystemExit(0)
class NoSide(RaisingMethod): facts = MethodFacts(input_side="patchsize")
class ListOfRefusals(RaisingMethod): facts = MethodFacts(input_side="patch_size", refuses=("x",))
class NothingEncoded(Method):
    facts = MethodFacts(input_side="patch_size", reads=("patch_size",))
    def _encode(self, generator): return None
    def predict(self, batch): return None
class UnknownDefault(Colours):
    facts = DatasetFacts(task="classification", defaults={"imagesize": 64})
class ListOfDefaults(Colours): facts = DatasetFacts(task="classification", defaults=["x"])
def broken(config): raise RuntimeError("no luck")
class RaisingCheck(Colours): facts = DatasetFacts(task="classification", check=broken)
class NoListing(Colours):
    def list_images(self, config, data_dir): return None
class RaisingListing(Colours):
    def list_images(self, config, data_dir): return {}["grade"]
class Changed(Colours):
    def list_images(self, config, data_dir):
        listing = super().list_images(config, data_dir)
        return replace(listing, **self.changed(listing))
class OtherClasses(Changed):
    def changed(self, listing): return {"class_names": ("a", "b")}
class Unsorted(Changed):
    def changed(self, listing): return {"examples": listing.examples[::-1]}
class Twice(Changed):
    def changed(self, listing): return {"examples": listing.examples[:1] * 3}
class Escaping(Changed):
    def changed(self, listing):
        examples = (replace(e, image_id=f"../{e.image_id}") for e in listing.examples)
        return {"examples": tuple(examples)}
class BeyondTheClasses(Changed):
    def changed(self, listing):
        return {"examples": tuple(replace(e, target=99) for e in listing.examples)}
class OneScoreTooMany(Strongest):
    def forward(self, latent):
        scores = super().forward(latent)
        return cat([scores, scores[:, :1]], dim=1)
"""


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("dataset", "nowhere:Mine", "there is no module 'nowhere'"),
        ("dataset", "wrong:Mine", "has no 'Mine'"),
        ("dataset", "wrong:NoDataSet", "is not a subclass of"),
        ("dataset", "wrong:UnfinishedData", "class_names"),
        ("dataset", "wrong:UnknownTask", "'regression'"),
        ("dataset", "wrong:RaisingData", "no luck"),
        ("method", "my_parts.methods:Missing", "has no 'Missing'"),
        ("method", "wrong:NoMethod", "is not a subclass of"),
        ("method", "wrong:NoFacts", "facts"),
        ("method", "wrong:Unfinished", "predict"),
        ("method", "wrong:UnknownTaskMethod", "'regression'"),
        ("method", "wrong:UnknownSetting", "'patch_sise'"),
        ("method", "wrong:RaisingMethod", "no luck"),
        ("backbone", "wrong:Raising", "no luck"),
        ("backbone", "wrong:Lying", "num_features"),
        ("backbone", "wrong:NoFeatures", "num_features"),
        ("backbone", "wrong:Flat", "one vector per input"),
        ("backbone", "wrong:NoModule", "torch.nn.Module"),
        ("backbone", "broken-name:Mine", "must have the form"),
        ("aggregator", "wrong:WrongScores", "one vector per input"),
        ("aggregator", "wrong:NoModule", "NoModule"),
        ("aggregator", "wrong:OneScoreTooMany", "3 scores for 2 classes"),
        ("backbone", "wrong:Quits", "cannot be built"),
        ("dataset", "wrong:QuittingData", "SystemExit"),
        ("dataset", "wrong:UnknownDefault", "'imagesize'"),
        ("dataset", "wrong:ListOfDefaults", "defaults"),
        ("dataset", "wrong:RaisingCheck", "no luck"),
        ("dataset", "wrong:NoListing", "return a Listing"),
        ("dataset", "wrong:RaisingListing", "KeyError"),
        ("dataset", "wrong:OtherClasses", "return the same"),
        ("dataset", "wrong:Unsorted", "sort the examples"),
        ("dataset", "wrong:Twice", "each once"),
        ("dataset", "wrong:Escaping", "cannot name a file"),
        ("dataset", "wrong:BeyondTheClasses", "number of a class"),
        ("method", "wrong:NoSide", "input_side"),
        ("method", "wrong:ListOfRefusals", "refuses"),
        ("method", "wrong:NothingEncoded", "failed without data"),
    ],
)
def test_what_is_wrong_with_a_part_is_said_in_one_line(folder, here, name, value, said, capsys):
    (folder / "wrong.py").write_text(WRONG)
    config = write_config(folder / "trial.yaml", **{name: value})
    status = main(["train", str(config), "--out", "out"])
    errors = capsys.readouterr().err
    assert status == 2, errors
    assert errors.count("\n") == 1
    assert f"{name}='{value}'" in errors
    assert said in errors
    assert not (folder / "out").exists()


def test_constants_of_a_module_are_real_tensors_wherever_it_is_imported_first(folder, here):
    """Not those of a dry run, which have no values, nor those of the meta device."""
    (folder / "constant.py").write_text(
        "import torch\n"
        "from my_parts.backbones import Vectors\n"
        "SCALE = torch.empty(1).uniform_(2, 3)\n"
        "class Scaled(Vectors):\n"
        "    def forward(self, images):\n"
        "        return super().forward(images * SCALE.to(images.device))\n"
    )
    write_config(folder / "trial.yaml", backbone="constant:Scaled", budget="100MB")
    assert main(["train", "trial.yaml", "--out", "out"]) == 0
    record = json.loads((folder / "out" / "record.json").read_text())
    assert record["peak_allocated_bytes"] == record["predicted_peak_bytes"]
