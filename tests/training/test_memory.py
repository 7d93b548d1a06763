"""Freed memory stays in the process."""

import resource
import sys

import pytest
import torch

from elec.training.memory import keep_freed_memory


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_a_freed_tensor_costs_no_page_faults_when_its_memory_is_used_again() -> None:
    assert keep_freed_memory()
    elements = 4 << 20  # 16 MiB: 4096 pages

    def faults() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(10):
            torch.ones(elements)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    faults()
    assert faults() < 4096
