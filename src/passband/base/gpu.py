"""What rooms that compute on a GPU share: its free memory, and work aside from the current stream."""

from collections.abc import Callable
from typing import TypeVar

import torch

Made = TypeVar("Made")


def free_memory(device: torch.device) -> int:
    """Return the bytes of a GPU that this process may still take: free ones, and those that PyTorch holds unused."""
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


def aside(work: Callable[[], Made]) -> Made:
    """Return what work returns, done in a stream of its own, as capturing a graph will: what it leaves behind then belongs to no other."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        result = work()
    torch.cuda.current_stream().wait_stream(stream)
    return result
