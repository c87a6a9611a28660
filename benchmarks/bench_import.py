"""Measure memory and time of importing a published checkpoint.

Makes a checkpoint with the published names and the sizes of the published model at another width,
random weights and optimizer moments, imports it in a new process, and deletes it again.

Memory is anonymous memory (``RssAnon`` of Linux, every 10 ms): memory of the import itself.
The resident peak (``VmHWM``) also counts pages of the memory-mapped file, which the system frees
when another process needs memory.

    python benchmarks/bench_import.py --folder /some/large/disk --latent 1024
"""

import argparse
import json
import platform
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import safetensors
import torch

from mindeye2.core.runtime import available_cores
from mindeye2.released.importing import ImportSettings, import_checkpoint

KEYS = Path(__file__).parents[1] / "tests" / "golden" / "released_subj01_keys.json"
PUBLISHED = 4096
"""Latent width of the published model."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="folder on a large disk")
    parser.add_argument("--latent", type=int, default=1024, help="4096 is the published width")
    parser.add_argument("--precision", default="stored", help="stored, float32 or float16")
    parser.add_argument("--step", default="all", help="used by the script itself")
    args = parser.parse_args()
    source, out = args.folder / "last.pth", args.folder / "imported"
    if args.step == "generate":
        _generate(source, latent=args.latent)
        return
    if args.step == "import":
        print(json.dumps(_measure(source, out, precision=args.precision)))
        return
    args.folder.mkdir(parents=True, exist_ok=True)
    try:
        _run("generate")
        source_gb = source.stat().st_size / 1e9
        measured: dict[str, float] = json.loads(_run("import").splitlines()[-1])
        written_gb = (out / "mindeye.safetensors").stat().st_size / 1e9
    finally:
        source.unlink(missing_ok=True)
        shutil.rmtree(out, ignore_errors=True)
    facts = {"source_gb": source_gb, "written_gb": written_gb, **measured}
    print(
        json.dumps(
            {
                "name": "bench_import",
                "latent": args.latent,
                "precision": args.precision,
                **{name: round(value, 2) for name, value in facts.items()},
                "cores": available_cores(),
                "machine": platform.machine(),
                "torch": torch.__version__,
                "safetensors": safetensors.__version__,
            }
        )
    )


def _generate(source: Path, *, latent: int) -> None:
    published = json.loads(KEYS.read_text())
    shapes = {n: [latent if d == PUBLISHED else d for d in s] for n, s in published.items()}
    random = torch.Generator().manual_seed(0)
    state = {n: torch.empty(s).normal_(generator=random) for n, s in shapes.items()}
    prior = {n: v for n, v in state.items() if n.startswith("diffusion_prior")}
    moments = {n: v.clone() for n, v in prior.items()}
    torch.save({"model_state_dict": state, "optimizer_state_dict": moments}, source)


def _measure(source: Path, out: Path, *, precision: str) -> dict[str, float]:
    """Import in this process while a thread samples its memory."""
    settings = ImportSettings.model_validate({"precision": precision})
    anonymous, finished = [_status_gb("RssAnon")], threading.Event()

    def sample() -> None:
        while not finished.wait(0.01):
            anonymous.append(_status_gb("RssAnon"))

    sampler = threading.Thread(target=sample)
    sampler.start()
    began = time.monotonic()
    import_checkpoint(source, out=out, settings=settings)
    seconds = time.monotonic() - began
    finished.set()
    sampler.join()
    return {
        "seconds": seconds,
        "anonymous_before_gb": anonymous[0],
        "anonymous_peak_gb": max(anonymous),
        "resident_peak_gb": _status_gb("VmHWM"),
    }


def _status_gb(field: str) -> float:
    """Read a memory size of this process from Linux, in GB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    kilobytes = next(line.split()[1] for line in lines if line.startswith(f"{field}:"))
    return int(kilobytes) * 1024 / 1e9


def _run(step: str) -> str:
    """Run one step in a new process, because peak memory is per process."""
    command = [sys.executable, __file__, *sys.argv[1:], "--step", step]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


if __name__ == "__main__":
    main()
