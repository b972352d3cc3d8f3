"""Several processes that train one model: started by torchrun, a GPU or a share of the CPU each.

torchrun --nproc-per-node 2 -m transformer_lab.training --checkpoint checkpoints/mine.safetensors

Each process is a rank of a world. Data parallelism: every rank has the whole model, computes the gradient of its
share of the batch, and all take the mean (torch's DistributedDataParallel; Li et al. 2020). Sharding: every rank
keeps a part of each weight, gradient and optimizer state, and a block's weights are put together when their turn
comes (torch's fully_shard; ZeRO stage 3, Rajbhandari et al. 2020).

Without torchrun there is one rank, 0, in a world of 1, and nothing is sent.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


def rank() -> int:
    """This process's number. Rank 0 prints and writes."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def say(words: str) -> None:
    """Print, on rank 0."""
    if rank() == 0:
        print(words)


def may_restart() -> bool:
    """Whether torchrun starts all processes again when one fails."""
    return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0


@contextmanager
def processes(device: torch.device) -> Iterator[torch.device]:
    """Join the processes that torchrun started, if it did; gives the device of this one, of the given kind.

    ValueError: there are more processes on this machine than GPUs, or the device is of a kind that cannot take part.
    """
    if not dist.is_torchelastic_launched():
        yield device
        return
    if device.type == "cuda":
        here, n_gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if here >= n_gpus:
            raise ValueError(
                f"nproc-per-node must be at most the number of GPUs here, {n_gpus}; got "
                f"{os.environ['LOCAL_WORLD_SIZE']}. Or give --device cpu"
            )
        device = torch.device("cuda", here)
        torch.cuda.set_device(device)
    elif device.type != "cpu":
        raise ValueError(f"device must be cpu or cuda where torchrun starts several processes; got {device.type!r}")
    store, rank, world_size = _store(), int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size)
    yield device
    # Not after an error: the others may be waiting for this rank, and it would wait for them. torchrun ends them all.
    dist.destroy_process_group()


def _store() -> dist.Store:
    """Where the ranks find each other's addresses: with torchrun, in a page for each restart.

    torchrun keeps one store for all restarts, in which the addresses of the ranks that died still stand. Machines count
    restarts each for itself, so on several of them the pages would differ; there torchrun can be told to make a new
    store each time: TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1. See https://github.com/pytorch/pytorch/issues/135712.
    """
    store, *_ = next(dist.rendezvous("env://"))
    if os.environ["LOCAL_WORLD_SIZE"] == os.environ["WORLD_SIZE"]:
        return dist.PrefixStore(f"restart {os.environ['TORCHELASTIC_RESTART_COUNT']}", store)
    return store


# ---------------------------------------------------------------- the batch


def share(examples: Tensor) -> Tensor:
    """This rank's rows of a batch, as many as every other's."""
    n_rows = len(examples) // world_size()
    return examples[rank() * n_rows : (rank() + 1) * n_rows]


def mean(numbers: Tensor) -> Tensor:
    """The mean over the ranks, element by element; all of them must call it."""
    if world_size() > 1:
        numbers = numbers.clone()
        dist.all_reduce(numbers)
    return numbers / world_size()


def total(number: float, device: torch.device) -> float:
    """The sum over the ranks; all of them must call it."""
    if world_size() == 1:
        return number
    numbers = torch.tensor(number, dtype=torch.float64, device=device)
    dist.all_reduce(numbers)
    return numbers.item()


def agree(number: int, device: torch.device) -> bool:
    """Whether all ranks gave the same number; all of them must call it."""
    sums = [total(number, device), total(number**2, device)]
    return sums == [world_size() * number, world_size() * number**2]  # the mean is it, and there is no variance


# ---------------------------------------------------------------- the model


def shard(model: nn.Module, device: torch.device) -> None:
    """Leave this rank its part of each of the model's weights, on the device. All ranks must hold the same weights.

    A block's weights come together for its forward and its backward pass, so the largest block and a part of the
    rest must fit into a GPU's memory. ValueError: torchrun did not start this process.
    """
    if not dist.is_initialized():
        raise ValueError("shard needs the processes that torchrun starts: torchrun --nproc-per-node 2 -m …")
    from torch.distributed.fsdp import fully_shard  # takes long to import, and few need it

    mesh = dist.init_device_mesh(device.type, (world_size(),))
    for part in (*model.blocks, model):
        fully_shard(part, mesh=mesh)


def is_sharded(model: nn.Module) -> bool:
    return hasattr(model, "set_requires_gradient_sync")  # which fully_shard gives it


def in_step(model: nn.Module) -> nn.Module:
    """What to call in place of the model, so that after a backward pass each rank has all ranks' mean gradient."""
    if world_size() == 1 or is_sharded(model):  # fully_shard averages by itself
        return model
    device = next(model.parameters()).device
    gpus = [device] if device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=gpus, gradient_as_bucket_view=True)


@contextmanager
def exchange(model: nn.Module, now: bool) -> Iterator[None]:
    """Whether a backward pass inside the block sends gradients: while they accumulate there is no need."""
    if is_sharded(model):
        model.set_requires_gradient_sync(now)
    if isinstance(model, DistributedDataParallel) and not now:
        with model.no_sync():
            yield
    else:
        yield


def whole(t: Tensor) -> Tensor:
    """A tensor put together from all ranks' parts. Of a sharded one every rank must call it."""
    return t.full_tensor() if hasattr(t, "full_tensor") else t


def part_like(t: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, as `like` is kept: on its device and, if that is sharded, this rank's part."""
    t = t.to(like.device)
    if not hasattr(like, "placements"):
        return t
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(t, like.device_mesh, like.placements, src_data_rank=None)  # each rank has the whole


def gather(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """For rank 0 the tensors as a whole, on the CPU; for the others nothing. Every rank must call it."""
    gathered = {}
    for name, t in tensors.items():  # one at a time: together they need not fit into a GPU's memory
        t = whole(t)
        if rank() == 0:
            gathered[name] = t.cpu()
    return gathered


def whole_model(model: nn.Module) -> nn.Module:
    """For rank 0 a copy of a sharded model that is whole, on the CPU. Any other model, and on other ranks, itself.

    Every rank must call it.
    """
    if not is_sharded(model):
        return model
    state = gather(model.state_dict())
    if rank() > 0:
        return model
    copy = type(model).__mro__[2](model.config)  # fully_shard makes a class of FSDPModule and the model's own
    copy.load_state_dict(state)
    return copy
