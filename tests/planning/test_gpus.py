from mindeye2 import choices
from mindeye2.planning.gpus import GPUS


def test_the_command_line_accepts_these():
    assert tuple(GPUS) == choices.GPUS


def test_faster_arithmetic_for_fewer_bits():
    for name, gpu in GPUS.items():
        assert gpu.float32 <= gpu.tf32 < gpu.bf16, name
