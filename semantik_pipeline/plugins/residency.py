"""Decides which models stay in memory.

Each model is measured when it is loaded, and its calls are counted while they run. If the models together exceed the
budget, the least recently used idle model is unloaded, and loaded again when it is next requested.

Nothing here imports torch: if no plugin has imported it, no GPU memory is in use.
"""

from __future__ import annotations

import gc
import inspect
import logging
import sys
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from semantik_pipeline.contracts.models import ModelUsage
from semantik_pipeline.tally import Tally

log = logging.getLogger("semantik.plugins")

#: The share of a GPU's memory that models may use if no budget is set; forward passes need the rest.
GPU_SHARE = 0.8

#: Kinds of plugins that hold models.
KINDS = frozenset({"embedding", "reranker"})

#: Methods that need no model in memory.
LIGHT = frozenset({"count_tokens", "max_input_tokens", "tokenizer_revision", "output_revision", "get_model_info"}) | {
    *("get_capabilities", "get_definition", "get_limits", "model_files", "supports_model", "usage")
}


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes that this process holds: in the memory of all its GPUs, and in RAM."""

    gpu: int
    ram: int


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The memory limit for models.

    ``bytes`` is the limit for all models together, GPU and RAM. With 0, the limit is 80 % of the GPU's memory divided
    by the number of processes that share it (``sharers``); without a GPU there is no limit. ``limited`` says whether
    there is a limit or may be one later.
    """

    bytes: int = 0
    sharers: int = 1
    limited: bool = False


@dataclass(kw_only=True)
class Resident:
    """A plugin whose model is in memory.

    ``size`` is in bytes, or None if it is unknown because other models were loaded at the same time. Plugins with the
    same ``key`` share one model.
    """

    plugin: Any
    plugin_id: str
    model: str
    key: str
    size: int | None
    on_gpu: bool
    load_seconds: float
    last_used: float = field(default_factory=time.time)  # seconds since 1970
    calls: int = 0

    def report(self) -> dict[str, Any]:
        """Return what an operator sees: memory in bytes, load time in seconds, last use in seconds since 1970."""
        told = {"memory": self.size, "load_seconds": round(self.load_seconds, 3), "last_used": round(self.last_used, 1)}
        return {**told, "in_use": self.calls > 0}


class Residency:
    """The models in memory. Thread-safe.

    ``give_up(resident)`` must clean up its plugin and return whether it could.
    """

    def __init__(
        self,
        budget: Budget,
        give_up: Callable[[Resident], bool],
        *,
        tally: Tally | None = None,
        measure: Callable[[], Memory],
    ) -> None:
        self._budget = budget
        self._give_up = give_up
        self._tally = tally or Tally()
        self._measure = measure
        self._lock = threading.Lock()
        self._telling = threading.Lock()
        self._loading = threading.RLock()  # with a limit, one model is loaded at a time
        self._residents: dict[int, Resident] = {}  # by the plugin's id()
        self._seen: dict[str, ModelUsage] = {}  # by key: the usage that the tally has already counted
        self._sizes: dict[tuple[str, str], int] = {}  # (plugin, its option "model") -> bytes, as last measured
        self._starts = self._under_way = 0

    # -- loading ------------------------------------------------------------------------------------------------------

    def load(self, plugin: Any, plugin_id: str, initialize: Callable[[], None]) -> None:
        """Make room for the model if its size is known, load it and measure it. Raises what ``initialize`` raises."""
        known_as = plugin_id, repr(plugin.config.get("model"))
        with self._loading if self._budget.limited else nullcontext():
            self._trim(self._sizes.get(known_as, 0))
            with self._lock:
                alone, self._starts, self._under_way = self._under_way == 0, self._starts + 1, self._under_way + 1
                start = self._starts
            before, began = self._measure(), time.perf_counter()
            try:
                initialize()
                seconds, after = time.perf_counter() - began, self._measure()
            finally:
                with self._lock:
                    self._under_way -= 1
                    alone = alone and start == self._starts
            size, on_gpu = _grown(before, after)
            resident = Resident(
                plugin=plugin,
                plugin_id=plugin_id,
                model=_model_of(plugin),
                key=_key_of(plugin),
                size=size if alone else None,
                on_gpu=on_gpu,
                load_seconds=seconds,
            )
            with self._lock:
                self._residents[id(plugin)] = resident
                if alone:
                    self._sizes[known_as] = size
            # The objects of a loaded model stay alive (torch alone has 200,000). A full garbage collection that scans
            # them stops every thread for 0.2 s, about once per 3,000 embedded chunks (measured). Freezing avoids it.
            gc.freeze()
            self._tally.observe("model_load_duration_seconds", seconds, plugin=plugin_id, model=resident.model)
            self._trim(0, keep=resident)

    def free_idle(self) -> bool:
        """Unload every idle model, after a device ran out of memory; return whether any was unloaded."""
        given_up = [self._give_up_group(key) for key in self._idle_keys()]
        return any(given_up)

    def _trim(self, more: int, keep: Resident | None = None) -> None:
        """Unload idle models until the remaining ones and ``more`` bytes fit the budget, or none is idle."""
        for key in self._idle_keys(keep):
            limit = self.limit()
            if limit is None or self.held() + more <= limit:
                return
            self._give_up_group(key)

    def _idle_keys(self, keep: Resident | None = None) -> list[str]:
        """Return the keys of models that no call uses, the least recently used first."""
        with self._lock:
            residents = list(self._residents.values())
        busy = {one.key for one in residents if one.calls} | ({keep.key} if keep else set())
        used: dict[str, float] = {}
        for one in residents:
            used[one.key] = max(used.get(one.key, 0.0), one.last_used)
        return sorted(used.keys() - busy, key=lambda key: used[key])

    def _give_up_group(self, key: str) -> bool:
        with self._lock:
            group = [one for one in self._residents.values() if one.key == key]
        gone = [one for one in group if self._give_up(one)]
        if gone:
            _free()
            size = sum(one.size or 0 for one in gone)
            log.info("The model %s was unloaded to free %.0f MB for others.", gone[0].model, size / 1e6)
        return bool(gone)

    # -- what is there ------------------------------------------------------------------------------------------------

    def limit(self) -> int | None:
        """Return the limit in bytes for all models together.

        None means no limit, or none yet: the GPU's memory is only known after a plugin has used the GPU.
        """
        if self._budget.bytes:
            return self._budget.bytes
        total = _gpu_total() if self._budget.limited else None
        return int(GPU_SHARE * total / max(1, self._budget.sharers)) if total else None

    def held(self) -> int:
        """Return the bytes of the models in memory that count against the limit."""
        with self._lock:
            residents = list(self._residents.values())
        return sum(one.size or 0 for one in residents if self._budget.bytes or one.on_gpu)

    def of(self, plugin: Any) -> Resident | None:
        """Return what is known of the plugin's model, or None if it is not in memory."""
        with self._lock:
            return self._residents.get(id(plugin))

    def forget(self, resident: Resident) -> bool:
        """Remove it from the list and return True, unless a call is using it."""
        with self._lock:
            if resident.calls or self._residents.get(id(resident.plugin)) is not resident:
                return False
            del self._residents[id(resident.plugin)]
            if all(one.key != resident.key for one in self._residents.values()):
                self._seen.pop(resident.key, None)  # if the model is loaded again, its usage counts from zero
            return True

    # -- working ------------------------------------------------------------------------------------------------------

    def begin(self, method: Callable[..., Any]) -> Resident | None:
        """Record that a call of the method begins, and return the model it uses; None if it uses none."""
        owner = getattr(inspect.unwrap(method), "__self__", None)  # unwrap decorators that set __wrapped__
        with self._lock:
            resident = self._residents.get(id(owner)) if owner is not None else None
            if resident is not None:
                resident.calls += 1
            return resident

    def end(self, resident: Resident) -> None:
        """Record that the call has ended, and add the model's usage to the tally."""
        self._tell(resident)
        with self._lock:
            resident.calls -= 1
            resident.last_used = time.time()
        if self._budget.limited and self._loading.acquire(blocking=False):
            try:  # the models may exceed the budget because this one could not be unloaded while it was in use
                self._trim(0, keep=resident)
            finally:
                self._loading.release()

    def _tell(self, resident: Resident) -> None:
        with self._telling:  # usage only grows, so with one reader at a time no work is counted twice
            usage = _usage_of(resident.plugin)
            if usage is None:
                return
            seen = self._seen.get(usage.key, ModelUsage(key=usage.key))
            self._seen[usage.key] = usage
        if usage.tokens < seen.tokens:  # the model was loaded again
            seen = ModelUsage(key=usage.key)
        padded = usage.padded_tokens - seen.padded_tokens
        self._tally.count("embed_tokens", usage.tokens - seen.tokens, model=resident.model)
        self._tally.count("model_busy_seconds", usage.busy_seconds - seen.busy_seconds, model=resident.model)
        if padded:
            self._tally.observe("embed_batch_fill_ratio", (usage.tokens - seen.tokens) / padded, model=resident.model)


def measured() -> Memory:
    """Return the memory that this process holds now."""
    import psutil

    torch = _cuda()
    gpu = sum(torch.cuda.memory_allocated(device) for device in range(torch.cuda.device_count())) if torch else 0
    return Memory(gpu=gpu, ram=psutil.Process().memory_info().rss)


def _grown(before: Memory, after: Memory) -> tuple[int, bool]:
    """Return the bytes of what was loaded between the two measurements, and whether they are GPU memory."""
    gpu = after.gpu - before.gpu
    return (gpu, True) if gpu > 0 else (max(0, after.ram - before.ram), False)


def _cuda() -> Any:
    """Return the torch module if a plugin has imported it and uses a GPU, otherwise None."""
    torch: Any = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    return torch if cuda is not None and cuda.is_initialized() else None


def _gpu_total() -> int | None:
    torch = _cuda()
    return torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory if torch else None


def _free() -> None:
    gc.unfreeze()
    gc.collect()  # a model's modules form reference cycles
    gc.freeze()
    torch = _cuda()
    if torch:
        torch.cuda.empty_cache()


def _model_of(plugin: Any) -> str:
    info = plugin.get_model_info() if hasattr(plugin, "get_model_info") else {}
    return str(info.get("model") or "")


def _usage_of(plugin: Any) -> ModelUsage | None:
    return plugin.usage() if hasattr(plugin, "usage") else None


def _key_of(plugin: Any) -> str:
    usage = _usage_of(plugin)
    return usage.key if usage is not None else f"{type(plugin).__name__} {id(plugin)}"
