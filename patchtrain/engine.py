"""The training and validation step of a trial: network, optimizer and method inside one budget.

Everything that decides memory happens here, so an estimate of a trial's peak runs this code too.
Knows nothing of data sets, epochs or files; the caller enters `guard` around it.

Shapes: B batch, K classes, H W image px.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from patchtrain.config import TrialConfig
from patchtrain.memory.budget import MemoryGuard
from patchtrain.memory.meter import GRADIENTS, OPTIMIZER, PARAMETERS
from patchtrain.methods import Influence, MethodTools, build_method
from patchtrain.models import Network, lay_out, memory_layout
from patchtrain.step.batch import DeviceFeeder, HostBatch
from patchtrain.step.encoder import Encoder, Part
from patchtrain.step.optimizer import LossScaler, build_optimizer
from patchtrain.step.randomness import seed_from
from patchtrain.step.schedule import learning_rate_at
from patchtrain.tasks import ReaderTools, build_network, parts_of


class LossNotFinite(RuntimeError):
    """The loss became infinite or not a number; the trial cannot go on."""


class Engine:
    """Builds a trial's network and optimizer and runs batches through them.

    Args:
        guard: already entered; holds the budget and names the device.
        batches_per_epoch, epochs: decide how the learning rate falls.
    """

    def __init__(
        self,
        config: TrialConfig,
        num_classes: int,
        guard: MemoryGuard,
        *,
        batches_per_epoch: int,
        epochs: int,
    ) -> None:
        assert config.patch_microbatch != "auto", "the caller chooses it, from an estimate"
        self._config = config
        self._guard = guard
        with guard.on_host():  # libraries may keep tensors of their own when first imported
            parts = parts_of(config)
        self.task = parts.build_task(config, num_classes)
        torch.manual_seed(config.seed)
        with guard.doing("setup"):
            self.network = self._build_network(num_classes)
        for parameter in self.network.parameters():
            parameter.register_post_accumulate_grad_hook(partial(_count_gradient, guard))
        self.optimizer = build_optimizer(config, self.network.parameters())
        with guard.allocating(OPTIMIZER):
            self._scaler = LossScaler(guard.device, enabled=config.precision == "fp16")
        self._feeder = self._feeder_type(guard, self._layout())
        encoder = self._build_encoder()
        reader = parts.build_reader(config, self._reader_tools(), self.task)
        self._method = build_method(
            config, MethodTools(self.network, encoder, reader, guard, self._representative)
        )
        iterations_per_epoch = batches_per_epoch * self._method.iterations_per_batch
        self._num_steps = epochs * math.ceil(iterations_per_epoch / config.accumulation_steps)
        self._accumulated = 0
        self.steps_done = 0
        self.influence: Influence | None = None
        """What the global patch did to the last batch that was watched."""

    _feeder_type: type[DeviceFeeder] = DeviceFeeder
    # `estimation.dry_run` overrides this and several methods below

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next optimizer step."""
        beta2 = self.optimizer.param_groups[0]["betas"][1]
        return learning_rate_at(self.steps_done, self._num_steps, self._config.learning_rate, beta2)

    @property
    def num_parameters(self) -> int:
        """Parameters of backbone and head together."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def train_batch(
        self, batch: HostBatch, generator: torch.Generator, *, watched: bool = False
    ) -> float:
        """Train on `batch` and return its mean loss over the inner iterations.

        Args:
            generator: on the host; draws which patches are sampled and seeds dropout.
            watched: whether to measure what the global patch does, see `influence`. The batch must
                be the first of an epoch.

        Raises:
            BudgetExceeded: more memory than the budget.
            LossNotFinite: the loss is infinite or not a number.
        """
        seed_from(generator)
        self._method.start(batch)
        if watched:
            self._watch(generator)
        total = 0.0
        for _ in range(self._method.iterations_per_batch):
            with self._guard.doing("inner_iteration"):
                loss = self._method.backward(generator, self._scaled)
            with self._guard.on_host():
                value = self._read_loss(loss)
            del loss
            if not math.isfinite(value):
                raise LossNotFinite(
                    f"loss is {value} after {self.steps_done} optimizer steps; lower "
                    f"learning_rate={self._config.learning_rate} or use precision=fp32"
                )
            total += value
            self._accumulated += 1
            if self._accumulated == self._config.accumulation_steps:
                self._step()
        self._method.finish()
        return total / self._method.iterations_per_batch

    def finish_epoch(self) -> None:
        """Step with the gradients of a last, incomplete group of inner iterations, if any."""
        if self._accumulated:
            self._step()

    def predict(self, batch: HostBatch) -> np.ndarray:
        """Return the outputs of `batch`, without gradient and in evaluation mode: class scores
        float32 [B, K], the class of each pixel uint8 [B, H, W], or detections float32 [B, D, 6].
        """
        self.network.eval()
        with self._guard.doing("validation"), torch.no_grad():
            outputs = self._method.predict(batch)
        self.network.train()
        return outputs

    def state(self) -> dict[str, Any]:
        """Return what a resumed engine needs besides the network's weights."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "steps_done": self.steps_done,
            "accumulated": self._accumulated,
            "gradients": self._gradients() if self._accumulated else {},
        }

    def _gradients(self) -> dict[str, torch.Tensor]:
        """Return the gradients, summed up so far, by the names of their parameters."""
        named = self.network.named_parameters()
        return {name: value.grad for name, value in named if value.grad is not None}

    def load_state(self, weights: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
        """Continue from the network's `weights` and what `state` returned, both on the host."""
        with self._guard.on_host():
            self.network.load_state_dict(weights)
        self.optimizer.load_state_dict(state["optimizer"])
        for slots in self.optimizer.state.values():
            tensors = [value for value in slots.values() if isinstance(value, torch.Tensor)]
            self._guard.adopt(tensors, OPTIMIZER)
        self._scaler.load_state_dict(state["scaler"])
        self.steps_done = state["steps_done"]
        self.optimizer.zero_grad(set_to_none=True)
        self._accumulated = state.get("accumulated", 0)
        if self._accumulated:  # the next step may come before a loss, whose scaling makes the scale
            self._scaler.scale(torch.zeros((), device=self._guard.device))
        parameters = dict(self.network.named_parameters())
        with self._guard.allocating(GRADIENTS):
            for name, gradient in state.get("gradients", {}).items():
                parameters[name].grad = torch.empty_like(parameters[name]).copy_(gradient)

    def _watch(self, generator: torch.Generator) -> None:
        assert not self._accumulated, "gradients of an earlier batch would be lost"
        # takes no more than an inner iteration does, so estimates leave it out
        with self._guard.recording(False), self._guard.doing("inner_iteration"):
            self.influence = self._method.influence(generator, self._scaled)
        self._guard.give_back()

    def _step(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate
        with self._guard.doing("optimizer"), self._guard.allocating(OPTIMIZER):
            self._scaler.step(self.optimizer)
            self._scaler.update()
            self.optimizer.zero_grad(set_to_none=True)
        self._accumulated = 0
        self.steps_done += 1

    def _build_network(self, num_classes: int) -> Network:
        with self._guard.on_host():  # libraries build layers that they drop again
            network = build_network(self._config, num_classes).train()
        with self._guard.allocating(PARAMETERS):
            network.to(self._guard.device)
            lay_out(network, self._layout(), self._guard.device)
        self._guard.adopt([*network.parameters(), *network.buffers()], PARAMETERS)
        return network

    def _build_encoder(self) -> Encoder:
        config = self._config
        at_once = config.patch_microbatch
        return Encoder(
            self.network.backbone,
            self._feeder,
            self._guard,
            microbatch=at_once if isinstance(at_once, int) else None,
            whole_batch=(config.batch_size * config.inputs_per_image, config.inputs_per_group),
            autocast=self._autocast,
            representative=self._representative,
        )

    def _reader_tools(self) -> ReaderTools:
        return ReaderTools(
            self.network,
            self._feeder,
            self._guard,
            autocast=self._autocast,
            to_host=self._to_host,
            representative=self._representative,
        )

    def _layout(self) -> torch.memory_format:
        return memory_layout(self._config, self._guard.device)

    def _representative(self, parts: Sequence[Part], /) -> Sequence[Part]:
        return parts

    def _autocast(self) -> AbstractContextManager[object]:
        dtype = torch.float16 if self._config.precision == "fp16" else torch.bfloat16
        return torch.autocast(self._guard.device.type, dtype=dtype, enabled=self._config.is_16_bits)

    def _scaled(self, loss: Tensor) -> Tensor:
        return self._scaler.scale(loss / self._config.accumulation_steps)

    def _read_loss(self, loss: Tensor) -> float:
        return loss.item()

    def _to_host(self, outputs: Tensor) -> np.ndarray:
        with self._guard.on_host():
            return outputs.detach().cpu().numpy().copy()


def _count_gradient(guard: MemoryGuard, parameter: torch.Tensor) -> None:
    """Count the gradient of `parameter` as a gradient.

    Not a method: torch holds a parameter's hooks where Python's garbage collector does not look, so
    a hook that leads back to the parameter would keep it alive forever.
    """
    assert parameter.grad is not None
    guard.adopt([parameter.grad], GRADIENTS)
