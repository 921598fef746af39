"""What cache, CTD and LMA take at a million clips and more: hours, gigabytes, requests, dollars, and what binds first.

python benchmarks/scale.py                                          # the tables of docs/scale.md
python benchmarks/scale.py --clips 5e6 --nodes 4 --dollars 21.96 --tflops 120 --workers 10
python benchmarks/scale.py --measure benchmarks/records/scale.json  # measures anew what they start from

It simulates one node at work (`scaling/simulate.py`) from rates that were measured (`benchmarks/records/scale.json`:
decoding, lists, index of a store) and operations that `liteframe plan` counts. GPU rate, network, disk and prices are
assumptions; each has an option.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from liteframe.bench.environment import environment
from liteframe.bench.records import write_record
from liteframe.system.json_files import read_json
from report import scale
from scaling.simulate import Instance, ObjectStore

_RECORD = Path(__file__).parent / "records" / "scale.json"


def main(args: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    node, prices = Instance(), ObjectStore()
    parser.add_argument("--clips", type=float, help="videos, of each of which a stage looks at some frames")
    parser.add_argument("--nodes", type=int, default=1, help="instances that share them out")
    parser.add_argument("--workers", type=int, default=scale.WORKERS, help="loader processes of each GPU")
    parser.add_argument("--instance", default=node.name, help="what the instance is called")
    parser.add_argument("--dollars", type=float, default=node.dollars_per_hour, help="an hour of it")
    parser.add_argument("--gpus", type=int, default=node.gpus, help="of it")
    parser.add_argument("--vcpus", type=int, default=node.vcpus, help="of it")
    parser.add_argument("--tflops", type=float, default=node.tflops, help="that a GPU achieves")
    parser.add_argument("--network", type=float, default=node.network_gbit_s, help="gigabits a second")
    parser.add_argument("--disk", type=float, default=node.disk_gb, help="gigabytes of local disks")
    parser.add_argument("--disk-rate", type=float, default=node.disk_gb_s, help="gigabytes a second that they write")
    parser.add_argument("--get", type=float, default=prices.dollars_per_1000_get, help="dollars for 1000 reads")
    parser.add_argument("--put", type=float, default=prices.dollars_per_1000_put, help="dollars for 1000 writes")
    parser.add_argument("--gb-month", type=float, default=prices.dollars_per_gb_month, help="dollars")
    parser.add_argument("--measure", metavar="RECORD", help="measure anew, into this file")
    parser.add_argument("--rounds", type=int, default=3, help="of decoding, when measuring")
    given = parser.parse_args(args)
    if given.measure:
        return _measure(Path(given.measure), given.rounds)
    node = replace(
        node, name=given.instance, dollars_per_hour=given.dollars, gpus=given.gpus, vcpus=given.vcpus,
        tflops=given.tflops, network_gbit_s=given.network, disk_gb=given.disk, disk_gb_s=given.disk_rate,
    )  # fmt: skip
    prices = replace(
        prices,
        dollars_per_gb_month=given.gb_month,
        dollars_per_1000_get=given.get,
        dollars_per_1000_put=given.put,
    )
    record = read_json(_RECORD)
    sizes = [(given.clips, given.nodes)] if given.clips else scale.SIZES
    print(scale.assumptions(node, prices))
    for clips, nodes in sizes:
        print(f"\n{scale.stages(record, clips, nodes, node, prices, given.workers)}")
    print(f"\n{scale.use(record, node, given.workers)}")
    print(f"\n{scale.remedies(record, node, prices, given.workers)}")
    print(f"\n{scale.growth(record)}")
    return 0


def _measure(output: Path, rounds: int) -> int:
    from scaling.measure import Sizes, measured

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        data = measured(Path(folder), Sizes(rounds))
    write_record(output, "scale", environment(), {"rounds": rounds}, data)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
