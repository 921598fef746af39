"""Runs every stage on two hosts of two ranks each, compares it with one process, and then loses a host in the middle.

python benchmarks/two_hosts.py --output benchmarks/records/two_hosts.json

The hosts are namespaces of this machine (Linux, root) that talk by gloo and share its file system, as those of a
cluster do a disk. Feature stores and evaluations are compared by their bytes; weights that four ranks have learnt by
the size of their difference, since sums in another order differ in their last bits. Those of one process do, and those
of a run that goes on, for which DDP lays the gradients into other buckets in its first step. (Two ranks have one order,
and then the bytes are the same.) Nothing of the hosts is left behind.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from liteframe.bench.environment import environment
from liteframe.bench.records import write_record
from liteframe.rehearsal.steps import without_other_run
from liteframe.system.tables import aligned
from liteframe.tiny.models import build_tiny_base_vlm
from network_hosts import NetworkHosts, why_impossible

STAGES = {"cache": "predict", "ctd": "fit", "lma": "fit", "evaluate": "test"}
HOSTS, RANKS = 2, 2
TOLERANCE = 1e-3
"""Of weights that four ranks have learnt: the length of a difference over how far they have moved. AdamW makes whole
steps of gradients that are nothing but rounding."""
_BATCH = 8
_PORT = 29400
_SEED = 4
_LIMIT_S = 900.0
_SAVING = {
    "trainer": {
        "callbacks": [
            {
                "class_path": "ModelCheckpoint",
                "init_args": {
                    "every_n_train_steps": 5,
                    "save_last": True,
                    "save_top_k": 0,
                    "enable_version_counter": False,
                },
            }
        ]
    }
}
Row = dict[str, Any]


@dataclass(frozen=True)
class Ground:
    """What all runs read, and where they write.

    Attributes:
        folder: of everything.
        steps: of CTD and LMA.
    """

    folder: Path
    steps: int

    def run(self, stage: str, way: str = "one") -> Path:
        """Run folder of a stage, as one process has it or another way."""
        return self.folder / way / stage

    def make(self) -> None:
        """Renders the videos and writes a base VLM with random weights."""
        world = ["synth", str(self.folder / "world"), "--train=24", "--val=0", "--test=10"]
        subprocess.run([sys.executable, "-m", "liteframe", *world], check=True, stdout=subprocess.DEVNULL)
        base_vlm, processor = build_tiny_base_vlm(_SEED)
        base_vlm.save_pretrained(self.folder / "base-vlm")
        processor.save_pretrained(self.folder / "base-vlm")
        (self.folder / "saving.json").write_text(json.dumps(_SAVING), encoding="utf-8")

    def words(self, stage: str, way: str, ranks: int, hosts: int) -> list[str]:
        """What follows `liteframe`; a stage reads what one process made of the stage before it."""
        own, one = self.run(stage, way), self.folder / "one"
        config = "eval.yaml" if stage == "evaluate" else f"tiny/{stage}.yaml"
        words = [STAGES[stage], "--config", config, f"--trainer.default_root_dir={own}"]
        words += ["--trainer.accelerator=cpu", "--trainer.precision=32-true", f"--seed_everything={_SEED}"]
        words += [f"--trainer.devices={ranks}", f"--trainer.num_nodes={hosts}", "--trainer.logger=false"]
        words += ["--trainer.strategy=ddp"] if ranks * hosts > 1 else []
        words += ["--data.num_workers=0", "--data.prefetch_factor=null"]
        batch = _BATCH // (ranks * hosts)
        if STAGES[stage] == "fit":
            words += ["--config", str(self.folder / "saving.json"), f"--trainer.max_steps={self.steps}"]
        if stage == "cache":
            words += [f"--model.teacher={self.folder}/base-vlm", f"--model.store={own}/store", "--model.dtype=float32"]
            words += [f"--data.predict={self.folder}/world/train.jsonl", "--data.batch_size=4"]
        elif stage == "ctd":
            words += [f"--data.store={one}/cache/store", f"--data.batch_size={batch}"]
        elif stage == "lma":
            words += [f"--model.host={self.folder}/base-vlm", f"--model.encoder={one}/ctd/export"]
            shapes = [{"frames": frames, "batch_size": batch} for frames in (8, 16)]
            words += [f"--data.train={self.folder}/world/train.jsonl", f"--data.shapes={json.dumps(shapes)}"]
        else:
            words += [f"--model.source={one}/lma/export", "--model.choices=words", "--data.frames=16"]
            words += [f"--data.test={self.folder}/world/test.jsonl", "--data.decoder=pyav"]
        return words


def torchrun(hosts: NetworkHosts, words: Sequence[str], log: Path) -> list[subprocess.Popen[bytes]]:
    """Starts a command on all hosts by torchrun, whose agents meet on the first of them."""
    meet = ["--rdzv_backend=c10d", f"--rdzv_endpoint={hosts.addresses[0]}:{_PORT}", f"--rdzv_id={log.name}"]
    # No name server knows these hosts, so each has to be told who it is.
    of_hosts = [
        [*meet, f"--local_addr={address}", f"--rdzv_conf=is_host={int(host == 0)}"]
        for host, address in enumerate(hosts.addresses)
    ]
    return _by_torchrun(hosts, of_hosts, words, log)


def numbered_torchrun(hosts: NetworkHosts, words: Sequence[str], log: Path) -> list[subprocess.Popen[bytes]]:
    """As `torchrun`, with agents that are given their numbers and do not meet: one that is cut off waits for nobody."""
    meet = [f"--master_addr={hosts.addresses[0]}", f"--master_port={_PORT}"]
    return _by_torchrun(hosts, [[*meet, f"--node_rank={host}"] for host in range(len(hosts.names))], words, log)


def _by_torchrun(
    hosts: NetworkHosts, of_hosts: Sequence[Sequence[str]], words: Sequence[str], log: Path
) -> list[subprocess.Popen[bytes]]:
    processes = []
    for host, own in enumerate(of_hosts):
        size = [f"--nnodes={len(hosts.names)}", f"--nproc_per_node={RANKS}"]
        command = [sys.executable, "-m", "torch.distributed.run", *size, *own, "-m", "liteframe", *words]
        output = log.with_name(f"{log.name}-{hosts.names[host]}.txt")
        processes.append(hosts.start(host, command, output, _environment(), log.parent))
    return processes


def srun(hosts: NetworkHosts, words: Sequence[str], log: Path) -> list[subprocess.Popen[bytes]]:
    """Starts a command on all hosts with the variables that `srun` sets; the list of hosts says which is the first."""
    count = len(hosts.names)
    job = {"SLURM_JOB_ID": "123457", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": str(count * RANKS)}
    job |= {"SLURM_NTASKS_PER_NODE": str(RANKS), "SLURM_NNODES": str(count), "SLURM_STEP_ID": "0"}
    job |= {"SLURM_NODELIST": ",".join(hosts.addresses)}
    processes = []
    for rank in range(count * RANKS):
        host, local = divmod(rank, RANKS)
        task = {"SLURM_PROCID": str(rank), "SLURM_NODEID": str(host), "SLURM_LOCALID": str(local)}
        output = log.with_name(f"{log.name}-{hosts.names[host]}-{local}.txt")
        command = [sys.executable, "-m", "liteframe", *words]
        processes.append(hosts.start(host, command, output, _environment() | job | task, log.parent))
    return processes


def _environment() -> dict[str, str]:
    return without_other_run(os.environ) | {"OMP_NUM_THREADS": "1"}


def wait(processes: Sequence[subprocess.Popen[bytes]], log: Path) -> None:
    """Until all have ended. Raises SystemExit with what they wrote where one fails or takes too long."""
    end = time.monotonic() + _LIMIT_S
    while any(process.poll() is None for process in processes) and time.monotonic() < end:
        time.sleep(0.1)
    if any(process.returncode != 0 for process in processes):
        written = [f"{path}:\n{path.read_text()[-3000:]}" for path in sorted(log.parent.glob(f"{log.name}*.txt"))]
        raise SystemExit("\n".join([f"{log.name}: exit codes {[process.poll() for process in processes]}", *written]))


class Bench:
    """The hosts, and the runs on them."""

    def __init__(self, hosts: NetworkHosts, ground: Ground) -> None:
        self.hosts, self.ground = hosts, ground
        self.logs = ground.folder / "logs"
        self.logs.mkdir(exist_ok=True)

    def one_process(self, stage: str) -> float:
        """Runs a stage in one process, with the hosts' threads and without their network; seconds."""
        began = time.monotonic()
        log = self.logs / f"{stage}-one"
        command = [sys.executable, "-m", "liteframe", *self.ground.words(stage, "one", 1, 1)]
        with log.with_suffix(".txt").open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=_environment())
        wait([process], log)
        return time.monotonic() - began

    def on_hosts(self, stage: str, way: str, start: Callable[..., Any] = torchrun, more: Sequence[str] = ()) -> float:
        """Runs a stage on all hosts; seconds."""
        began = time.monotonic()
        log = self.logs / f"{stage}-{way}"
        wait(start(self.hosts, [*self.ground.words(stage, way, RANKS, HOSTS), *more], log), log)
        return time.monotonic() - began

    def lose(self, stage: str, way: str, strike: Callable[[int], None], host: int) -> Row:
        """Starts a stage, strikes a host once there is a checkpoint, and says how the run ended."""
        log = self.logs / f"{stage}-{way}"
        processes = numbered_torchrun(self.hosts, self.ground.words(stage, way, RANKS, HOSTS), log)
        checkpoint = self.ground.run(stage, way) / "checkpoints" / "last.ckpt"
        while not checkpoint.is_file():
            if any(process.poll() is not None for process in processes):
                wait(processes, log)
            time.sleep(0.05)
        strike(host)
        struck = time.monotonic()
        ends: dict[str, float] = {}
        while len(ends) < HOSTS and time.monotonic() < struck + _LIMIT_S:
            for name, process in zip(self.hosts.names, processes, strict=True):
                if name not in ends and process.poll() is not None:
                    ends[name] = round(time.monotonic() - struck, 1)
            time.sleep(0.1)
        said = {
            name: [
                line
                for line in log.with_name(f"{log.name}-{name}.txt").read_text(errors="replace").splitlines()
                if line.startswith("liteframe: error:")
            ]
            for name in self.hosts.names
        }
        codes = {name: process.poll() for name, process in zip(self.hosts.names, processes, strict=True)}
        return {
            "stage": stage,
            "way": way,
            "host": self.hosts.names[host],
            "ended_s": ends,
            "codes": codes,
            "said": said,
        }


def digests(folder: Path) -> dict[str, str]:
    """Path -> sha256 of what a stage has made, without logs, configs and checkpoints."""
    made = [path for name in ("store", "export", "evaluation.json") for path in _files(folder / name)]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in made}


def _files(path: Path) -> list[Path]:
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return [file for file in files if not file.name.startswith(".")]


def different(one: Path, other: Path) -> list[str]:
    """Files of two runs that are not the same, or missing in one of them."""
    here, there = digests(one), digests(other)
    return sorted(name for name in {**here, **there} if here.get(name) != there.get(name))


def weights(run: Path) -> dict[str, torch.Tensor]:
    """All weights that a run exported."""
    files = sorted((run / "export").rglob("*.safetensors"))
    return {f"{file.name}/{name}": value for file in files for name, value in load_file(file).items()}


def distance(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> float:
    """Length of the difference of two sets of weights."""
    if one.keys() != other.keys():
        raise SystemExit(f"exports of different weights: {sorted(one.keys() ^ other.keys())[:3]}")
    return math.sqrt(sum(float((one[name].double() - other[name].double()).square().sum()) for name in one))


def compare_with_one(bench: Bench, stage: str) -> Row:
    """A stage in one process and on the hosts."""
    one_s, hosts_s = bench.one_process(stage), bench.on_hosts(stage, "hosts")
    folders = bench.ground.run(stage), bench.ground.run(stage, "hosts")
    row: Row = {"stage": stage, "seconds": {"one": round(one_s, 1), "hosts": round(hosts_s, 1)}}
    if STAGES[stage] != "fit":
        odd = different(*folders)
        return row | {"compared": "bytes", "files": len(digests(folders[0])), "different": odd, "equal": not odd}
    first = weights_at_start(bench, stage)
    one, other = map(weights, folders)
    moved, apart = distance(first, one), distance(one, other)
    return row | {"compared": "weights", "moved": moved, "apart": apart, "equal": apart <= TOLERANCE * moved}


def weights_at_start(bench: Bench, stage: str) -> dict[str, torch.Tensor]:
    """What a stage exports when it has learnt next to nothing."""
    words = bench.ground.words(stage, "start", 1, 1)
    words += ["--trainer.max_steps=1", "--model.optimizer.lr=1e-30", "--model.optimizer.weight_decay=0"]
    log = bench.logs / f"{stage}-start"
    with log.with_suffix(".txt").open("wb") as output:
        command = [sys.executable, "-m", "liteframe", *words]
        wait([subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=_environment())], log)
    return weights(bench.ground.run(stage, "start"))


def lose_and_go_on(bench: Bench, stage: str, way: str, moved: float) -> Row:
    """Loses a host, waits for the end, repairs it, goes on, and compares the weights with those of a run left alone.

    Args:
        bench: of the hosts.
        stage: that trains.
        way: one of `LOSSES`.
        moved: how far the weights go in this stage.
    """
    host = 0 if way == "first-host-killed" else 1
    killed = way.endswith("killed")
    row = bench.lose(stage, way, bench.hosts.lose if killed else bench.hosts.pull_cable, host)
    (bench.hosts.replace if killed else bench.hosts.plug_in)(host)
    bench.on_hosts(stage, way, more=["--ckpt_path=last"])
    apart = distance(weights(bench.ground.run(stage, "hosts")), weights(bench.ground.run(stage, way)))
    return row | {"moved": moved, "apart": apart, "equal": apart <= TOLERANCE * moved}


LOSSES = ("killed", "cable-pulled", "first-host-killed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40, help="of CTD and LMA")
    parser.add_argument("--stages", nargs="+", choices=[*STAGES], default=[*STAGES], help="each needs those before it")
    parser.add_argument("--losses", nargs="*", choices=LOSSES, default=LOSSES, help="of a host, in CTD")
    parser.add_argument("--folder", type=Path, help="empty folder to keep all runs in; a temporary one by default")
    parser.add_argument("--output", help="file of the record")
    options = parser.parse_args()
    if reason := why_impossible():
        raise SystemExit(f"two hosts are not possible: {reason}")
    with tempfile.TemporaryDirectory() as temporary, NetworkHosts(HOSTS) as hosts:
        folder = (options.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise SystemExit(f"--folder {folder}: is not empty; give another")
        ground = Ground(folder, options.steps)
        ground.make()
        bench = Bench(hosts, ground)
        rows, losses = [], []
        for stage in options.stages:
            rows.append(compare_with_one(bench, stage))
            print(rows[-1], flush=True)
        if "ctd" in options.stages:
            seconds = bench.on_hosts("ctd", "slurm", srun)
            odd = different(ground.run("ctd", "hosts"), ground.run("ctd", "slurm"))
            row = {"stage": "ctd by SLURM", "seconds": {"hosts": round(seconds, 1)}, "compared": "bytes of torchrun"}
            rows.append(row | {"different": odd, "equal": not odd})
            print(rows[-1], flush=True)
            for way in options.losses:
                moved = next(row["moved"] for row in rows if row["stage"] == "ctd")
                losses.append(lose_and_go_on(bench, "ctd", way, moved))
                print(losses[-1], flush=True)
    lines = [[row["stage"], row["compared"], "equal" if row["equal"] else "DIFFERENT"] for row in rows]
    lines += [
        [f"{row['stage']}, {row['way']}", f"ended after {row['ended_s']}", "equal" if row["equal"] else "DIFFERENT"]
        for row in losses
    ]
    print(aligned(["what", "how", "result"], lines))
    if options.output:
        settings = {"hosts": HOSTS, "ranks": RANKS, "steps": options.steps, "tolerance": TOLERANCE, "seed": _SEED}
        measured = {"rows": rows, "losses": losses}
        print(write_record(options.output, "two_hosts", environment("cpu", "32-true"), settings, measured))
    raise SystemExit(not all(row["equal"] for row in [*rows, *losses]))


if __name__ == "__main__":
    main()
