"""The simulation of a node comes to what its limits say where one limit is alone, and bills add up."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from scaling.simulate import Instance, ObjectStore, Work, bill, simulate

NODE = Instance(gpus=4, vcpus=32, tflops=100.0, latency_s=0.0, stream_mb_s=1e12, network_gbit_s=10.0, disk_gb_s=1.0)
WORK = Work("ctd", flops=2e12, batch=3, cpu_s=[0.5, 0.5], video_bytes=[20e6, 1e6], passes=2, stored_bytes=2e6)


def test_without_decoding_the_gpus_are_the_limit() -> None:
    node = replace(NODE, network_gbit_s=100.0)
    rate = simulate(replace(WORK, cpu_s=[0.0, 0.0], stored_bytes=0.0), node, workers=4)
    assert rate.clips_per_s == pytest.approx(4 * 100e12 / 2e12)
    assert rate.gpu == pytest.approx(1.0) and rate.binds == "GPU"
    assert rate.network == pytest.approx(200 * 10.5e6 * 8 / 100e9) and rate.disk == 0


def test_what_comes_over_the_network_and_what_goes_to_disk_are_limits_too() -> None:
    free = replace(WORK, flops=0.0, cpu_s=[0.0, 0.0], in_step=False)
    rate = simulate(replace(free, stored_bytes=0.0, video_bytes=[10e6, 10e6]), NODE, workers=4)
    assert rate.clips_per_s == pytest.approx(10e9 / 8 / 10e6, rel=0.02) and rate.binds == "network"
    rate = simulate(free, replace(NODE, network_gbit_s=1e6), workers=4)
    assert rate.clips_per_s == pytest.approx(1e9 / 2e6) and rate.binds == "local disk"


@pytest.mark.parametrize(("workers", "cores"), [(4, 16), (8, 32), (16, 32)])
def test_without_operations_the_cores_are_the_limit_and_no_worker_makes_more_of_them(workers: int, cores: int) -> None:
    rate = simulate(
        replace(WORK, flops=0.0, cpu_s=[0.5, 0.5], stored_bytes=0.0), replace(NODE, network_gbit_s=1e6), workers
    )
    assert rate.clips_per_s == pytest.approx(cores / 0.5, rel=0.02)
    assert rate.gpu == 0 and rate.binds == ("decode CPU" if cores == 32 else rate.binds)


def test_a_queue_is_what_stepping_through_it_gives() -> None:
    one = replace(NODE, gpus=1, vcpus=64, network_gbit_s=1e6)
    work = replace(
        WORK, cpu_s=[0.02, 0.3], video_bytes=[0.0, 0.0], flops=1e12, batch=1, stored_bytes=0.0, in_step=False
    )
    steps, workers, prefetch = 200, 3, 2
    kinds = np.random.default_rng(5).integers(2, size=(steps, 1, 1))[:, 0, 0]
    free, taken, idle = [0.0] * workers, [], 0.0
    for step, kind in enumerate(kinds):
        space = taken[step - workers * prefetch] if step >= workers * prefetch else 0.0
        free[step % workers] = max(free[step % workers], space) + work.cpu_s[kind]
        taken.append(max(idle, free[step % workers]))
        idle = taken[-1] + 1e12 / 100e12
    expected = (steps - 50) / (idle - taken[50])
    assert simulate(work, one, workers, prefetch, steps, seed=5).clips_per_s == pytest.approx(expected)


def test_gpus_in_step_wait_for_the_slowest() -> None:
    work = replace(WORK, cpu_s=[0.1, 2.0], batch=1, flops=1e11)
    apart = simulate(replace(work, in_step=False), NODE, workers=1)
    assert simulate(work, NODE, workers=1).clips_per_s < 0.9 * apart.clips_per_s


def test_a_bill_adds_up() -> None:
    store = ObjectStore(dollars_per_gb_month=1.0, dollars_per_1000_get=2.0, dollars_per_1000_put=3.0, write_mib=1)
    one = bill(WORK, 1e6, 1, NODE, store)
    many = bill(WORK, 1e6, 4, NODE, store)
    assert one.hours == one.node_hours == pytest.approx(2e6 / one.rate.clips_per_s / 3600)
    assert many.hours == pytest.approx(one.hours / 4) and many.node_hours == pytest.approx(one.node_hours)
    assert (one.stored_gb, one.files) == (2000.0, math.ceil(2000e9 / 256e6)) and one.dollars_per_month == 2000
    per_visit = (math.ceil(20e6 / 2**23) + 1) / 2
    assert one.gets == 2e6 * per_visit, "10.5 TB do not fit on the disks, so each pass reads them again"
    assert bill(WORK, 1e5, 1, NODE, store).gets == 1e5 * per_visit, "1 TB does, on one node"
    assert one.puts == pytest.approx(2000e9 / 2**20)
    assert one.dollars == pytest.approx(one.hours * NODE.dollars_per_hour + one.gets * 2 / 1000 + one.puts * 3 / 1000)
