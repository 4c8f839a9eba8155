"""Two processes of torchrun give what one gives, and one of them writes it."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import click.testing
import torch
from safetensors.torch import load_file
from small_networks import config, images

from nn_bench import commands
from nn_bench.training import train

SCRIPT = """
import sys, torch
sys.path.insert(0, sys.argv[2])
torch.set_num_threads(1)
from small_networks import config, images
from nn_bench import commands
from nn_bench.training import train
train(config(epochs=3, augment=True, lam=0.02, options={"momentum": 0.5}), sys.argv[1], images=images(rows=97))
"""


def test_two_processes_with_gloo_agree_with_one_to_rounding(tmp_path):
    # the last minibatch has one image: the second process has no share in it
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    out = tmp_path / "two"
    tests = str(Path(__file__).resolve().parents[1])
    processes = []
    for rank in (0, 1):
        place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
        environment = os.environ | place | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        command = [sys.executable, str(script), str(out), tests]
        processes.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE))
    for process in processes:
        _, error = process.communicate(timeout=200)
        assert process.returncode == 0, error.decode()
    settings = config(epochs=3, augment=True, lam=0.02, options={"momentum": 0.5})
    single = train(settings, images=images(rows=97))
    stored = load_file(out / "weights.safetensors")
    for name, value in single.model.state_dict().items():
        torch.testing.assert_close(stored[name], value, rtol=1e-4, atol=1e-5)
    assert (out / "result.json").exists()


def test_of_a_finished_run_the_leading_process_alone_writes_the_report(tmp_path, monkeypatch):
    file, run = tmp_path / "run.toml", tmp_path / "run"
    settings = config(model="logistic", data="digits", epochs=1, train_rows=64, test_rows=40)
    file.write_text(settings.to_toml())
    train(settings, run)
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, leads in (("1", False), ("0", True)):
        monkeypatch.setenv("RANK", rank)
        assert train(settings, run).leads == leads
        done = click.testing.CliRunner().invoke(commands.train, [str(file), "--out", str(run)])
        assert done.exit_code == 0 and bool(done.output) == leads == (run / "report.html").exists()
