"""What importing TensorFlow prints, and what else a start imports."""

import os
import re
import subprocess
import sys

import pytest

from helpers import settings
from helpers.backend import _muted

NOISE = """
WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795976385.890248    6613 port.cc:153] oneDNN custom operations are on. You may see
E0000 00:00:1795974884.407939   17031 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA error
E0000 00:00:1746 cuda_dnn.cc:8579] Unable to register cuDNN factory: Attempting to register factory
W0000 00:00:1746 computation_placer.cc:177] computation placer already registered. Please check
2026-11-29 17:00:00.123456: I tensorflow/core/platform/cpu_feature_guard.cc:210] This TensorFlow
To enable the following instructions: AVX2 AVX512F, in other operations, rebuild TensorFlow
[IPKernelApp] ERROR | KeyboardInterrupt caught in kernel.
""".strip()
REAL = """
E0000 00:00:1746 gpu_device.cc:100] Out of memory: the device has no room for this
F0000 00:00:1746 cpu_info.cc:10] This machine lacks AVX
ImportError: libcudart.so.12: cannot open shared object file
""".strip()


def test_known_lines_are_noise_and_others_are_not():
    assert all(settings.is_noise(line.encode()) for line in NOISE.splitlines())
    assert not any(settings.is_noise(line.encode()) for line in REAL.splitlines())


def test_what_is_no_noise_still_arrives(capfd, monkeypatch):
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    with _muted():
        os.write(2, f"{NOISE}\n{REAL}\n".encode())
    assert capfd.readouterr().err.strip() == REAL
    with pytest.raises(RuntimeError), _muted():
        os.write(2, NOISE.encode())
        raise RuntimeError
    assert capfd.readouterr().err == NOISE, "whoever must find out what failed sees everything"


START = """
import sys, time
from helpers.backend import keras, tf
tensorflow = time.process_time()
from helpers import attacks, checklist, datasets, defenses, evaluation, pipeline, plots, training
from helpers.plots import say, tables
print("seconds", tensorflow, time.process_time() - tensorflow)
print("modules", *sys.modules)
run = pipeline.start("patches10", "resnet20", "smoke")
attacks.pgd(run.classifier, *run.data.test.take(2), 8 / 255)
"""
HEAVY = ("art", "cleverhans", "foolbox", "papermill", "nbclient", "nbconvert", "snakemake", "sklearn")
LATER = ("skimage.io", "pooch", "tf2cv", "jinja2")


@pytest.mark.deep
def test_a_start_is_quiet_and_imports_only_what_it_needs():
    environment = {**os.environ, "PYTHONPATH": str(settings.ROOT)}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    done = subprocess.run(
        [sys.executable, "-c", START], env=environment, capture_output=True, text=True, check=True
    )
    assert not re.sub(r".*\r", "", done.stderr).strip(), done.stderr
    found = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    imported = sorted({*HEAVY, *LATER} & set(found["modules"]))
    assert not imported
    tensorflow, course = map(float, found["seconds"])
    assert course < tensorflow, "the course's own modules take longer to import than TensorFlow"
