"""Profiles, places, precision, progress, and files that are there whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from helpers import settings
from helpers.settings import CourseError


def test_the_full_profile_is_the_papers():
    full = settings.profile("full")
    assert (full.n_train, full.n_test, full.ae_epochs, full.ae_rates, full.tune_epochs) == (
        50_000,
        10_000,
        100,
        (1e-3, 1e-4),
        3,
    )
    assert settings.EPS == 8 / 255


def test_a_profile_with_changes():
    changed = settings.profile("smoke", n_test=7)
    assert changed.n_test == 7 and changed.n_train == settings.PROFILES["smoke"].n_train
    assert settings.PROFILES["smoke"].n_test != 7


def test_an_unknown_profile():
    with pytest.raises(CourseError, match="'tiny'.*smoke, quick, full"):
        settings.profile("tiny")


def test_a_profile_is_constructed_by_keyword():
    with pytest.raises(TypeError):
        settings.Profile("mine", 1, 2, 3)


@pytest.fixture
def toml(tmp_path):
    """Write a TOML file and return its path."""

    def write(text):
        (tmp_path / "mine.toml").write_text(text)
        return str(tmp_path / "mine.toml")

    return write


def test_a_profile_from_a_file_with_a_base(toml):
    found = settings.profile(toml('base = "smoke"\nn_test = 7\nae_rates = [1e-2, 1]'), n_sweep=3)
    assert found == replace(settings.PROFILES["smoke"], name="mine", n_test=7, ae_rates=(0.01, 1), n_sweep=3)


def test_a_profile_from_a_file_without_a_base(toml):
    values = {**asdict(settings.PROFILES["quick"]), "name": "own name"}
    text = "\n".join(f"{key} = {json.dumps(value)}" for key, value in values.items())
    assert settings.profile(toml(text)) == replace(settings.PROFILES["quick"], name="own name")


def test_a_profile_s_path_may_be_relative_to_the_course(toml, tmp_path, monkeypatch):
    toml('base = "smoke"')
    monkeypatch.setattr("helpers.settings.profiles.ROOT", tmp_path)
    assert settings.profile("mine.toml").name == "mine"


@pytest.mark.parametrize(
    "text, named",
    [
        ('base = "smoke"\nn_tests = 7', "n_tests"),
        ('base = "tiny"', "'tiny'"),
        ("n_test = 7", "n_train"),
        ('base = "smoke"\nn_test = "7"', "n_test is '7'"),
        ('base = "smoke"\nn_test = 0', "n_test is 0"),
        ('base = "smoke"\nn_test = true', "n_test is True"),
        ('base = "smoke"\nae_rates = [1e-3]', "ae_rates"),
        ('base = "smoke"\nae_rates = 1e-3', "ae_rates"),
        ('base = "smoke"\nname = "full"', "name is 'full'"),
        ("base =", "not a TOML file"),
    ],
)
def test_a_profile_file_with_a_mistake(toml, text, named):
    with pytest.raises(CourseError, match=rf"mine\.toml.*{named}") as caught:
        settings.profile(toml(text))
    assert "\n" not in str(caught.value)


def test_a_profile_file_that_is_not_there():
    with pytest.raises(CourseError, match="nowhere.toml"):
        settings.profile("nowhere.toml")


# --------------------------------------------------------------------------------------------------- networks


def test_networks_are_parsed_from_their_values():
    parsed = [settings.Networks.parse(text) for text in ("trained", "shipped", "auto")]
    assert parsed == list(settings.Networks) and json.dumps(parsed) == '["trained", "shipped", "auto"]'
    with pytest.raises(CourseError, match="'mine'.*trained, shipped, auto"):
        settings.Networks.parse("mine")


@pytest.mark.parametrize("value, found", [("shipped", True), ("", False)])
def test_networks_that_the_environment_asks_for(monkeypatch, value, found):
    monkeypatch.setenv("COURSE_NETWORKS", value)
    assert settings.takes_shipped_networks() is found
    monkeypatch.setenv("COURSE_NETWORKS", "trained")
    with pytest.raises(CourseError, match="COURSE_NETWORKS is 'trained'"):
        settings.takes_shipped_networks()


# -------------------------------------------------------------------------------------------------- precision


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_the_precision_can_be_chosen(monkeypatch, precision):
    monkeypatch.setenv("COURSE_PRECISION", precision)
    assert settings.training_precision() == precision


def test_an_unknown_precision(monkeypatch):
    monkeypatch.setenv("COURSE_PRECISION", "float16")
    with pytest.raises(CourseError, match="COURSE_PRECISION is 'float16'; choose float32 or mixed_bfloat16"):
        settings.training_precision()


@pytest.mark.parametrize(
    "flags, expected", [("avx2 amx_bf16", "mixed_bfloat16"), ("avx2", "float32"), (None, "float32")]
)
def test_else_the_processor_decides(monkeypatch, flags, expected):
    monkeypatch.delenv("COURSE_PRECISION", raising=False)
    monkeypatch.setattr(Path, "is_file", lambda path: flags is not None)
    monkeypatch.setattr(Path, "read_text", lambda path: f"flags : {flags}")
    assert settings.training_precision() == expected


# ----------------------------------------------------------------------------------------------------- places


@pytest.mark.parametrize(
    "value, expected",
    [(None, "artifacts"), ("", "artifacts"), ("elsewhere", "elsewhere"), ("/big/disk", "/big/disk")],
)
def test_where_artifacts_lie(tmp_path, value, expected):
    """The folder does not depend on where a process starts: notebooks run in a folder of their own."""
    env = {name: v for name, v in os.environ.items() if name != "ARTIFACTS_DIR"} | {
        "PYTHONPATH": str(settings.ROOT)
    }
    if value is not None:
        env["ARTIFACTS_DIR"] = value
    code = "from helpers import settings; print(settings.ARTIFACTS)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert Path(done.stdout.strip()) == settings.ROOT / expected


# ------------------------------------------------------------------------------------------------------ files


def test_a_file_is_written_whole(tmp_path):
    file = tmp_path / "new" / "folder" / "results.json"
    settings.write_atomically(file, b"first")
    settings.write_atomically(file, b"second")
    assert file.read_bytes() == b"second" and list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize(
    "code, why",
    [(errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "the disk is full"), (errno.EROFS, "Read-only")],
)
def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch, call, code, why):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    file = tmp_path / "results.json"
    settings.write_atomically(file, b"first")
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(
        CourseError, match=f"cannot write results.json in .*: {why}.*[sS]et ARTIFACTS_DIR"
    ) as caught:
        settings.write_atomically(file, b"second")
    assert file.read_bytes() == b"first" and list(tmp_path.iterdir()) == [file]
    assert "\n" not in str(caught.value)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "a-file").write_text("")
    with pytest.raises(CourseError, match="cannot write results.json in a-file/"):
        settings.write_atomically(tmp_path / "a-file" / "results.json", b"x")


@pytest.mark.parametrize("text", ["~", "~/x.h5", "~nobody/x.h5"])
def test_there_is_no_file_in_a_home_that_there_is_not(without_home, text):
    assert settings.find_file(text) is None


# --------------------------------------------------------------------------------------------------- progress


def test_progress_goes_to_the_file_that_is_named(tmp_path, monkeypatch, capfd):
    log = tmp_path / "progress.log"
    log.write_text("before\n")
    monkeypatch.setenv("COURSE_PROGRESS", str(log))
    with settings.progress(total=4, title="training", initial=1) as bar:
        bar.update(2)
        bar.note({"loss": 0.123456})
        bar.update()
    text = log.read_text()
    assert text.startswith("before\n") and "training" in text and "4/4" in text and "loss=0.1235" in text
    assert capfd.readouterr() == ("", "")


def test_work_goes_on_where_progress_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / "nowhere" / "log.txt"))
    settings.note("nobody reads this")
    with settings.progress(total=2, title="training") as bar:
        bar.update(2)


@pytest.mark.parametrize("value, found", [("1", True), ("0", False), ("", False)])
def test_offline_is_1_or_0(monkeypatch, value, found):
    monkeypatch.setenv("COURSE_OFFLINE", value)
    assert settings.is_offline() is found
    monkeypatch.setenv("COURSE_OFFLINE", "true")
    with pytest.raises(CourseError, match="COURSE_OFFLINE is 'true'"):
        settings.is_offline()


@pytest.mark.parametrize("seed", [1.5, "1.5", "lucky", None, True, float("inf"), -1, 2**32])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(CourseError, match="it must be a whole number from 0 to"):
        settings.check_seed(seed)


@pytest.mark.parametrize("eps", [8 / 255, "8/255", " 8 / 255", Fraction(8, 255), "0.03137254901960784"])
def test_a_budget_may_be_text_or_a_fraction(eps):
    assert settings.check_eps(eps) == 8 / 255 and type(settings.check_eps(eps)) is float


@pytest.mark.parametrize("eps", [None, True, "", "8/", "8/0", "1e999", "a/b", [0.1], -0.1, float("nan")])
def test_what_is_no_budget_is_named(eps):
    with pytest.raises(CourseError, match=re.escape(f"eps is {eps!r}")):
        settings.check_eps(eps)


@pytest.mark.parametrize("eps", [8, "8"])
def test_grey_levels_are_told_from_a_budget(eps):
    with pytest.raises(CourseError, match="write 8/255"):
        settings.check_eps(eps)


def test_a_function_gets_plain_numbers_and_refuses_the_rest_itself():
    @settings.plain_numbers
    def given(image: np.ndarray, eps: float, *, steps: int = 1, norm: str = "1"):
        return image, eps, steps, norm

    assert given("2", Fraction(1, 2), steps=np.float32(2)) == ("2", 0.5, 2, "1")
    assert type(given("2", "1/2", steps="2")[2]) is int
    assert given("2", "half", steps=2.5) == ("2", "half", 2.5, "1")
    large = 2**64 - 1
    assert given("2", 1, steps=large)[1:3] == (1, large)
    assert settings.whole_number(np.uint64(large)) == large


def test_progress_is_shown_where_no_file_is_named(monkeypatch, capfd):
    monkeypatch.delenv("COURSE_PROGRESS", raising=False)
    with settings.progress(total=2, title="training") as bar:
        bar.update(2)
    assert "training" in capfd.readouterr().err


# ------------------------------------------------------------------------------------------------ environment


def test_no_other_module_reads_the_environment():
    """Setting a variable for child processes is allowed anywhere."""
    reads = re.compile(r"os\.getenv|os\.environ\.get\(|in os\.environ\b|os\.environ\[[^\]]+\](?! = )")
    allowed = settings.ROOT / "helpers" / "settings" / "environment.py"
    found = [
        f"{file.relative_to(settings.ROOT)}: {line.strip()}"
        for file in (settings.ROOT / "helpers").rglob("*.py")
        for line in file.read_text("utf-8").splitlines()
        if reads.search(line) and file != allowed and not line.strip().startswith("del ")
    ]
    assert found == []


def test_variables_that_are_only_passed_on(monkeypatch, tmp_path):
    for name, read in {
        "CIFAR10_DIR": settings.cifar10_dir,
        "COURSE_PROGRESS": settings.progress_file,
        "COURSE_DEVICES": settings.devices_option,
        "COURSE_FILES_LOG": settings.files_log,
        "KERAS_HOME": settings.keras_home,
    }.items():
        monkeypatch.setenv(name, str(tmp_path))
        assert str(read()) == str(tmp_path)
        monkeypatch.delenv(name)
        assert read() in (None, "", Path.home() / ".keras")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    assert settings.shows_tensorflow_log()


def test_a_user_without_a_home_keeps_to_the_folders_that_are_named(without_home, monkeypatch, tmp_path):
    monkeypatch.delenv("KERAS_HOME", raising=False)
    assert settings.keras_home() == Path("~/.keras") and not settings.keras_home().exists()
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("ARTIFACTS_DIR", "~/results")
    assert settings.keras_home() == tmp_path
    assert settings.environment.artifacts_dir() == Path("~/results")


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a home folder is found in another way")
@pytest.mark.parametrize("home", ["missing", "read-only", "there"])
def test_a_home_that_cannot_be_written_is_replaced_by_one_in_the_store(monkeypatch, tmp_path, home):
    place = tmp_path / "user"
    if home != "missing":
        place.mkdir()
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.setenv("KERAS_HOME", "")
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setattr(os, "access", lambda path, mode: home == "there")
    monkeypatch.setattr(settings.paths, "ARTIFACTS", tmp_path / "store")
    settings.ensure_home()
    found = Path(os.environ["HOME"])
    assert found.is_dir() and (found == place) == (home == "there")
    assert settings.keras_home() == place / ".keras"  # what lies there can still be read
    monkeypatch.delenv("KERAS_HOME", raising=False)


@pytest.mark.parametrize("in_notebook", [True, False])
def test_a_note_in_a_notebook_does_not_look_like_an_error(monkeypatch, capsys, in_notebook):
    monkeypatch.delenv("COURSE_PROGRESS", raising=False)
    shell = SimpleNamespace(config={"IPKernelApp": {}} if in_notebook else {})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    settings.note("half done")
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == (("half done\n", "") if in_notebook else ("", "half done\n"))
