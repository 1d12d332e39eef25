"""`autocast_of_cuda`: has autocast on the CPU cast what autocast on CUDA casts.

The two differ: CUDA runs interpolation, sums, norms, exponentials and more in fp32, the CPU other
operations. What is held differs with it, so a dry run for CUDA must cast as CUDA does. Autocast
acts where operations are dispatched, inside of composite ones too; so the rules are put there, in
the place of the CPU's own, and taken out again. The names are those of torch's
`ATen/autocast_mode.h`; of them, those count that the torch in use has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor

from patchtrain.estimation.attention import HALVES

Kernel = Callable[..., Any]


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


LOWER = _names(
    "_convolution _convolution.deprecated conv1d conv2d conv3d conv_tbc conv_transpose1d "
    "conv_transpose2d.input conv_transpose3d.input convolution cudnn_convolution "
    "cudnn_convolution_transpose _cudnn_rnn prelu addmm addmv addr matmul einsum mm mv "
    "linalg_vecdot linear addbmm baddbmm bmm chain_matmul linalg_multi_dot "
    "_thnn_fused_lstm_cell _thnn_fused_gru_cell lstm_cell gru_cell rnn_tanh_cell "
    "rnn_relu_cell _scaled_dot_product_flash_attention scaled_dot_product_attention"
)
"""Operations of which CUDA casts the inputs to 16 bits."""

FP32 = _names(
    "acos asin cosh erfinv exp expm1 log log10 log2 log1p reciprocal rsqrt sinh tan "
    "pow.Tensor_Scalar pow.Tensor_Tensor pow.Scalar softplus layer_norm native_layer_norm "
    "rms_norm group_norm frobenius_norm.dim nuclear_norm nuclear_norm.dim cosine_similarity "
    "poisson_nll_loss cosine_embedding_loss nll_loss nll_loss2d hinge_embedding_loss kl_div "
    "l1_loss smooth_l1_loss huber_loss mse_loss margin_ranking_loss multilabel_margin_loss "
    "soft_margin_loss triplet_margin_loss multi_margin_loss binary_cross_entropy_with_logits "
    "dist pdist cdist renorm logsumexp upsample_nearest1d _upsample_nearest_exact1d "
    "upsample_nearest2d _upsample_nearest_exact2d upsample_nearest3d "
    "_upsample_nearest_exact3d upsample_linear1d upsample_bilinear2d _upsample_bilinear2d_aa "
    "upsample_trilinear3d upsample_bicubic2d _upsample_bicubic2d_aa linalg_matrix_sqrth"
)
"""Operations of which CUDA casts 16-bit inputs to fp32."""

FP32_RESULT = _names(
    "prod prod.dim_int softmax.int log_softmax.int cumprod cumsum linalg_vector_norm "
    "linalg_matrix_norm linalg_matrix_norm.str_ord sum sum.dim_IntList "
    "prod.dim_Dimname softmax.Dimname log_softmax.Dimname cumprod.dimname cumsum.dimname "
    "sum.dim_DimnameList"  # of tensors with named axes, in torch before 2.14
)
"""Operations that CUDA asks for a result in fp32, unless another type is asked for."""

FP32_NORM = {
    "norm.Scalar": "ScalarOpt_dtype",
    "norm.ScalarOpt_dim": "ScalarOpt_dim_dtype",
    "norm.names_ScalarOpt_dim": "names_ScalarOpt_dim_dtype",
}
"""The same, by another overload that takes a type."""

WIDEST = _names(
    "addcdiv addcmul atan2 bilinear cross dot vdot grid_sampler index_put tensordot scatter_add"
)
"""Operations of which CUDA casts all inputs to the widest type among them."""

REFUSED = ("binary_cross_entropy",)

_ALIKE = frozenset(
    _names(
        "_convolution.deprecated conv1d conv2d conv3d conv_tbc conv_transpose1d "
        "conv_transpose2d.input conv_transpose3d.input addmm matmul mm linalg_vecdot linear "
        "addbmm baddbmm bmm"
    )
)
"""Operations that the CPU casts to 16 bits too; its own rules stay, with their memory of weights
that are cast already."""

_CPU, _CUDA = "AutocastCPU", "AutocastCUDA"


@contextmanager
def autocast_of_cuda() -> Iterator[None]:
    """Context: autocast on the CPU casts as on CUDA, in all threads of the process."""
    library = torch.library.Library("aten", "IMPL", _CPU)
    try:
        for name, kernel in _kernels().items():
            library.impl(name, kernel)
        yield
    finally:
        library._destroy()


def names_with_rules(key: str) -> set[str]:
    """Return the operations of this torch that have a rule under `key`, without their prefix."""
    has_rule = torch._C._dispatch_has_kernel_for_dispatch_key
    names = torch._C._dispatch_get_all_op_names()
    return {
        name.removeprefix("aten::")
        for name in names
        if name.startswith("aten::") and has_rule(name, key)
    }


def _kernels() -> dict[str, Kernel]:
    """Return what to put in the place of the CPU's rules: operation -> kernel."""
    on_cuda, on_cpu = names_with_rules(_CUDA), names_with_rules(_CPU)
    rules: dict[str, Kernel] = {name: _in_lower(_op(name)) for name in LOWER if name in on_cuda}
    rules |= {name: _in_fp32(_op(name)) for name in FP32 if name in on_cuda}
    rules |= {name: _with_fp32_result(_op(name)) for name in FP32_RESULT if name in on_cuda}
    rules |= {
        name: _with_type(getattr(torch.ops.aten.norm, other))
        for name, other in FP32_NORM.items()
        if name in on_cuda
    }
    rules |= {name: _in_widest(_op(name)) for name in WIDEST if name in on_cuda}
    rules |= {name: _refuse for name in REFUSED if name in on_cuda}
    for name in on_cpu - on_cuda:  # CUDA leaves these alone, and casts what they are made of
        rules[name] = torch.library.fallthrough_kernel
    return {name: rule for name, rule in rules.items() if not (name in _ALIKE and name in on_cpu)}


def _op(name: str) -> Kernel:
    packet, _, overload = name.partition(".")
    return getattr(getattr(torch.ops.aten, packet), overload or "default")


def _without_autocast(op: Kernel, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    keys = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCPU)
    with torch._C._ExcludeDispatchKeyGuard(keys):
        return op(*args, **kwargs)


def _is_cast(value: Any) -> bool:
    """Return whether autocast may cast `value`: doubles and whole numbers stay as they are."""
    return isinstance(value, Tensor) and value.is_floating_point() and value.dtype != torch.float64


def _cast(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_cast(item, dtype) for item in value)
    return value.to(dtype) if _is_cast(value) and value.dtype != dtype else value


def _in_lower(op: Kernel) -> Kernel:
    def kernel(*args: Any, **kwargs: Any) -> Any:
        return _without_autocast(op, _lowered(args, torch.get_autocast_dtype("cpu")), kwargs)

    return kernel


_lowered_weights: dict[int, tuple[Tensor, Tensor]] = {}
"""Identity of a weight -> it, and it in 16 bits: autocast keeps those until its context ends."""


@contextmanager
def forgetting_weights(autocast: AbstractContextManager[object]) -> Iterator[None]:
    """Context: `autocast`, at whose end weights in 16 bits are forgotten."""
    try:
        with autocast:
            yield
    finally:
        _lowered_weights.clear()


def _lowered(value: Any, dtype: torch.dtype) -> Any:
    """Return `value` with its tensors cast to 16 bits, each weight only once."""
    if isinstance(value, (list, tuple)):
        return type(value)(_lowered(item, dtype) for item in value)
    is_weight = isinstance(value, Tensor) and value.is_leaf and value.requires_grad
    if not is_weight or value.dtype != torch.float32 or value._is_view():
        return _cast(value, dtype)
    if id(value) not in _lowered_weights:
        _lowered_weights[id(value)] = value, _cast(value, dtype)
    return _lowered_weights[id(value)][1]


def _in_fp32(op: Kernel) -> Kernel:
    def kernel(*args: Any, **kwargs: Any) -> Any:
        return _without_autocast(op, _cast(args, torch.float32), kwargs)

    return kernel


_FROM_FP16 = {"softmax.int": torch._softmax, "log_softmax.int": torch._log_softmax}
"""CUDA runs these on fp16 directly and returns fp32; it makes no fp32 copy of the input."""


def _with_fp32_result(op: Any) -> Kernel:
    names = [argument.name for argument in op._schema.arguments]
    place = names.index("dtype")
    from_fp16 = _FROM_FP16.get(op._name.removeprefix("aten::"))

    def kernel(*args: Any, **kwargs: Any) -> Any:
        wanted = kwargs.pop("dtype", None)
        if len(args) > place:
            wanted, args = args[place], args[:place]
        if wanted is None and _is_cast(args[0]):
            wanted = torch.float32
        if from_fp16 and wanted is torch.float32 and args[0].dtype is torch.float16:
            return _without_autocast(from_fp16, (*args[:2], True), kwargs)
        return _without_autocast(op, args, {**kwargs, "dtype": wanted})

    return kernel


def _with_type(op: Kernel) -> Kernel:
    def kernel(*args: Any, **kwargs: Any) -> Any:
        dtype = torch.float32 if _is_cast(args[0]) else args[0].dtype
        return _without_autocast(op, _all_of_norm(args), {**kwargs, "dtype": dtype})

    return kernel


def _all_of_norm(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arguments of `norm.Scalar` or `norm.ScalarOpt_dim`, with the defaults that the
    overload with a type does not have.
    """
    if len(args) == 1:
        return (*args, 2)
    return (*args, False) if len(args) == 3 else args


def _in_widest(op: Kernel) -> Kernel:
    def kernel(*args: Any, **kwargs: Any) -> Any:
        types = [value.dtype for value in _tensors(args) if _is_cast(value)]
        widest = torch.get_autocast_dtype("cpu")
        if any(dtype not in HALVES for dtype in types):
            widest = torch.float32
        return _without_autocast(op, _cast(args, widest), kwargs)

    return kernel


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)


def _refuse(*_: Any, **__: Any) -> None:
    raise RuntimeError(
        "binary_cross_entropy cannot run in 16 bits on CUDA; "
        "use binary_cross_entropy_with_logits, or precision=fp32"
    )
