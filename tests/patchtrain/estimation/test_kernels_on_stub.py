"""What layers take forward and backward on CUDA, as the dry run counts it and as torch's allocator
does on a CUDA device without a GPU: most, what is kept, and how results are laid out.
"""

from __future__ import annotations

import gc
import itertools
from typing import NamedTuple

import pytest
import torch
from torch import nn
from torch.nn import functional

from patchtrain.estimation import attention
from patchtrain.estimation.autocast import forgetting_weights
from patchtrain.estimation.dry_run import TracingGuard, without_content
from patchtrain.memory.meter import MemoryMeter
from patchtrain.models import lay_out

pytestmark = pytest.mark.cuda_stub

PLANAR, TOGETHER = torch.contiguous_format, torch.channels_last
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class Interpolated(nn.Module):
    def __init__(self, mode):
        super().__init__()
        self.mode = mode

    def forward(self, pixels):
        return functional.interpolate(pixels, scale_factor=2, mode=self.mode)


class Frozen(nn.BatchNorm2d):
    def train(self, mode=True):
        return super().train(False)


class Applied(nn.Module):
    """A function of the pixels as a layer."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, pixels):
        return self.function(pixels)


class Scale(nn.Module):
    """The scale of each channel as ConvNeXt and squeeze-and-excitation have it."""

    def __init__(self):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(96))

    def forward(self, pixels):
        return pixels * self.gamma.reshape(1, -1, 1, 1)


class ResponseNorm(Scale):
    """ConvNeXt V2's norm of responses, channels last."""

    def forward(self, pixels):
        pixels = pixels.permute(0, 2, 3, 1)
        norm = pixels.norm(p=2, dim=(1, 2), keepdim=True)
        norm = norm / (norm.mean(dim=-1, keepdim=True) + 1e-6)
        pixels = pixels + torch.addcmul(self.gamma, self.gamma, pixels * norm)
        return pixels.permute(0, 3, 1, 2)


def written_out(q, k, v):
    return (q @ k.transpose(-2, -1)).softmax(-1) @ v


class Attention(nn.Module):
    def __init__(self, attend, num_heads=3):
        super().__init__()
        self.attend = attend
        self.num_heads = num_heads
        self.inner = nn.Linear(96, 3 * 96)

    def forward(self, pixels):
        num = len(pixels)
        tokens = pixels.flatten(2).transpose(1, 2)
        q, k, v = (
            self.inner(tokens)
            .reshape(num, -1, 3, self.num_heads, 96 // self.num_heads)
            .permute(2, 0, 3, 1, 4)
        )
        tokens = self.attend(q, k, v)
        return tokens.transpose(1, 2).reshape(num, 96, *pixels.shape[2:])


class TalkingHeads(Attention):
    """Attention whose heads are mixed before and after the softmax, as CaiT has it."""

    def __init__(self):
        super().__init__(self._talk, num_heads=4)
        self.before, self.after = nn.Linear(4, 4), nn.Linear(4, 4)

    def _talk(self, q, k, v):
        shares = self.before((q @ k.transpose(-2, -1)).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        shares = self.after(shares.softmax(-1).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return shares @ v


class OverChannels(nn.Module):
    """A layer over the last axis, at each pixel."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, pixels):
        return self.layers(pixels.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Residual(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, pixels):
        return pixels + self.layers(pixels)


class Excited(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(96, 24, 1), nn.SiLU(inplace=True), nn.Conv2d(24, 96, 1)
        )

    def forward(self, pixels):
        return pixels * self.layers(pixels.mean((2, 3), keepdim=True)).sigmoid()


LAYERS = {
    "nothing": nn.Identity,
    "batch norm": lambda: nn.BatchNorm2d(96),
    "frozen batch norm": lambda: Frozen(96).train(),
    "batch norm without weights": lambda: nn.BatchNorm2d(96, affine=False),
    "frozen batch norm without weights": lambda: Frozen(96, affine=False).train(),
    "two batch norms": lambda: nn.Sequential(nn.BatchNorm2d(96), nn.ReLU(), nn.BatchNorm2d(96)),
    "batch norm then pool": lambda: nn.Sequential(nn.BatchNorm2d(96), nn.AdaptiveAvgPool2d(1)),
    "group norm": lambda: nn.GroupNorm(32, 96),
    "group norm without weights": lambda: nn.GroupNorm(32, 96, affine=False),
    "layer norm": lambda: OverChannels(nn.LayerNorm(96)),
    "layer norm without weights": lambda: OverChannels(nn.LayerNorm(96, elementwise_affine=False)),
    "rms norm": lambda: OverChannels(nn.RMSNorm(96)),
    "linear": lambda: OverChannels(nn.Linear(96, 96)),
    "mlp": lambda: OverChannels(nn.Linear(96, 384), nn.GELU(), nn.Linear(384, 96)),
    "relu": lambda: nn.ReLU(),
    "relu in place": lambda: Applied(lambda pixels: (pixels + 1).relu_()),
    "hardswish": lambda: nn.Hardswish(),
    "hardsigmoid": lambda: nn.Hardsigmoid(),
    "leaky relu": lambda: nn.LeakyReLU(),
    "prelu": lambda: nn.PReLU(96),
    "elu": lambda: nn.ELU(),
    "mish": lambda: nn.Mish(),
    "silu": lambda: nn.SiLU(),
    "gelu": lambda: nn.GELU(),
    "gelu by tanh": lambda: nn.GELU("tanh"),
    "sigmoid": lambda: nn.Sigmoid(),
    "tanh": lambda: nn.Tanh(),
    "softplus": lambda: nn.Softplus(),
    "relu6": lambda: nn.ReLU6(),
    "celu": lambda: nn.CELU(),
    "selu": lambda: nn.SELU(),
    "soft sign": lambda: nn.Softsign(),
    "soft shrink": lambda: nn.Softshrink(),
    "hard shrink": lambda: nn.Hardshrink(),
    "tanh shrink": lambda: nn.Tanhshrink(),
    "log sigmoid": lambda: nn.LogSigmoid(),
    "gated": lambda: nn.GLU(1),
    "max pool": lambda: nn.MaxPool2d(3, 2, padding=1),
    "average pool": lambda: nn.AvgPool2d(3, 2, padding=1),
    "adaptive pool to 1": lambda: nn.AdaptiveAvgPool2d(1),
    "adaptive pool to 3": lambda: nn.AdaptiveAvgPool2d(3),
    "adaptive max pool": lambda: nn.AdaptiveMaxPool2d(1),
    "dropout": lambda: nn.Dropout(0.5),
    "dropout of channels": lambda: nn.Dropout2d(0.5),
    "depthwise": lambda: nn.Conv2d(96, 96, 3, padding=1, groups=96),
    "stride": lambda: nn.Conv2d(96, 96, 3, stride=2, padding=1),
    "dilation": lambda: nn.Conv2d(96, 96, 3, padding=2, dilation=2, bias=False),
    "transposed": lambda: nn.ConvTranspose2d(96, 96, 2, stride=2),
    "pixel shuffle": lambda: nn.PixelShuffle(2),
    "pixel unshuffle": lambda: nn.Sequential(nn.Upsample(scale_factor=2), nn.PixelUnshuffle(2)),
    "nearest": lambda: Interpolated("nearest"),
    "bilinear": lambda: Interpolated("bilinear"),
    "bicubic": lambda: Interpolated("bicubic"),
    "area": lambda: Interpolated("area"),
    "scale": Scale,
    "norm of responses": ResponseNorm,
    "attention": lambda: Attention(written_out),
    "fused attention": lambda: Attention(functional.scaled_dot_product_attention),
    "fused attention of 12 features": lambda: Attention(
        functional.scaled_dot_product_attention, num_heads=8
    ),
    "talking heads": TalkingHeads,
    "squeeze and excitation": Excited,
    "residual": lambda: Residual(nn.Conv2d(96, 96, 1), nn.BatchNorm2d(96)),
    "pad by reflection": lambda: nn.ReflectionPad2d(0),
    "pad": lambda: nn.ZeroPad2d(1),
    "softmax": lambda: nn.Softmax(1),
    "log softmax": lambda: nn.LogSoftmax(1),
    "normalised": lambda: Applied(functional.normalize),
    "mean": lambda: Applied(lambda pixels: pixels.mean((2, 3))),
    "sum": lambda: Applied(lambda pixels: pixels.sum((2, 3))),
    "mean of all": lambda: Applied(lambda pixels: pixels.mean()),
    "sum over channels": lambda: Applied(lambda pixels: pixels.sum(1)),
    "most": lambda: Applied(lambda pixels: pixels.amax((2, 3))),
    "variance": lambda: Applied(lambda pixels: pixels.var((2, 3))),
    "standardised": lambda: Applied(
        lambda pixels: (pixels - pixels.mean(1, keepdim=True)) / pixels.std(1, keepdim=True)
    ),
    "joined": lambda: Applied(lambda pixels: torch.cat([pixels, pixels.relu()], 1)),
    "stacked": lambda: Applied(lambda pixels: torch.stack([pixels, pixels.relu()])),
    "split": lambda: Applied(lambda pixels: torch.mul(*pixels.chunk(2, 1))),
    "chosen": lambda: Applied(lambda pixels: pixels[:, torch.arange(8, device=pixels.device)]),
    "variance and mean": lambda: Applied(lambda pixels: torch.add(*torch.var_mean(pixels, 1))),
    "square": lambda: Applied(lambda pixels: pixels**2),
    "exponential": lambda: Applied(lambda pixels: pixels.exp()),
    "root": lambda: Applied(lambda pixels: pixels.sqrt()),
    "clamp": lambda: Applied(lambda pixels: pixels.clamp(min=0)),
    "rolled": lambda: Applied(lambda pixels: pixels.roll(1, 2)),
    "cumulated": lambda: Applied(lambda pixels: pixels.cumsum(1)),
}


class Mean(nn.Module):
    """The mean of each map, whose gradients lie with channels first; others pass."""

    def forward(self, pixels):
        return functional.adaptive_avg_pool2d(pixels, 1) if pixels.dim() == 4 else pixels


class Last(nn.Module):
    """A convolution of maps of any number of channels; others pass."""

    def forward(self, pixels):
        if pixels.dim() != 4:
            return pixels
        weight = torch.empty(8, pixels.shape[1], 1, 1, device=pixels.device, requires_grad=True)
        return functional.conv2d(pixels, weight)


def batch(side, layout, device):
    pixels = torch.empty(4, 96, side, side, device=device)
    return pixels.contiguous(memory_format=layout)


def layout_of(pixels):
    return [pixels.is_contiguous(), pixels.is_contiguous(memory_format=TOGETHER)]


COUNTED_HIGHER = ["rms norm"]
"""Layers whose fused kernels the dry run does not know: it counts what they are made of."""


def shift_of_heads(num, heads, length):
    return torch.empty(1, heads, length, length, requires_grad=True)


MASKS = {
    "no mask": lambda num, heads, length: None,
    "learned for each head": shift_of_heads,
    "learned and padded": lambda *sizes: functional.pad(shift_of_heads(*sizes), (0, 3))[..., :-3],
    "of all inputs": lambda num, heads, length: torch.empty(num, heads, length, length),
    "of all heads": lambda num, heads, length: torch.empty(length, length),
    "of keys": lambda num, heads, length: torch.ones(num, 1, 1, length, dtype=torch.bool),
}


class Case(NamedTuple):
    """A fused attention: two inputs of `heads` heads of `length` tokens."""

    heads: int
    length: int
    features: int
    precision: str
    gradient_by_tokens: bool = False
    inputs_by_tokens: bool = True
    mask: str = "no mask"
    dropout: float = 0
    causal: bool = False
    num_keys: int | None = None


ATTENTIONS = [
    *itertools.starmap(
        Case,
        itertools.product(
            (3, 64), (1, 65, 197, 1024), (32, 64, 96, 128), PRECISIONS, (False, True)
        ),
    ),
    *itertools.starmap(
        Case,
        itertools.product(
            (3,), (1, 64, 197), (6, 12, 36, 64, 192, 264), PRECISIONS, (True,), (False, True)
        ),
    ),
    *itertools.starmap(
        Case,
        itertools.product(
            (3,),
            (49, 64, 197),
            (12, 32, 36, 72, 128, 192),
            PRECISIONS,
            (False,),
            (True,),
            list(MASKS)[1:],
        ),
    ),
    *(
        Case(3, length, 32, precision, mask=mask, dropout=dropout, causal=causal, num_keys=num_keys)
        for length in (49, 256)
        for precision in PRECISIONS
        for mask in ("no mask", "learned for each head")
        for dropout in (0, 0.1)
        for causal in (False, True)
        for num_keys in (None, 32)
        if mask == "no mask" or not (causal or num_keys)
    ),
]


def placed(name, place):
    """A layer alone, or after a convolution and before another or a mean: what precedes and follows
    decides layouts.
    """
    if place == "alone":
        return LAYERS[name]()
    last = Mean() if place == "last" else Last()
    return nn.Sequential(nn.Conv2d(96, 96, 3, padding=1), LAYERS[name](), last)


PLACES = {
    "alone": [("fp32", (1, 16))],
    "between": [(precision, (1, 16)) for precision in PRECISIONS],
    "last": [(precision, (16,)) for precision in ("fp32", "bf16")],
}


def cases(names, place):
    for name, (precision, sides) in itertools.product(names, PLACES[place]):
        for layout, side in itertools.product((PLANAR, TOGETHER), sides):
            yield name, place, precision, layout, side


def steps(name, place, precision, layout, side, device):
    """Build a layer, run it forward and backward, and yield after each how results are laid out."""
    with torch.device(device):
        network = placed(name, place)
    lay_out(network, layout, torch.device("cuda"))
    pixels = batch(side, layout, device).requires_grad_()
    yield layout_of(pixels)
    dtype = PRECISIONS[precision]
    arrived = []
    with forgetting_weights(torch.autocast(device, dtype, enabled=dtype is not None)):
        outputs = network(pixels) if place == "alone" else watched(network, pixels, arrived)
    yield layout_of(outputs)
    outputs.backward(torch.empty_like(outputs))
    yield [*layout_of(pixels.grad), *arrived]


def watched(network, pixels, arrived):
    """Return what `network` of three layers gives; how gradients of the second lie, arrives."""
    for layer in network:
        pixels = layer(pixels)
        arrived.append(places_of(pixels))
        pixels.register_hook(lambda gradient: arrived.append(places_of(gradient)))
    return pixels


def places_of(values):
    """Return how far apart neighbours of each axis lie."""
    sizes = zip(values.shape, values.stride(), strict=True)
    return [stride if size > 1 else None for size, stride in sizes]


def attention_steps(case, device):
    """The same for fused attention, without layouts."""
    num, dtype = 2, PRECISIONS[case.precision] or torch.float32
    num_keys = case.num_keys or case.length
    with torch.device(device):
        inputs = [
            by_heads(num, case.heads, length, case.features, dtype, case.inputs_by_tokens)
            for length in (case.length, num_keys, num_keys)
        ]
        mask = MASKS[case.mask](num, case.heads, case.length)
        gradient = by_heads(
            num, case.heads, case.length, case.features, dtype, case.gradient_by_tokens
        )
    if mask is not None and mask.is_floating_point():
        mask = mask.to(dtype)
    learned = [each.requires_grad_() for each in inputs]
    learned += [mask] if mask is not None and mask.requires_grad else []
    yield []
    outputs = functional.scaled_dot_product_attention(*inputs, mask, case.dropout, case.causal)
    yield []
    gradients = torch.autograd.grad(outputs, learned, gradient)
    yield []
    del gradients


def is_split(case):
    """Whether the number of processors of a GPU decides what its kernel takes."""
    return case.precision != "fp32" and case.mask == "no mask" and case.dropout == 0


def by_heads(num, heads, length, features, dtype, by_tokens):
    """Return values [num, heads, length, features], token by token in memory or head by head."""
    if by_tokens:
        return torch.empty(num, length, heads, features, dtype=dtype).transpose(1, 2)
    return torch.empty(num, heads, length, features, dtype=dtype)


def held(made):
    """Return after each step how much it took at most and left on CUDA, and its layouts."""
    found = []
    gc.collect()
    allocated = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    with MemoryMeter("cuda"):  # as in a trial's first batches: gradients do not add up in place
        for layouts in made:
            most, left = torch.cuda.max_memory_allocated(), torch.cuda.memory_allocated()
            found += [most - allocated, left - allocated, *layouts]
            torch.cuda.reset_peak_memory_stats()
    return found


def counted(made, precision):
    """Return the same, by the dry run."""
    target = torch.device("cuda")
    guard = TracingGuard(target)
    meter = guard._meter
    found = []
    with without_content(target, guard, is_16_bits=precision != "fp32"):
        for layouts in made:
            found += [meter.peak_bytes, meter.live_bytes, *layouts]
            meter.reset_peak()
    return found


def start():
    """Start CUDA, with libraries that compute nothing and blocks of the sizes asked for."""
    import cuda_stub.ops  # noqa: F401

    from patchtrain.memory.guards import guard_for

    assert guard_for(torch.device("cuda"), None).facts.expandable_segments
    torch.autograd.set_multithreading_enabled(False)  # its threads keep tensors for a while
    gc.freeze()  # makes collecting quick


def layers_held(names, place):
    start()
    return [held(steps(*case, "cuda")) for case in cases(names, place)]


@pytest.mark.parametrize(
    "place", ["alone", pytest.param("between", marks=pytest.mark.slow), "last"]
)
def test_layers_take_what_is_counted(stub, place):
    names = [name for name in LAYERS if name not in COUNTED_HIGHER]
    expected = stub.run(layers_held, names, place, limit_s=200)
    wrong = [
        f"{case}: counted {found}, held {wanted}"
        for case, wanted in zip(cases(names, place), expected, strict=True)
        if (found := counted(steps(*case, "cpu"), case[2])) != wanted
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("place", PLACES)
def test_layers_that_are_counted_higher_take_no_more(stub, place):
    expected = stub.run(layers_held, COUNTED_HIGHER, place, limit_s=200)
    for case, wanted in zip(cases(COUNTED_HIGHER, place), expected, strict=True):
        found = counted(steps(*case, "cpu"), case[2])
        assert all(most >= taken for most, taken in zip(found, wanted, strict=True)), case


def attentions_held(step):
    start()
    num_processors = torch.cuda.get_device_properties(0).multi_processor_count
    return num_processors, [held(attention_steps(case, "cuda")) for case in ATTENTIONS[::step]]


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_fused_attention_takes_what_is_counted(stub, monkeypatch, step):
    num_processors, expected = stub.run(attentions_held, step, limit_s=200)
    attentions = ATTENTIONS[::step]
    splits = [is_split(case) for case in attentions]
    most = [
        counted(attention_steps(case, "cpu"), case.precision)
        for case in itertools.compress(attentions, splits)
    ]
    monkeypatch.setattr(attention, "_NUM_PROCESSORS", (num_processors,))
    wrong = [
        f"{case}: counted {found}, held {wanted}"
        for case, wanted in zip(attentions, expected, strict=True)
        if (found := counted(attention_steps(case, "cpu"), case.precision)) != wanted
    ]
    assert not wrong, "\n".join(wrong)
    # on a GPU of which the number of processors is not known
    for counts, wanted in zip(most, itertools.compress(expected, splits), strict=True):
        assert all(count >= taken for count, taken in zip(counts, wanted, strict=True))
