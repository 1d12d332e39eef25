"""Autocast on the CPU casts as on CUDA inside `autocast_of_cuda`, and as before outside of it.

The functions `result_types` and `other_types` run in a process on the stub device, whose autocast
is torch's own.
"""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional

from patchtrain.estimation.autocast import (
    FP32,
    FP32_NORM,
    FP32_RESULT,
    LOWER,
    REFUSED,
    WIDEST,
    autocast_of_cuda,
    names_with_rules,
)

LISTED = {*LOWER, *FP32, *FP32_RESULT, *FP32_NORM, *WIDEST, *REFUSED}


UNARY = """acos asin cosh erfinv exp expm1 log log10 log2 log1p reciprocal rsqrt sinh tan sum prod
    mean sqrt abs sigmoid tanh square var std cos"""
LOSSES = """l1_loss smooth_l1_loss huber_loss mse_loss soft_margin_loss hinge_embedding_loss
    poisson_nll_loss binary_cross_entropy_with_logits"""
ACTIVATIONS = "softplus mish gelu silu relu hardtanh hardswish elu leaky_relu logsigmoid"


def halves(*shape, dtype, device):
    return torch.ones(shape, dtype=dtype, device=device)


def calls(dtype, device):
    """Return operations by name, each on inputs in 16 bits, or on 16 bits beside fp32."""

    def half(*shape):
        return halves(*shape, dtype=dtype, device=device)

    x, y, square = half(2, 4, 4, 4), half(2, 4, 4, 4), half(4, 4)
    line, wide = half(2, 4, 8), torch.ones(4, 4, device=device)
    whole = torch.zeros(2, 4, 4, dtype=torch.int64, device=device)
    places = torch.zeros(4, dtype=torch.int64, device=device)
    volume = half(1, 2, 3, 3, 3)
    return {
        **{name: lambda name=name: getattr(torch, name)(x) for name in UNARY.split()},
        **{
            f"loss {name}": lambda name=name: getattr(functional, name)(x, y)
            for name in LOSSES.split()
        },
        **{name: lambda name=name: getattr(functional, name)(x) for name in ACTIVATIONS.split()},
        "pow": lambda: x**2,
        "pow of tensors": lambda: x**y,
        "number to the power": lambda: 2.0**x,
        "sum over one": lambda: x.sum(1),
        "sum in 16 bits": lambda: x.sum(1, dtype=dtype),
        "prod over one": lambda: x.prod(1),
        "cumsum": lambda: x.cumsum(1),
        "cumprod": lambda: x.cumprod(1),
        "softmax": lambda: x.softmax(1),
        "softmax in 16 bits": lambda: x.softmax(1, dtype=dtype),
        "log_softmax": lambda: x.log_softmax(1),
        "norm": lambda: x.norm(),
        "norm of two": lambda: x.norm(p=2, dim=(1, 2), keepdim=True),
        "vector norm": lambda: torch.linalg.vector_norm(x),
        "matrix norm": lambda: torch.linalg.matrix_norm(square),
        "normalize": lambda: functional.normalize(x, dim=1),
        "cosine_similarity": lambda: functional.cosine_similarity(x, y),
        "layer_norm": lambda: functional.layer_norm(x, (4,)),
        "rms_norm": lambda: functional.rms_norm(x, (4,)),
        "group_norm": lambda: functional.group_norm(x, 2),
        "instance_norm": lambda: functional.instance_norm(x),
        "cross_entropy": lambda: functional.cross_entropy(x, whole),
        "nll_loss": lambda: functional.nll_loss(x, whole),
        "logsumexp": lambda: x.logsumexp(1),
        "cdist": lambda: torch.cdist(line, line),
        "kl_div": lambda: functional.kl_div(x, y, reduction="sum"),
        "dist": lambda: torch.dist(x, y),
        "renorm": lambda: x.renorm(2, 0, 1.0),
        "nearest": lambda: functional.interpolate(x, scale_factor=2),
        "nearest-exact": lambda: functional.interpolate(x, scale_factor=2, mode="nearest-exact"),
        "bilinear": lambda: functional.interpolate(x, scale_factor=2, mode="bilinear"),
        "bicubic": lambda: functional.interpolate(x, scale_factor=2, mode="bicubic"),
        "linear in 1d": lambda: functional.interpolate(line, scale_factor=2, mode="linear"),
        "nearest in 1d": lambda: functional.interpolate(line, scale_factor=2),
        "nearest in 3d": lambda: functional.interpolate(volume, scale_factor=2),
        "trilinear": lambda: functional.interpolate(volume, scale_factor=2, mode="trilinear"),
        "bilinear, antialiased": lambda: functional.interpolate(
            x, size=2, mode="bilinear", antialias=True
        ),
        "adaptive_avg_pool2d": lambda: functional.adaptive_avg_pool2d(x, 1),
        "avg_pool2d": lambda: functional.avg_pool2d(x, 2),
        "avg_pool3d": lambda: functional.avg_pool3d(volume, 2),
        "max_pool2d": lambda: functional.max_pool2d(x, 2),
        "reflection pad": lambda: functional.pad(line, (1, 1), mode="reflect"),
        "replication pad": lambda: functional.pad(line, (1, 1), mode="replicate"),
        "grid_sample": lambda: functional.grid_sample(
            x, torch.zeros(2, 4, 4, 2, device=device), align_corners=False
        ),
        "cat of both": lambda: torch.cat([square, wide]),
        "stack of both": lambda: torch.stack([square, wide]),
        "sum of both": lambda: square + wide,
        "addcmul of both": lambda: torch.addcmul(square, wide, wide),
        "addcdiv of both": lambda: torch.addcdiv(square, wide, wide),
        "atan2 of both": lambda: torch.atan2(square, wide),
        "cross of both": lambda: torch.cross(square[:3, :3], wide[:3, :3], dim=0),
        "index_put": lambda: square.index_put((places,), square),
        "scatter_add of both": lambda: wide.scatter_add(0, places[None], square),
        "matmul of both": lambda: square @ wide,
        "mm of fp32": lambda: torch.mm(wide, wide),
        "bmm": lambda: torch.bmm(line.mT, line),
        "addmm of both": lambda: torch.addmm(wide, square, wide),
        "baddbmm": lambda: torch.baddbmm(half(2, 8, 8), line.mT, line),
        "linear": lambda: functional.linear(wide, wide),
        "linear with bias": lambda: functional.linear(wide, wide, wide[0]),
        "einsum": lambda: torch.einsum("ij,jk->ik", wide, wide),
        "prelu": lambda: functional.prelu(wide, wide[0]),
        "conv2d": lambda: functional.conv2d(x.float(), torch.ones(2, 4, 1, 1, device=device)),
        "conv2d, same": lambda: functional.conv2d(
            x.float(), torch.ones(2, 4, 3, 3, device=device), padding="same"
        ),
        "attention": lambda: functional.scaled_dot_product_attention(x.float(), x.float(), x),
        "doubles": lambda: torch.ones(2, dtype=torch.float64, device=device).exp(),
        "whole numbers": lambda: whole.sum(),
    }


def types_of(dtype, device):
    found = {}
    for name, call in calls(dtype, device).items():
        try:
            with torch.autocast(device, dtype=dtype):
                found[name] = str(call().dtype)
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found


def types_on_cuda(dtype):
    import cuda_stub.ops  # noqa: F401

    return types_of(getattr(torch, dtype), "cuda")


@pytest.mark.cuda_stub
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_each_operation_gives_the_type_that_it_gives_on_cuda(stub, dtype):
    expected = stub.run(types_on_cuda, dtype)
    with autocast_of_cuda(), FakeTensorMode():  # as in a dry run
        found = types_of(getattr(torch, dtype), "cpu")
    assert found == expected
    assert not [text for text in found.values() if "Error" in text]


def test_every_rule_of_this_torch_is_listed_and_nothing_else_of_it():
    on_cuda = names_with_rules("AutocastCUDA")
    assert on_cuda <= LISTED
    of_named_axes = {name for name in LISTED if "imname" in name or ".names" in name}
    unknown = LISTED - on_cuda - of_named_axes  # those are gone since torch 2.14
    assert len(unknown) <= 3, f"not of this torch: {unknown}"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_cpus_own_rules_are_back_afterwards(dtype):
    before = types_of(dtype, "cpu")
    with pytest.raises(KeyError), autocast_of_cuda():
        inside = types_of(dtype, "cpu")
        raise KeyError
    assert types_of(dtype, "cpu") == before != inside


def test_gradients_flow_through_the_casts():
    x = torch.ones(1, 2, 4, 4, dtype=torch.bfloat16, requires_grad=True)
    with autocast_of_cuda(), torch.autocast("cpu", dtype=torch.bfloat16):
        enlarged = functional.interpolate(x, scale_factor=2, mode="bilinear")
        enlarged.exp().sum().backward()
    assert x.grad is not None and x.grad.dtype is torch.bfloat16


def test_what_cuda_refuses_is_refused_with_a_remedy():
    x = torch.full((2,), 0.5)
    with (
        autocast_of_cuda(),
        torch.autocast("cpu", dtype=torch.bfloat16),
        pytest.raises(RuntimeError, match="use binary_cross_entropy_with_logits"),
    ):
        functional.binary_cross_entropy(x, x)
