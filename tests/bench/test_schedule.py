"""Who runs when, and what becomes of a run that ends badly; with processes that only pretend."""

import os
from dataclasses import replace

import pytest
import torch
from record_examples import make_identity, make_record

from wsolbench.bench.child import ran_out_of_memory
from wsolbench.bench.estimate import Paces, Remaining
from wsolbench.bench.grid import Cell
from wsolbench.bench.recipes import GridRow
from wsolbench.bench.runner import standing
from wsolbench.bench.schedule import Schedule, last_failure
from wsolbench.bench.words import describe_end
from wsolbench.bench.workers import Outcome, Slot, Slots, judged, slots
from wsolbench.failures import load_failures
from wsolbench.locks import hold, run_lock
from wsolbench.records import write_record
from wsolbench.request import Request

RECIPE = {"backbone": "resnet-tiny", "feature_map": 8, "precision": "fp32", "batch_size": 32, "epochs": 10}


def cell(results, seed=0, batch=32):
    identity = make_identity(seed=seed, recipe={**RECIPE, "batch_size": batch}, device_type="cpu")
    request = Request(method="cam", dataset="parts", results=results)
    return Cell(row=GridRow(method="cam"), request=request, identity=identity, images={"train-weaksup": 64, "test": 8})


class Pretended:
    """A process that ends when it is looked at for the n-th time, as the test says."""

    def __init__(self, world, cell, log):
        self.world, self.cell, self.log, self.looks = world, cell, log, 2
        self.pipe, self._other = map(os.fdopen, os.pipe(), "rw")
        self.progress, self.seconds, self.stopped = "", 1.0, False
        world.started.append(cell)
        world.most = max(world.most, sum(not child.stopped for child in [*world.children, self]))
        world.children.append(self)

    def is_over(self):
        self.looks -= 1
        return self.looks <= 0

    def outcome(self, record):
        self.end()
        ends = self.world.ends.get(self.cell.recipe["seed"], {})
        end = ends.get(self.cell.recipe["batch_size"], "done") if isinstance(ends, dict) else ends.pop(0)
        if end == "done":
            write_record(replace(make_record(), identity=self.cell.identity), self.cell.request.results)
        return Outcome(end=end, error="" if end == "done" else "it broke", seconds=self.seconds)

    def stop(self):
        self.world.asked_to_stop.append(self.cell)

    def end(self):
        self.stopped = True
        self.pipe.close()
        self._other.close()


class World:
    """What the pretended processes do and did; also the board."""

    def __init__(self, ends=None, interrupt_at=None):
        self.ends, self.interrupt_at = ends or {}, interrupt_at
        self.started, self.children, self.asked_to_stop, self.told, self.most, self.ticks = [], [], [], [], 0, 0

    def start(self, cell, slot, log):
        return Pretended(self, cell, log)

    def began(self, cell, *, resumed):
        self.told.append(f"began {cell.recipe['seed']}{' again' if resumed else ''}")

    def ended(self, cell, outcome, tally):
        self.told.append(f"{outcome.end} {cell.recipe['seed']}")

    def shrinks(self, cell, smaller, error):
        self.told.append(f"{cell.recipe['batch_size']} -> {smaller.recipe['batch_size']}")

    def waits(self, cells, who):
        self.told.append(f"waits for {len(cells)}")

    def tick(self, running, waiting, tally):
        self.ticks += 1
        if self.ticks == self.interrupt_at:
            raise KeyboardInterrupt


def run(world, cells, workers=1, *, shared=None):
    places = [Slot(device="cpu", environment={})] * workers
    where = Slots(places=places, device="cpu, 2 threads", shared=workers > 1 if shared is None else shared)
    return Schedule(cells, where, Remaining(Paces([], "cpu"), workers), world, world.start).run()


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr("wsolbench.bench.schedule.TICK_S", 0.01)
    monkeypatch.setattr("wsolbench.bench.schedule.POLL_S", 0.05)


def test_runs_go_in_order_and_no_more_at_once_than_there_are_places(tmp_path):
    cells = [cell(tmp_path, seed) for seed in range(5)]
    world = World()
    tally = run(world, cells)
    assert (world.started, world.most) == (cells, 1)
    assert [each for each, _ in tally.done] == cells
    world = World()
    run(world, [cell(tmp_path / "b", seed) for seed in range(5)], workers=2)
    assert (len(world.started), world.most) == (5, 2)


def test_a_failure_leaves_the_others_alone_and_a_file_until_the_run_succeeds(tmp_path):
    cells = [cell(tmp_path, seed) for seed in range(3)]
    tally = run(World({1: "f f".replace("f", "failed").split()}), cells)
    assert [each for each, _ in tally.done] == [cells[0], cells[2]]
    assert [(each, error) for each, error, _ in tally.failed] == [(cells[1], "it broke")]
    (failure,), _ = load_failures(tmp_path)
    assert failure.run_id == cells[1].run_id
    assert (failure.error, failure.attempts, failure.device) == ("it broke", 1, "cpu, 2 threads")
    assert failure.log == f"runs/{cells[1].run_id}/bench.log"
    assert failure.command.endswith(f"--device cpu --results {tmp_path}")
    states = [standing(each, "cpu, 2 threads", retry=True).state for each in cells]
    assert states == ["done", "failed before", "done"]
    assert standing(cells[1], "cpu, 2 threads", retry=False).state == "left out"
    run(World({1: ["failed"]}), [cells[1]])
    assert last_failure(cells[1]).attempts == 2
    run(World(), [cells[1]])
    assert load_failures(tmp_path) == ([], [])


def test_out_of_memory_halves_the_batch_as_another_run_and_says_so(tmp_path):
    asked = cell(tmp_path)
    world = World({0: {32: "memory", 16: "memory"}})
    tally = run(world, [asked, cell(tmp_path, 1)])
    assert [each.recipe["batch_size"] for each in world.started] == [32, 16, 8, 32]  # before anything else
    assert "32 -> 16" in world.told
    assert "16 -> 8" in world.told
    assert not tally.failed
    half, quarter = asked.with_batch(16), asked.with_batch(8)
    assert [(each.run_id, smaller.run_id) for each, smaller in tally.smaller] == [
        (asked.run_id, half.run_id),
        (half.run_id, quarter.run_id),
    ]
    assert len({asked.run_id, half.run_id, quarter.run_id}) == 3
    assert last_failure(asked).smaller == half.run_id
    assert last_failure(asked).error == "a training step ran out of memory with batch_size=32"
    assert "SMALLER BATCH: cam, resnet-tiny, parts, seed 0" in describe_end(tally, (0, 0), 1.0, "r")
    here = standing(asked, "cpu, 2 threads", retry=True)
    assert (here.state, here.cell.run_id) == ("done", quarter.run_id)
    assert standing(asked, "a larger machine", retry=True).state == "failed before"


def test_there_is_a_smallest_batch(tmp_path):
    world = World({0: {32: "memory", 16: "memory", 8: "memory"}})
    tally = run(world, [cell(tmp_path)])
    assert [each.recipe["batch_size"] for each in world.started] == [32, 16, 8]
    ((failed, error, _),) = tally.failed
    assert failed.recipe["batch_size"] == 8
    assert error == (
        "a training step ran out of memory with batch_size=8, and fewer than 8 images a step are not tried"
    )


def test_memory_that_is_shared_is_tried_alone_before_the_batch_is_touched(tmp_path):
    cells = [cell(tmp_path, seed) for seed in range(4)]
    world = World({1: ["memory", "done"]})
    tally = run(world, cells, workers=2)
    assert [each.recipe["seed"] for each in world.started] == [0, 1, 2, 3, 1]
    assert all(each.recipe["batch_size"] == 32 for each in world.started)
    assert (len(tally.done), tally.smaller, tally.failed) == (4, [], [])
    assert load_failures(tmp_path) == ([], [])


def test_a_run_of_another_process_is_passed_over_and_waited_for(tmp_path):
    cells = [cell(tmp_path, seed) for seed in range(2)]
    world = World()
    released = []

    def tick(running, waiting, tally):
        if world.told.count("waits for 1") > 0 and not released:
            released.append(stack.__exit__(None, None, None))
            write_record(replace(make_record(), identity=cells[0].identity), tmp_path)

    world.tick = tick
    stack = hold(run_lock(cells[0].run_id, tmp_path), "it")
    stack.__enter__()
    assert standing(cells[0], "cpu", retry=True).state == "elsewhere"
    tally = run(world, cells)
    assert world.started == [cells[1]]
    assert tally.elsewhere == [cells[0]]


def test_a_run_whose_other_process_goes_without_a_record_is_taken_over(tmp_path):
    only = cell(tmp_path)
    world = World({0: ["held", "done"]})  # another process was quicker, and is gone by now
    tally = run(world, [only])
    assert world.started == [only, only]
    assert [each for each, _ in tally.done] == [only]


def test_a_run_that_was_recorded_meanwhile_is_not_run(tmp_path):
    only = cell(tmp_path)
    write_record(replace(make_record(), identity=only.identity), tmp_path)
    tally = run(world := World(), [only])
    assert (world.started, tally.elsewhere) == ([], [only])


def test_ctrl_c_stops_every_process(tmp_path):
    world = World(interrupt_at=1)
    with pytest.raises(KeyboardInterrupt):
        run(world, [cell(tmp_path, seed) for seed in range(3)], workers=2)
    assert len(world.asked_to_stop) == 2
    assert all(child.stopped for child in world.children)


def test_a_run_with_a_checkpoint_goes_on(tmp_path):
    only = cell(tmp_path)
    (tmp_path / "runs" / only.run_id).mkdir(parents=True)
    (tmp_path / "runs" / only.run_id / "last.pt").touch()
    run(world := World(), [only])
    assert world.told[0] == "began 0 again"


# --- what came of a process ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "said", "recorded", "killed", "end", "error"),
    [
        (0, {}, True, False, "done", ""),
        (-6, {}, True, False, "done", ""),  # it died after its record was written
        (1, {"held": True}, False, False, "held", ""),
        (1, {"error": "no", "memory": False}, False, True, "failed", "no"),
        (1, {"error": "no", "memory": True}, False, False, "memory", "no"),
        (-9, {}, False, True, "memory", "the system killed it for want of memory"),
        (
            -9,
            {},
            False,
            False,
            "failed",
            "the process was killed by SIGKILL",
        ),  # by somebody: a smaller batch is no help
        (-11, {"ready": True}, False, True, "failed", "the process was killed by SIGSEGV"),
        (0, {}, False, False, "failed", "the process left with status 0 before the run was done"),
    ],
)
def test_how_a_process_ended(status, said, recorded, killed, end, error):
    assert judged(status, said, recorded, killed) == (end, error)


@pytest.mark.parametrize(
    ("error", "in_training", "memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), True, True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), True, True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), True, True),
        (MemoryError(), True, True),
        (MemoryError(), False, False),  # reading the pictures, say: a smaller batch is no help
        (torch.OutOfMemoryError("CUDA out of memory"), False, False),
        (RuntimeError("shapes do not match"), True, False),
        (KeyError("out of memory"), True, False),
    ],
)
def test_memory_runs_out_in_training_steps_only(error, in_training, memory):
    scope = {"__name__": "wsolbench.engine.fit" if in_training else "wsolbench.engine.infer", "error": error}
    with pytest.raises(type(error)) as caught:
        exec("raise error", scope)
    assert ran_out_of_memory(caught.value) is memory


# --- where runs go ----------------------------------------------------------------------------------------------------


@pytest.fixture
def gpus(monkeypatch):
    """Pretend that there are three GPUs."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr("wsolbench.bench.workers.device_name", lambda device: "a GPU")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_every_gpu_gets_a_run_of_its_own(gpus, monkeypatch):
    where = slots(torch.device("cuda"), None)
    assert [place.environment["CUDA_VISIBLE_DEVICES"] for place in where.places] == ["0", "1", "2"]
    assert {place.device for place in where.places} == {"cuda"}
    assert not where.shared
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b, GPU-c")
    named = slots(torch.device("cuda"), 4)
    assert [place.environment["CUDA_VISIBLE_DEVICES"] for place in named.places] == ["GPU-a", "GPU-b", "GPU-c", "GPU-a"]
    assert named.shared


def test_a_gpu_that_was_named_is_the_only_one(gpus):
    where = slots(torch.device("cuda:1"), None)
    assert where.places == [Slot(device="cuda:1", environment={})]


def test_workers_on_a_cpu_share_its_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr("wsolbench.bench.workers.usable_cores", lambda: 6)
    threads = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    assert slots(torch.device("cpu"), None).places == [Slot(device="cpu", environment={})]
    assert slots(torch.device("cpu"), 4).places == [Slot(device="cpu", environment={"OMP_NUM_THREADS": "1"})] * 4
    assert slots(torch.device("cpu"), 2).places[0].environment == {"OMP_NUM_THREADS": "3"}
    assert threads == [1, 3]
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert slots(torch.device("cpu"), 2).places[0].environment == {}
