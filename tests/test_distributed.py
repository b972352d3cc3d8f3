"""Several processes train as one does: the same losses and weights, also where one of them is killed on the way."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist

from transformer_lab import distributed, training
from transformer_lab.files import read_safetensors
from transformer_lab.gpt import GPT
from transformer_lab.training import evaluate, train

ROOT = Path(__file__).parents[1]

# What every process of these tests knows, those of torchrun too.
SETTING = """
import json, os, signal, sys
from dataclasses import asdict, replace
import torch
from transformer_lab import distributed, files, training
from transformer_lab.gpt import GPT, GPTConfig
from transformer_lab.training import TrainingConfig, evaluate, train

SHAPE = GPTConfig(vocab_size=12, context_length=8, d_model=16, n_layers=2, n_heads=2)
BRIEF = TrainingConfig(
    steps=6, batch_size=4, warmup_steps=2, evaluate_every=2, evaluation_windows=9, checkpoint_every=2
)
IDS = torch.randint(12, (300,), generator=torch.Generator().manual_seed(0))


def new_model(seed=0, **changes):
    torch.manual_seed(seed)
    return GPT(replace(SHAPE, **changes))
"""
exec(SETTING)

VARIANTS = {"plain": {}, "accumulated": {"accumulate": 2}, "sharded": {}}

# Trains each variant, and writes what each rank saw; the sharded one also in two runs, the second from a checkpoint.
TOGETHER = """
folder = sys.argv[1]
written = []
write = files.write_safetensors
training.write_safetensors = lambda path, *rest: written.append(str(path)) or write(path, *rest)

def stop(step, history):
    if step == 4:
        raise SystemExit

with distributed.processes(torch.device("cpu")) as device:
    rank = distributed.rank()
    seen = {}
    for name, changes in VARIANTS.items():
        config = replace(BRIEF, **changes)
        model = new_model(seed=0 if name == "sharded" else rank)  # DistributedDataParallel sends rank 0's weights
        if name == "sharded":
            distributed.shard(model, device)
        history = train(model, IDS, IDS, config, checkpoint=f"{folder}/{name}")
        seen[name] = {"history": asdict(history), "all": evaluate(model, IDS, batch_size=4)}
    whole = distributed.whole_model(model)
    if rank == 0:
        written_whole = GPT.load(f"{folder}/sharded")
        assert all(map(torch.equal, whole.parameters(), written_whole.parameters()))

    for attempt in (1, 2):
        model = new_model()
        distributed.shard(model, device)
        try:
            history = train(
                model, IDS, IDS, BRIEF, checkpoint=f"{folder}/resumed", on_evaluation=stop if attempt == 1 else None
            )
        except SystemExit:
            pass
    seen["resumed"] = {"history": asdict(history)}

    losses = {}
    for dropout in (0.5, 0.5, 0.0):  # twice the same numbers; other ones on each rank
        losses[dropout] = train(new_model(dropout=dropout), IDS, IDS, replace(BRIEF, steps=1)).train_loss
    seen["with and without dropout"] = list(losses.values())
    json.dump(seen | {"written": written}, open(f"{folder}/rank{rank}.json", "w"))
"""

# Rank 1 is killed after the step before the second checkpoint, once.
KILLED = """
def die(step, history):
    if step == 3 and distributed.rank() == 1 and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        os.kill(os.getpid(), signal.SIGKILL)

with distributed.processes(torch.device("cpu")):
    assert distributed.may_restart()
    history = train(new_model(), IDS, IDS, BRIEF, checkpoint=sys.argv[1], on_step=die)
    if distributed.rank() == 0:
        print("restarts:", os.environ["TORCHELASTIC_RESTART_COUNT"], "steps:", len(history.train_loss))
"""


def torchrun(*arguments: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TQDM_DISABLE": "0", "OMP_NUM_THREADS": "1"}
    return subprocess.run([*command, *options, *arguments], env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def together(tmp_path_factory) -> SimpleNamespace:
    """What two processes wrote and saw."""
    folder = tmp_path_factory.mktemp("together")
    script = folder / "worker.py"
    script.write_text(f"{SETTING}\nVARIANTS = {VARIANTS}\n{TOGETHER}")
    done = torchrun(str(script), str(folder))
    assert done.returncode == 0, done.stderr
    ranks = [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(2)]
    return SimpleNamespace(folder=folder, ranks=ranks, stderr=done.stderr)


@pytest.mark.parametrize("name", VARIANTS)
def test_two_processes_do_what_one_does(together, name):
    model = new_model()
    wanted = train(model, IDS, IDS, replace(BRIEF, **VARIANTS[name]))
    for rank in together.ranks:
        seen = rank[name]["history"]
        for key in ("train_loss", "held_out_loss", "gradient_norm"):
            assert seen[key] == pytest.approx(getattr(wanted, key), abs=1e-4)
        assert seen["learning_rate"] == wanted.learning_rate
        assert seen["evaluation_steps"] == wanted.evaluation_steps
        assert rank[name]["all"] == pytest.approx(evaluate(model, IDS), abs=1e-4)
    loaded = GPT.load(together.folder / name)
    for ours, alone in zip(loaded.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, alone, rtol=0, atol=1e-4)


def test_the_history_is_the_same_on_all_ranks(together):
    first, second = ({name: rank[name]["history"] for name in VARIANTS} for rank in together.ranks)
    for name in VARIANTS:
        for history in (first[name], second[name]):
            del history["seconds"], history["first_step_seconds"]
        assert first[name] == second[name]


def test_one_rank_writes(together):
    written = [rank["written"] for rank in together.ranks]
    assert len(written[0]) == 3 * 3 + 3 and written[1] == []  # after steps 2, 4 and 6; "resumed" the same in two runs
    assert not list(together.folder.glob(".*"))  # nothing half written is left


def test_one_rank_shows_its_progress(together):
    assert together.stderr.count("training:   0%") == len(VARIANTS) + 4  # its runs that began at the start
    assert "loss 2." in together.stderr


def test_a_sharded_run_is_resumed_from_its_checkpoint(together):
    (ours, told), (wanted, _) = (read_safetensors(together.folder / name) for name in ("resumed", "sharded"))
    assert ours.keys() == wanted.keys() and all(torch.equal(ours[key], wanted[key]) for key in ours)
    assert told["history"]["train_loss"] == together.ranks[0]["sharded"]["history"]["train_loss"]


@pytest.mark.parametrize("name", ["plain", "sharded"])
def test_one_process_goes_on_where_two_stopped(together, tmp_path, name):
    whole, metadata = read_safetensors(together.folder / name)
    assert {key.split("/")[-1] for key in whole if key.startswith("optimizer/")} == {"step", "exp_avg", "exp_avg_sq"}
    assert len(metadata["history"]["train_loss"]) == 6
    again = new_model(seed=1)
    assert train(again, IDS, IDS, BRIEF, checkpoint=together.folder / name).train_loss  # a finished run: it is read
    assert all(torch.equal(p, whole[key]) for key, p in again.state_dict().items())


def test_each_rank_drops_other_activations(together):
    with_dropout, without = together.ranks[0]["with and without dropout"]
    assert with_dropout != without
    alone = train(new_model(dropout=0.5), IDS, IDS, replace(BRIEF, steps=1)).train_loss
    assert alone != pytest.approx(with_dropout, abs=1e-4)


def test_a_killed_rank_restarts_and_ends_as_an_unbroken_run(together, tmp_path):
    script = tmp_path / "worker.py"
    script.write_text(SETTING + KILLED)
    done = torchrun(str(script), str(tmp_path / "c"), options=("--max-restarts", "1"))
    assert done.returncode == 0, done.stderr
    assert "restarts: 1 steps: 6" in done.stdout
    assert "Signal 9 (SIGKILL)" in done.stderr or "exitcode: -9" in done.stderr
    (ours, told), (wanted, unbroken) = (read_safetensors(path) for path in (tmp_path / "c", together.folder / "plain"))
    assert ours.keys() == wanted.keys() and all(torch.equal(ours[key], wanted[key]) for key in ours)
    assert told["history"]["train_loss"] == unbroken["history"]["train_loss"]


def test_the_command_under_torchrun(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("\n".join(f"line {i} of a text" for i in range(200)))
    small = "--tokenizer characters --context-length 8 --n-layers 1 --d-model 16 --device cpu --steps 3 --shard"
    files = f"--corpus {text} --export {tmp_path}/m"
    done = torchrun(
        "-m", "transformer_lab.training", *f"{small} {files}".split(), options=("--max-restarts", "1")
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert sum("parameters on 2 processes, cpu" in line for line in lines) == 1
    assert sum("without --checkpoint it would begin anew" in line for line in lines) == 1
    assert sum("tokens/s" in line for line in lines) == 1
    assert GPT.load(tmp_path / "m.safetensors").config.d_model == 16
    record = json.loads((tmp_path / "m.json").read_text())
    assert "shard" not in record["command"] and record["device"] == "2 processes, cpu"


# ---------------------------------------------------------------- what can be told without starting processes


def test_without_torchrun_there_is_one_rank():
    assert (distributed.rank(), distributed.world_size(), distributed.may_restart()) == (0, 1, False)
    with distributed.processes(torch.device("cpu")) as device:
        assert device == torch.device("cpu") and not dist.is_initialized()
    rows, model = torch.arange(3), new_model()
    assert torch.equal(distributed.share(rows), rows)
    assert distributed.in_step(model) is model and distributed.whole_model(model) is model


@pytest.fixture
def world_of_one():
    """torch's processes, of which there is one: this."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_a_model_in_one_part_learns_as_a_whole_one(world_of_one, tmp_path):
    alone, model = new_model(), new_model()
    wanted = train(alone, IDS, IDS, replace(BRIEF, accumulate=2))
    distributed.shard(model, torch.device("cpu"))
    assert distributed.is_sharded(model) and not distributed.is_sharded(alone)
    history = train(model, IDS, IDS, replace(BRIEF, accumulate=2), checkpoint=tmp_path / "c")
    assert history.train_loss == pytest.approx(wanted.train_loss, abs=1e-6)

    again = new_model(seed=1)
    distributed.shard(again, torch.device("cpu"))
    train(again, IDS, IDS, replace(BRIEF, accumulate=2), checkpoint=tmp_path / "c")  # a finished run: it is read
    for whole in (distributed.whole_model(model), distributed.whole_model(again), GPT.load(tmp_path / "c")):
        assert type(whole) is GPT and whole.config == SHAPE
        for ours, theirs in zip(whole.parameters(), alone.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_float16_is_not_for_parts(world_of_one, monkeypatch):
    model = new_model()
    distributed.shard(model, torch.device("cpu"))
    monkeypatch.setattr(training, "mixed_precision", lambda device: torch.float16)
    with pytest.raises(ValueError, match="shard needs GPUs with units for bfloat16"):
        train(model, IDS, IDS, BRIEF)


def test_the_batch_must_be_shareable(monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    with pytest.raises(ValueError, match="batch_size must be a multiple of the number of processes, 3; got 4"):
        train(new_model(), IDS, IDS, BRIEF)


def test_the_shares_are_the_batch(monkeypatch):
    rows = torch.arange(12).view(6, 2)
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    shares = []
    for rank in range(3):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        shares.append(distributed.share(rows))
    assert torch.equal(torch.cat(shares), rows) and {len(share) for share in shares} == {2}


def test_a_checkpoint_that_other_machines_do_not_see(monkeypatch, tmp_path):
    monkeypatch.setattr(distributed, "agree", lambda number, device: False)
    with pytest.raises(ValueError, match="checkpoint must be a file that all machines see"):
        train(new_model(), IDS, IDS, BRIEF, checkpoint=tmp_path / "c")


def test_sharding_needs_torchrun(capsys, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("\n".join(f"line {i} of a text" for i in range(200)))
    with pytest.raises(SystemExit):
        training.main(f"--corpus {text} --tokenizer characters --device cpu --shard".split())
    assert "error: shard needs the processes that torchrun starts" in capsys.readouterr().err


@pytest.mark.parametrize(
    "device, message",
    [
        ("cuda", r"nproc-per-node must be at most the number of GPUs here, 2; got 4. Or give --device cpu"),
        ("mps", r"device must be cpu or cuda where torchrun starts several processes; got 'mps'"),
    ],
)
def test_too_few_gpus_are_named(monkeypatch, device, message):
    monkeypatch.setattr(dist, "is_torchelastic_launched", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(ValueError, match=message):
        with distributed.processes(torch.device(device)):
            pass


@pytest.fixture
def joined(monkeypatch) -> SimpleNamespace:
    """What `processes` asks of torch as the last of four ranks on machines of two GPUs each, in place of doing it."""
    asked = SimpleNamespace(store=dist.HashStore())
    monkeypatch.setattr(dist, "is_torchelastic_launched", lambda: True)
    monkeypatch.setattr(dist, "rendezvous", lambda url: iter([(asked.store, 3, 4)]))
    monkeypatch.setattr(dist, "init_process_group", lambda backend, **rest: vars(asked).update(rest, backend=backend))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: vars(asked).update(left=True))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: vars(asked).update(device=device))
    for name, value in dict(
        RANK=3, LOCAL_RANK=1, WORLD_SIZE=4, LOCAL_WORLD_SIZE=2, TORCHELASTIC_RESTART_COUNT=5
    ).items():
        monkeypatch.setenv(name, str(value))
    return asked


def test_each_rank_takes_its_own_gpu(joined):
    with distributed.processes(torch.device("cuda")) as device:
        assert device == joined.device == torch.device("cuda", 1)
        assert (joined.backend, joined.rank, joined.world_size) == ("nccl", 3, 4)
    assert joined.left


def test_who_fails_does_not_wait_for_the_others(joined):
    with pytest.raises(ValueError, match="mine"):
        with distributed.processes(torch.device("cpu")):
            raise ValueError("mine")
    assert joined.backend == "gloo" and not hasattr(joined, "left")


@pytest.mark.parametrize("machines", [1, 2])
def test_after_a_restart_on_one_machine_old_addresses_are_not_found(joined, monkeypatch, machines):
    asked, given = [], joined.store
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(4 // machines))
    for count in (0, 1):
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", str(count))
        with distributed.processes(torch.device("cpu")):
            asked.append(joined.store)
        joined.store = given
    asked[0].set("address", "of a rank that died")
    assert asked[1].check(["address"]) is (machines == 2)  # there torchrun is told to make a new store itself


def test_ctrl_c_ends_all_processes(monkeypatch):
    def stop(step, history):
        raise KeyboardInterrupt

    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    for name, stand_in in dict(
        agree=lambda *_: True, in_step=lambda model: model, mean=lambda numbers: numbers
    ).items():
        monkeypatch.setattr(distributed, name, stand_in)
    with pytest.raises(KeyboardInterrupt):
        train(new_model(), IDS, IDS, BRIEF, on_step=stop)


def test_numbers_agree_or_not(monkeypatch):
    def ranks_gave(*numbers):
        monkeypatch.setattr(distributed, "world_size", lambda: len(numbers))
        powers = iter([sum(numbers), sum(number**2 for number in numbers)])
        monkeypatch.setattr(distributed, "total", lambda number, device: next(powers))

    cpu = torch.device("cpu")
    ranks_gave(7, 7, 7)
    assert distributed.agree(7, cpu)
    for own in (6, 7, 8):
        ranks_gave(6, 7, 8)
        assert not distributed.agree(own, cpu)
        with pytest.raises(StopIteration):  # each rank asked for both sums: one that did not would hang the others
            distributed.total(0, cpu)
