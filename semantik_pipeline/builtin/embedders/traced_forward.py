"""A forward pass that becomes a single traced call, which does not hold the interpreter's lock."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

# The call from which on the forward pass is traced. Traced, it neither slows the process's Python threads nor is slowed
# by them (texts/s next to a busy Python thread, two cores: 30 traced, 7 untraced, 62 alone). Tracing takes 0.2 to 0.5
# s, which a cold search with a handful of forward passes should not pay.
TRACED_FROM = 24


class TracedForward:
    """``forward`` maps tensors to tensors, without branches that depend on their values; ``example`` returns sample
    arguments for it. Any thread may call it."""

    def __init__(self, forward: Callable[..., Any], example: Callable[[], tuple[torch.Tensor, ...]]) -> None:
        self.forward = forward
        self._example = example
        self._calls = 0
        self._counting = threading.Lock()

    def __call__(self, *tensors: torch.Tensor) -> Any:
        with self._counting:
            self._calls += 1
            if self._calls == TRACED_FROM:
                self.forward = self._traced() or self.forward
        return self.forward(*tensors)

    def _traced(self) -> Callable[..., Any] | None:
        import torch

        try:
            with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # newer torch deprecates tracing; without it, calls are only slower
                return torch.jit.trace(self.forward, self._example(), check_trace=False)
        except Exception as error:  # the exception types differ between torch versions
            log.info("the model's forward pass could not be traced, so busy threads slow it down: %s", error)
            return None
