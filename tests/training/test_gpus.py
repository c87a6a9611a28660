from mindeye2 import choices
from mindeye2.training.gpus import GPUS, gpu_named


def test_the_command_line_accepts_these():
    assert tuple(GPUS) == choices.GPUS


def test_faster_arithmetic_for_fewer_bits():
    for name, gpu in GPUS.items():
        assert gpu.float32 <= gpu.tf32 < gpu.bf16, name


def test_a_gpu_is_found_by_its_driver_s_name_and_by_no_other():
    assert gpu_named("NVIDIA A100-SXM4-40GB") is GPUS["a100-40"]
    for other in ("NVIDIA H100 PCIe", "NVIDIA A100-SXM4-40GB MIG 3g.20gb", "NVIDIA A10"):
        assert gpu_named(other) is None
