"""What several processes of a training do together: meet, share what the first one read, add up, agree."""

import contextlib
import datetime
import os
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.plugins.layer_sync import TorchSyncBatchNorm
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, distributed, nn
from torchmetrics.utilities.distributed import gather_all_tensors

LONGEST_WAIT = datetime.timedelta(hours=12)
"""How long processes wait for one that neither goes on nor ends: the first may take hours to read and cache images."""


@contextlib.contextmanager
def meeting(rank: int, processes: int) -> Iterator[None]:
    """Connect the processes of a training until the end of the block; with one process, do nothing.

    Lightning uses the connection that it finds. Objects and decisions travel between CPUs, gradients between GPUs where
    there are any.

    Parameters
    ----------
    rank : int
        Number of this process, from 0.
    processes : int
        Of the training, on all machines.
    """
    if processes == 1:
        yield
        return
    # All processes log the same values, of all images: a mean over the processes could change their last digits.
    warnings.filterwarnings("ignore", message=r"It is recommended to use `self\.log")
    environment = _environment()
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = environment.main_address, str(environment.main_port)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, timeout=LONGEST_WAIT, rank=rank, world_size=processes)
    try:
        yield
    finally:
        part()


def part() -> None:
    """Disconnect from the other processes."""
    if number_of_processes() > 1:
        # After an error the others may be gone, or in the middle of something.
        with contextlib.suppress(RuntimeError):
            distributed.destroy_process_group()


def _environment() -> ClusterEnvironment:
    """Where the processes find each other; what Lightning's trainer detects too."""
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    return SLURMEnvironment() if SLURMEnvironment.detect() else LightningEnvironment()


def number_of_processes() -> int:
    """How many processes are connected."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank_of_processes() -> tuple[int, int]:
    """The number of this process, from 0, and that of all that are connected."""
    processes = number_of_processes()
    return (distributed.get_rank() if processes > 1 else 0), processes


def give_to_others(content: object) -> None:
    """Send what the first process read to the others, which wait for it in `received`."""
    if number_of_processes() > 1:
        distributed.broadcast_object_list([content], src=0, device=torch.device("cpu"))


def received() -> Any:  # noqa: ANN401 - whatever was given
    """What the first process gives, or None if it ends without."""
    parts: list[Any] = [None]
    try:
        distributed.broadcast_object_list(parts, src=0, device=torch.device("cpu"))
    except RuntimeError:
        return None
    return parts[0]


def over_processes(loss: Tensor, weight: Tensor) -> tuple[Tensor, Tensor | None]:
    """The loss of a batch over all processes, and what this process's gradients count in their mean.

    Parameters
    ----------
    loss, weight : Tensor
        Mean over the images of this process, and their total weight; scalars without gradient.

    Returns
    -------
    loss, factor : Tensor
        The mean over the images of all processes. The factor of this process's loss with which the mean of all
        gradients is the gradient of that mean, whatever images and class weights each has; None with one process.
    """
    processes = number_of_processes()
    if processes == 1:
        return loss, None
    sums = torch.stack([loss * weight, weight])
    distributed.all_reduce(sums)
    return sums[0] / sums[1], processes * weight / sums[1]


def gathered(tensor: Tensor) -> Tensor:
    """The rows `(n, ...)` of all processes, whose numbers may differ, in the order of the processes."""
    return tensor if number_of_processes() == 1 else torch.cat(gather_all_tensors(tensor))


def all_agree(yes: bool, device: torch.device) -> bool:
    """Whether the answer is yes in all processes."""
    if number_of_processes() == 1:
        return yes
    answers = torch.tensor(int(yes), device=device)
    distributed.all_reduce(answers, distributed.ReduceOp.MIN)
    return bool(answers)


def strategy(*, find_unused: bool) -> DDPStrategy:
    """Lightning's strategy for processes that each have the network, and average their gradients.

    Parameters
    ----------
    find_unused : bool
        Whether parameters may have no gradient, as frozen ones, and must be looked for in each step.
    """
    return DDPStrategy(find_unused_parameters=find_unused)


class SyncBatchNorm(TorchSyncBatchNorm):
    """Batch norm over the images of all processes.

    torch's own conversion, which Lightning uses, drops the activation within timm's batch norms.
    """

    def apply(self, model: nn.Module) -> nn.Module:
        """Convert all batch norms."""
        from timm.layers.norm_act import convert_sync_batchnorm  # takes long to import

        converted: nn.Module = convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return converted

    def revert(self, model: nn.Module) -> nn.Module:
        """Leave them: the trained network is loaded from its checkpoint."""
        return model
