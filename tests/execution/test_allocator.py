import os
import subprocess
import sys

_SCRIPT = """
import resource, sys
import torch
from passband.execution.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def work():
    for _ in range(20):
        parts = [torch.ones(4, 2**20 // 4) for _ in range(8)]
        del parts
work()
before = faults()
work()
print(faults() - before)
"""


def _page_faults(how):
    # The C library's own thresholds grow, so what it does without these depends on what came before.
    environment = os.environ | {"MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, "-c", _SCRIPT, how]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    return int(done.stdout)


def test_freed_memory_is_used_again_without_new_pages():
    assert _page_faults("keep") < 0.1 * _page_faults("return")
