"""`torchrun ... -m model_factory train`: one training by two processes."""

from __future__ import annotations

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "model_factory")


def torchrun(factory, folder, *arguments):
    """The command on two processes. Their lines come mixed with those of torch."""
    return factory(folder, *arguments, prefix=TORCHRUN)


def test_two_processes_train_one_supernet_and_the_second_call_finds_it_trained(factory, empty_app, edit_config):
    edit_config(empty_app, "epochs: 10", "epochs: 2")
    answer = torchrun(factory, empty_app, "train")
    assert answer.code == 0, answer.err
    assert answer.out.count("runs/tiny/supernet.safetensors: held-out accuracy of the largest subnet") == 1
    assert answer.err.count("train supernet: done in") == 1
    assert not list(empty_app.rglob("training*.safetensors"))
    checkpoint = (empty_app / "runs" / "tiny" / "supernet.safetensors").read_bytes()

    again = torchrun(factory, empty_app, "train", "--quiet")
    assert again.code == 0, again.err
    assert again.out == answer.out
    assert "train supernet" not in again.err

    alone = factory(empty_app, "train", "-q")
    assert (alone.code, alone.out) == (0, answer.out)
    assert (empty_app / "runs" / "tiny" / "supernet.safetensors").read_bytes() == checkpoint


def test_a_build_under_torchrun_is_refused(factory, empty_app):
    answer = torchrun(factory, empty_app, "build")
    assert answer.code != 0
    assert "error: `factory build` is one process; use torchrun for `factory train` only, then build" in answer.err
    assert "model_factory/" not in answer.err  # no traceback
    assert not (empty_app / "runs").exists()


def test_a_batch_that_two_processes_cannot_divide_is_refused(factory, empty_app, edit_config):
    edit_config(empty_app, "batch_size: 64", "batch_size: 63")
    answer = torchrun(factory, empty_app, "train")
    assert answer.code != 0
    assert "error: a batch of 63 cannot be divided among 2 workers" in answer.err
    assert "model_factory/" not in answer.err
