"""What differs between a GPU and a CPU when work is measured: waiting for it, names, and free memory.

A session on a GPU that is at hand for minutes runs the same code on a CPU beforehand; only this file has two sides.
"""

import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

# Numbers that a copy moves to measure the bandwidth: far more than any cache of the device has.
_COPIED = {"cuda": 2**28, "cpu": 2**24}


@dataclass(frozen=True)
class Accelerator:
    """A device that is measured: cuda, the first GPU that PyTorch sees, or cpu."""

    kind: Literal["cuda", "cpu"]

    def is_there(self) -> bool:
        """Tell whether PyTorch can compute on it."""
        return self.kind == "cpu" or torch.cuda.is_available()

    def wait(self) -> None:
        """Wait until all work that was given to it is done."""
        if self.kind == "cuda":
            torch.cuda.synchronize()

    @property
    def name(self) -> str:
        """The name of the card, or of the kind of processor."""
        return torch.cuda.get_device_name() if self.kind == "cuda" else f"{platform.machine()} CPU"

    def versions(self) -> dict[str, str]:
        """Return what beside Python's packages decides how fast it is."""
        if self.kind == "cpu":
            return {}
        return {"cuda": str(torch.version.cuda), "cudnn": str(torch.backends.cudnn.version())}

    def free_bytes(self) -> int:
        """Return the memory that nobody uses."""
        if self.kind == "cuda":
            return int(torch.cuda.mem_get_info()[0])
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

    def most_bytes(self) -> int:
        """Return the most memory that tensors took since the last call; 0 on a CPU, where nobody counts it."""
        if self.kind == "cpu":
            return 0
        most = int(torch.cuda.max_memory_allocated())
        torch.cuda.reset_peak_memory_stats()
        return most

    def clear(self) -> None:
        """Give memory back that PyTorch keeps for later."""
        if self.kind == "cuda":
            torch.cuda.empty_cache()

    def rate(self, work: Callable[[], object], items: float, seconds: float) -> float:
        """Return items per second of work that is repeated for some seconds, waiting for the device after each time; median."""
        rates: list[float] = []
        began = time.perf_counter()
        while not rates or time.perf_counter() - began < seconds:
            self.wait()
            start = time.perf_counter()
            work()
            self.wait()
            rates.append(items / (time.perf_counter() - start))
        return statistics.median(rates)

    def bandwidth(self, seconds: float = 0.3) -> float:
        """Return bytes a second that a copy reads and writes."""
        a = torch.empty(_COPIED[self.kind], device=self.kind)
        b = torch.empty_like(a)
        b.copy_(a)
        return self.rate(lambda: b.copy_(a), 2 * a.numel() * a.element_size(), seconds)
