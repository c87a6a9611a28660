"""Measure memory and time of importing a published checkpoint.

Makes a checkpoint with the published names and the sizes of the published model at another width,
random weights and optimizer moments, imports it in a process of its own, and deletes it again.

    python benchmarks/bench_import.py --folder /some/large/disk --latent 1024
"""

import argparse
import json
import math
import platform
import subprocess
import sys
import time
from pathlib import Path

import torch

from mindeye2.core.runtime import available_cores, peak_memory_gib
from mindeye2.released.importing import ImportSettings, import_checkpoint

KEYS = Path(__file__).parents[1] / "tests" / "golden" / "released_subj01_keys.json"
PUBLISHED = 4096
"""Latent width of the published model."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="where the files may lie")
    parser.add_argument("--latent", type=int, default=1024, help="4096 is the published width")
    parser.add_argument("--precision", default="stored", help="stored, float32 or float16")
    parser.add_argument("--layout", default="file", help="file, or the number of ZeRO shards")
    parser.add_argument("--step", default="all", help="used by the script itself")
    args = parser.parse_args()
    source = args.folder / ("last.pth" if args.layout == "file" else "zero")
    out = args.folder / "imported"
    if args.step == "generate":
        _generate(source, latent=args.latent, layout=args.layout)
        return
    if args.step == "import":
        began, before = time.monotonic(), peak_memory_gib()
        settings = ImportSettings.model_validate({"precision": args.precision})
        import_checkpoint(source, out=out, settings=settings)
        facts = {"seconds": time.monotonic() - began, "gib_before": before}
        print(json.dumps({**facts, "peak_gib": peak_memory_gib()}))
        return
    args.folder.mkdir(parents=True, exist_ok=True)
    try:
        _run("generate")
        sizes = [p.stat().st_size for p in (source, *source.rglob("*.pt")) if p.is_file()]
        measured: dict[str, float] = json.loads(_run("import").splitlines()[-1])
        written = (out / "mindeye.safetensors").stat().st_size
    finally:
        _delete(source, out)
    print(
        json.dumps(
            {
                "name": "bench_import",
                "latent": args.latent,
                "precision": args.precision,
                "layout": args.layout,
                "source_gb": round(sum(sizes) / 1e9, 2),
                "written_gb": round(written / 1e9, 2),
                **{name: round(value, 2) for name, value in measured.items()},
                "gb_per_second": round(sum(sizes) / 1e9 / measured["seconds"], 2),
                "cores": available_cores(),
                "machine": platform.machine(),
                "torch": torch.__version__,
            }
        )
    )


def _generate(source: Path, *, latent: int, layout: str) -> None:
    published = json.loads(KEYS.read_text())
    shapes = {n: [latent if d == PUBLISHED else d for d in s] for n, s in published.items()}
    random = torch.Generator().manual_seed(0)
    state = {n: torch.empty(s).normal_(generator=random) for n, s in shapes.items()}
    if layout == "file":
        prior = {n: v for n, v in state.items() if n.startswith("diffusion_prior")}
        moments = {n: v.clone() for n, v in prior.items()}
        torch.save({"model_state_dict": state, "optimizer_state_dict": moments}, source)
        return
    count = int(layout)
    (source / "last").mkdir(parents=True)
    row = torch.cat([value.flatten() for value in state.values()])
    shared = {"module": {}, "param_shapes": [{n: v.shape for n, v in state.items()}]}
    torch.save(shared, source / "last" / "mp_rank_00_model_states.pt")
    each = math.ceil(len(row) / count)
    for rank in range(count):
        part = row[rank * each : (rank + 1) * each].clone()
        flat = {"single_partition_of_fp32_groups": [part], "zero_stage": 2}
        torch.save(
            {"optimizer_state_dict": {**flat, "partition_count": count}},
            source / "last" / f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt",
        )


def _run(step: str) -> str:
    """Do one step in a process of its own: a peak is never forgotten, not even by a child."""
    command = [sys.executable, __file__, *sys.argv[1:], "--step", step]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def _delete(*places: Path) -> None:
    for place in places:
        if place.is_file():
            place.unlink()
        for path in sorted(place.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        if place.is_dir():
            place.rmdir()


if __name__ == "__main__":
    main()
