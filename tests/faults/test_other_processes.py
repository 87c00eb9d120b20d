"""Several processes at one cache; a worker process that is killed; too little memory."""

import os
import resource
import signal
import time
from pathlib import Path

import pytest
from command_process import differing, end, output, result, run_command, start, training

from medcls import train

pytestmark = pytest.mark.slow


def test_two_runs_that_make_one_cache_equal_one_alone(images, undisturbed, tmp_path):
    whole, expected = undisturbed

    def one_cache() -> None:
        os.environ["MEDCLS_CACHE"] = str(tmp_path / "cache")

    places = [tmp_path / "first", tmp_path / "second"]
    processes = [start(train.main, training(place, images), place, one_cache) for place in places]
    codes = [end(process) for process in processes]
    assert codes == [0, 0], [output(place) for place in places]
    for place in places:
        assert not differing(expected, result(place / "run"), (str(whole), str(place)))
    # And what they made together is whole.
    third = tmp_path / "third"
    code, printed = run_command(train.main, training(third, images), third, one_cache)
    assert code == 0 and "damaged" not in printed and "checksum" not in printed, printed
    assert not differing(expected, result(third / "run"), (str(whole), str(third)))


def load_in_processes() -> None:
    """Decode images in loader processes, as where they do not fit into memory."""
    patch = pytest.MonkeyPatch()
    patch.setattr("medcls.data.module.ImageStore.keep", lambda *_: None)


def children(process: int) -> list[int]:
    return [int(n) for n in Path(f"/proc/{process}/task/{process}/children").read_text(encoding="utf-8").split()]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="processes are found in /proc")
def test_a_killed_worker_is_explained_and_the_run_resumes(images, undisturbed, tmp_path):
    whole, expected = undisturbed

    def slowly() -> None:
        """Load in processes, and wait in the second epoch for the kill."""
        load_in_processes()
        patch = pytest.MonkeyPatch()
        from medcls.learning.classifier import Classifier

        real = Classifier.training_step

        def step(self: Classifier, batch, batch_idx: int):
            if self.current_epoch == 1 and batch_idx == 1:
                (tmp_path / "waiting").touch()
                time.sleep(30)  # which the end of a worker interrupts
            return real(self, batch, batch_idx)

        patch.setattr(Classifier, "training_step", step)

    process = start(train.main, training(tmp_path, images, "data.cache=false", "data.workers=2"), tmp_path, slowly)
    until = time.monotonic() + 300
    while not (tmp_path / "waiting").exists() and time.monotonic() < until:
        time.sleep(0.05)
    os.kill(children(process)[-1], signal.SIGKILL)
    code, printed = end(process), output(tmp_path)
    assert code == 2 and "data.workers" in printed and "Traceback" not in printed, printed
    assert f"resume='{tmp_path}/run'" in printed
    code, printed = run_command(train.main, (f"resume={tmp_path}/run", "data.workers=0"), tmp_path)
    assert code == 0, printed
    differ = differing(expected, result(tmp_path / "run"), (str(whole), str(tmp_path)))
    assert differ <= {"config.yaml"}, "which names cache and workers"


def no_memory(kind: str) -> None:
    """Have the network run out of memory in its third step."""
    import torch

    from medcls.learning.classifier import Classifier

    if kind == "limit":
        used = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))
        return
    real, calls = Classifier.training_step, []

    def step(self: Classifier, batch, batch_idx: int):
        calls.append(1)
        if len(calls) == 9:
            raise torch.OutOfMemoryError(
                "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of"
            )
        return real(self, batch, batch_idx)

    pytest.MonkeyPatch().setattr(Classifier, "training_step", step)


@pytest.mark.parametrize(("kind", "more"), [("gpu", ()), ("limit", ("data.image_size=1024", "data.batch_size=32"))])
def test_too_little_memory_names_the_settings_to_lower(images, tmp_path, kind, more):
    code, printed = run_command(
        train.main, training(tmp_path, images, *more, "data.cache=false"), tmp_path, lambda: no_memory(kind)
    )
    assert code == 2 and "Traceback" not in printed, printed
    assert "data.batch_size=" in printed and "data.image_size" in printed and "accumulate_grad_batches" in printed
    if kind == "gpu":
        assert "2.00 GiB" in printed and f"resume='{tmp_path}/run'" in printed
