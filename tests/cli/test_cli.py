"""The command line: bad input is one line of cause and remedy, and a status that is not 0."""

from __future__ import annotations

import json
from types import SimpleNamespace

import nbformat
import pytest

from helpers import datasets, pipeline, report, settings
from helpers.cli.app import main
from helpers.pipeline import base_variants, train_base
from helpers.report import contents
from helpers.settings import CourseError


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    """A course of one notebook, which none of these tests gets as far as running."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    names = (
        'dataset = "auto"\nmodel = "resnet20"\nprofile = "quick"\nseed = 0\nweights = "course"\neps = 8 / 255'
    )
    parameters = nbformat.v4.new_code_cell(names, metadata={"tags": ["parameters"]})
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = nbformat.v4.new_notebook(cells=[parameters], metadata=metadata)
    nbformat.write(notebook, folder / "00_start_here.ipynb")
    monkeypatch.setattr(contents, "NOTEBOOKS", folder)
    monkeypatch.setattr("papermill.execute_notebook", lambda *_, **__: pytest.fail("a notebook was run"))
    monkeypatch.setattr(train_base, "make", lambda *_: pytest.fail("training was begun"))
    return folder


def error_of(capsys, *arguments: str) -> str:
    assert main(list(arguments)) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.strip().splitlines()
    assert captured.out == "" and line.startswith("error: ")
    return line


BAD = {
    "profile": (["report", "--profile", "huge"], "unknown profile 'huge'; choose one of smoke, quick, full"),
    "data set": (
        ["report", "--dataset", "mnist"],
        "unknown data set 'mnist'; choose one of cifar10, patches10, auto",
    ),
    "model": (["report", "--model", "vgg16"], "unknown model 'vgg16'; choose one of resnet20, sepreresnet56"),
    "networks": (["report", "--networks", "mine"], "unknown networks 'mine'; choose trained or shipped"),
    "networks of a quick run": (
        ["report", "--networks", "shipped"],
        "--networks is for full runs",
    ),
    "model of networks": (["networks", "--model", "vgg16"], "unknown model 'vgg16'; choose one of resnet20"),
    "eps 8": (["report", "--eps", "8"], "eps is 8, but images are in [0, 1]: write 8/255"),
    "eps -1/255": (["report", "--eps=-1/255"], "it must be a number in [0, 1], such as 8/255"),
    "eps text": (["report", "--eps", "small"], "eps is 'small'; it must be"),
    "eps 1/0": (["report", "--eps", "1/0"], "eps is '1/0'; it must be"),
    "eps nan": (["report", "--eps", "nan"], "eps is 'nan'"),
    "seed text": (["report", "--seed", "lucky"], "seed is 'lucky'; it must be"),
    "seed fraction": (["report", "--seed", "1.5"], "seed is '1.5'; it must be"),
    "seed negative": (["report", "--seed", "-1"], "seed is '-1'"),
    "seed too large": (["report", "--seed", "4294967296"], "seed is '4294967296'"),
    "seed of weights": (["weights", "--seed", "-1"], "seed is '-1'"),
    "seed of weights text": (["weights", "--seed", "x"], "seed is 'x'; it must be"),
    "data set of cost": (
        ["cost", "--dataset", "mnist"],
        "unknown data set 'mnist'; choose one of cifar10, patches10",
    ),
    "weights missing": (["report", "--weights", "nowhere.h5"], "no weight file 'nowhere.h5'"),
    "notebook": (["run", "99"], "there is no notebook '99'; choose one of 00_start_here"),
    "unknown parameter": (
        ["run", "00", "-p", "epsilon=1"],
        "00_start_here.ipynb has no parameter 'epsilon'; it has dataset, eps, model, profile, seed, weights",
    ),
    "no value": (["run", "00", "-p", "seed"], "-p 'seed' is not of the form NAME=VALUE"),
    "seed of one": (["run", "00", "-p", "seed=x"], "seed is 'x'; it must be"),
    "eps of one": (["run", "00", "-p", "eps=big"], "eps is 'big'; it must be"),
    "weights of what": (["weights", "--model", "vgg16"], "unknown model 'vgg16'; choose one of"),
    "weights for what": (["weights", "--dataset", "mnist"], "unknown data set 'mnist'; choose one of"),
    "no training": (["weights", "--epochs", "0"], "--epochs is 0; training takes at least 1"),
    "search for what": (["search", "nvae"], "unknown autoencoder 'nvae'; choose one of d1_c2"),
    "search behind what": (["search", "all", "--model", "vgg16"], "unknown model 'vgg16'; choose one of"),
    "robust how": (["robust", "trades"], "unknown recipe 'trades'; choose one of single_step"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(notebooks, tmp_path, monkeypatch, capsys, case):
    arguments, message = BAD[case]
    monkeypatch.setenv("CIFAR10_DIR", "set-by-nobody")  # what gets as far as the data stops there
    if arguments[0] in ("report", "run"):
        arguments = [*arguments, "--out", str(tmp_path / "out")]
    assert message in error_of(capsys, *arguments)
    assert not (tmp_path / "out").exists()


def test_an_older_report_stays_when_input_is_bad(notebooks, tmp_path, capsys):
    page = tmp_path / "out" / "notebooks" / "00_start_here.html"
    page.parent.mkdir(parents=True)
    page.write_text("yesterday's")
    error_of(capsys, "report", "--dataset", "mnist", "--out", str(tmp_path / "out"))
    assert page.read_text() == "yesterday's"


def test_cifar10_that_cannot_be_had(notebooks, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("CIFAR10_DIR", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(settings, "ROOT", tmp_path)
    message = error_of(capsys, "report", "--dataset", "cifar10", "--out", str(tmp_path / "out"))
    assert datasets.CifarNotFound.remedies in message


def test_a_report_that_was_not_made(tmp_path, capsys):
    assert "there is no report in out/; make one first (make report)" in error_of(
        capsys, "record", "--out", str(tmp_path / "out")
    )


def test_a_report_that_failed_is_not_recorded(tmp_path, capsys):
    runs = [
        {"notebook": "00_start_here", "error": None},
        {"notebook": "01_fgsm_and_pgd", "error": {"cell": 3}},
    ]
    (tmp_path / "run.json").write_text(json.dumps({"notebooks": runs}))
    assert "01_fgsm_and_pgd failed in that report; repair it" in error_of(
        capsys, "record", "--out", str(tmp_path)
    )


@pytest.mark.parametrize(
    "arguments, there_is",
    [
        ([], ["report", "verify"]),
        (["dance"], ["'dance'", "report", "verify"]),
        (["--fast"], ["--fast", "report", "verify"]),
        (["report", "--colour", "blue"], ["--colour", "--eps", "--only"]),
        (["report", "--ep", "4/255"], ["--ep;", "--eps"]),
        (["clean", "--all"], ["--all", "none"]),
        (["report", "--only"], ["--only"]),
        (["run"], ["NOTEBOOK"]),
        (["weights", "--epochs", "x"], ["--epochs", "'x'"]),
    ],
)
def test_unknown_words_are_answered_with_those_that_there_are(capsys, arguments, there_is):
    line = error_of(capsys, *arguments)
    assert all(word in line for word in there_is)


def test_a_command_finds_a_home_where_the_user_has_none(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("HOME", str(tmp_path / "nowhere"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(settings.paths, "ARTIFACTS", tmp_path / "store")
    error_of(capsys, "record", "--out", str(tmp_path / "out"))
    assert settings.expanded("~") == tmp_path / "store" / "home" and settings.expanded("~").is_dir()


@pytest.mark.parametrize("word", ["none", "None", "NONE"])
def test_no_weights_in_any_spelling(notebooks, tmp_path, monkeypatch, word):
    """Also as Python and papermill write it."""
    given = []
    monkeypatch.setattr(report, "build", lambda parameters, *_: given.append(parameters["weights"]) or True)
    ran = {"error": None, "seconds": 0.0}
    monkeypatch.setattr(report, "execute", lambda *arguments: given.append(arguments[2]["weights"]) or ran)
    out = ["--out", str(tmp_path / "out")]
    assert (
        main(["report", "--weights", word, *out]) == main(["run", "00", "-p", f"weights={word}", *out]) == 0
    )
    assert given == ["none", "none"]


def test_only_takes_several_notebooks(notebooks, tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(report, "build", lambda *arguments: given.append(arguments[2]) or True)
    out = ["--out", str(tmp_path / "out")]
    for words in (
        ["--only", "06", "07", *out],
        ["--only", "06", "--only", "07", *out],
        [*out, "--only", "06", "07"],
    ):
        assert main(["report", *words]) == 0
    assert given == [["06", "07"]] * 3


def test_an_interrupted_run_says_how_to_go_on(notebooks, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(report, "build", interrupted)
    assert main(["report"]) == 130
    assert "the same command resumes" in capsys.readouterr().err


@pytest.mark.parametrize("whole, status", [(True, 0), (False, 1)])
def test_a_failed_notebook_is_a_status(notebooks, tmp_path, monkeypatch, whole, status):
    given = []
    monkeypatch.setattr(report, "build", lambda *arguments: given.append(arguments) or whole)
    arguments = ["--eps", "4/255", "--seed", "3", "--model", "sepreresnet56", "--weights", "none"]
    assert main(["report", "--out", str(tmp_path / "out"), *arguments]) == status
    expected = {
        "profile": "quick",
        "dataset": "auto",
        "model": "sepreresnet56",
        "seed": 3,
        "weights": "none",
        "eps": 4 / 255,
    }
    assert given == [(expected, tmp_path / "out", [], False, None, False)]
    main(["report", "--only", "06", "07", "--jobs", "3", "--fresh"])
    assert given[1][1:] == (settings.ROOT / "report" / "only", ["06", "07"], False, 3, True)


def test_weights_trains_a_variant_of_the_shipped_network(monkeypatch, capsys, tmp_path):
    asked = []
    scores = {"validation": {"correct": 456, "n": 500, "accuracy": 0.912}}
    monkeypatch.setattr(base_variants, "make", lambda *given: asked.append(given) or {"scores": scores})
    monkeypatch.setattr(train_base, "make", lambda *_: pytest.fail("the base network was trained"))
    monkeypatch.setattr(settings, "WEIGHTS", tmp_path)
    assert main(["weights", "--recipe", "mixup", "--seed", "3"]) == 0
    assert asked == [("cifar10", "resnet20", "mixup", 3, None)]
    assert "456 of 500" in capsys.readouterr().out
    assert "label_smoothing" in error_of(capsys, "weights", "--recipe", "cutmix")


def test_seeds_names_the_median_of_the_shipped_ones_and_trains_nothing(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(settings, "WEIGHTS", tmp_path)
    monkeypatch.setattr(pipeline, "start", lambda *_, **__: pytest.fail("a run was begun"))
    assert "--choose" in error_of(capsys, "seeds")
    assert "helpers seeds" in error_of(capsys, "seeds", "--choose")
    (tmp_path / "cifar10" / "seeds").mkdir(parents=True)
    for seed, loss in enumerate((0.003, 0.001, 0.002)):
        card = {"autoencoder_seed": seed, "active_channels": 7, "validation": {"loss": loss, "errors": {}}}
        (tmp_path / "cifar10" / "seeds" / f"resnet20_ae_{seed}.json").write_text(json.dumps(card))
    assert main(["seeds", "--choose"]) == 0
    assert capsys.readouterr().out.endswith("seed 2\n")


def test_networks_takes_a_schedule(monkeypatch, capsys):
    asked = []
    monkeypatch.setenv("COURSE_NETWORKS", "")
    monkeypatch.setattr(pipeline, "start", lambda *_, **named: asked.append(named) or 1 / 0)
    for words in ([], ["--schedule", "paper"]):
        with pytest.raises(ZeroDivisionError):
            main(["networks", *words])
    assert asked == [{"schedule": "decay"}, {"schedule": "paper"}]


def test_weights_prints_the_scores(monkeypatch, capsys):
    asked = []
    scores = {"test": {"correct": 9_123, "n": 10_000, "accuracy": 0.9123}}
    monkeypatch.setattr(train_base, "make", lambda *given: asked.append(given) or {"scores": scores})
    assert main(["weights", "--dataset", "patches10", "--seed", "2", "--epochs", "1", "--replace"]) == 0
    assert asked == [("patches10", "resnet20", 2, 1)]
    assert capsys.readouterr().out == "test: 9,123 of 10,000 correct, 91.23%\n"


@pytest.mark.parametrize(
    "arguments, with_what",
    [
        (["weights", "--epochs", "1"], "resnet20 is shipped, made with epochs"),
        (["weights", "--seed", "1"], "resnet20 is shipped, made with seed 0"),
        (["weights", "--model", "efficientnet_b0"], "is shipped, made with begins with EfficientNet-Lite0"),
        (["robust", "madry", "--seed", "1"], "resnet20_madry is shipped, made with seed 0"),
    ],
)
def test_a_try_does_not_take_the_place_of_shipped_weights(monkeypatch, capsys, arguments, with_what):
    monkeypatch.setattr(train_base, "make", lambda *_: pytest.fail("it was trained"))
    monkeypatch.setattr(
        train_base, "beginning", lambda model: train_base.RANDOM if model == "efficientnet_b0" else ""
    )
    monkeypatch.setattr(pipeline, "start", lambda *_, **__: pytest.fail("it was begun"))
    message = error_of(capsys, *arguments)
    assert with_what in message and "add --replace" in message


def test_autoencoders_of_another_seed_stand_beside_the_shipped_ones(monkeypatch, capsys):
    from helpers.studies import latent_size, search

    def made(run, name):
        asked.append((run, name, search.path_of("cifar10", "resnet20", name, 1).stem))
        scores = {"regular": {"n": 1, "accuracy": 0.5}}
        return {"latent": 1, "parameters": 1, "minutes": 1.0, "validation": scores}

    asked = []
    monkeypatch.setattr(search, "make", made)
    monkeypatch.setattr(pipeline, "start", lambda *_, seed: f"run {seed}")
    assert main(["search", "series", "--seed", "1"]) == 0
    assert asked == [("run 1", name, f"resnet20_{name}_seed1") for name in latent_size.SERIES]
    assert len(capsys.readouterr().out.splitlines()) == 6


def test_the_same_again_takes_the_place_of_itself(monkeypatch):
    asked = []
    monkeypatch.setattr(train_base, "make", lambda *given: asked.append(given) or {"scores": {}})
    assert main(["weights"]) == 0 and asked == [("cifar10", "resnet20", 0, None)]


@pytest.mark.deep
def test_an_audit_that_may_not_stand_beside_the_paper_is_not_recorded(monkeypatch, capsys, tmp_path):
    from helpers.studies import deviations

    monkeypatch.setattr(deviations, "audit", lambda *_: pytest.fail("it was computed"))
    message = error_of(capsys, "audit", "--dataset", "patches10")
    assert (
        "figures/audit.json holds audits of the course's networks on CIFAR-10" in message
        and "--out" in message
    )
    run = SimpleNamespace(
        comparable=True, weights="course", profile=settings.PROFILES["full"], model="resnet20"
    )
    deviations.check_recordable(run, False)
    with pytest.raises(CourseError, match="has the whole audit of resnet20"):
        deviations.check_recordable(run, True)
    with pytest.raises(CourseError, match="in quick or full"):
        deviations.check_recordable(
            SimpleNamespace(**{**vars(run), "profile": settings.PROFILES["smoke"]}), False
        )


def test_clean_removes_artifacts_and_report_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "ROOT", tmp_path)
    monkeypatch.setattr(settings, "ARTIFACTS", tmp_path / "artifacts")
    for name in ("artifacts", "report", "weights", "data"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    assert main(["clean"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "weights"]
