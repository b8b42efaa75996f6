"""What make record keeps and make verify checks, with a run of the smallest size in a folder of its own.

test_verify.py has the findings of verify without networks.
"""

import io
import json
import shutil
from dataclasses import replace

import nbformat
import numpy as np
import pytest
from small_notebooks import PARAMETERS
from support import TINY as SMALLEST

from helpers import classifiers, pipeline, settings, training
from helpers.cli.app import main
from helpers.defenses.architectures import ARCHITECTURES
from helpers.maintain import record, verify
from helpers.pipeline import shipped
from helpers.report import contents
from helpers.settings import CourseError

TINY = replace(SMALLEST, n_test=24, n_sweep=12, ae_epochs=1)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A tree with one recorded run of resnet20; the paths of the settings point into it."""
    root = tmp_path_factory.mktemp("tree")
    shutil.copytree(settings.WEIGHTS / "patches10", root / "weights" / "patches10")
    for part in ("ae", "fine_tuned"):  # where the course ships them, the test makes its own
        for ending in (".h5", ".json"):
            (root / "weights" / "patches10" / f"resnet20_{part}{ending}").unlink(missing_ok=True)
    (root / "README.md").write_text("before\n<!-- results -->\n<!-- /results -->\nafter\n")
    out = root / "report"
    (out / "figures").mkdir(parents=True)
    (out / "figures" / "one.png").write_bytes(b"a picture")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(settings.PROFILES, "smoke", TINY)
        for name, folder in (("ROOT", ""), ("WEIGHTS", "weights"), ("FIGURES", "figures")):
            patch.setattr(settings, name, root / folder)
        patch.setattr(contents, "NOTEBOOKS", root / "notebooks")
        run = pipeline.start(**PARAMETERS)
        records = pipeline.static_table(run) + pipeline.aware_table(run)
        # At another budget and another length: records that no cell of the tables is to be taken for.
        records += pipeline.accuracy_against_eps(run, [4 / 255]) + pipeline.accuracy_against_steps(run, [2])
        about = {"parameters": PARAMETERS, "data": run.data.provenance}
        (out / "results.json").write_text(json.dumps({**about, "records": records}))
        (out / "run.json").write_text(json.dumps({**about, "notebooks": []}))
        record.record(out)
        yield root


@pytest.fixture
def copy(tree, tmp_path, monkeypatch):
    """A copy of that tree, to be spoiled."""
    for name in ("weights", "figures"):
        shutil.copytree(tree / name, tmp_path / name)
    monkeypatch.setattr(settings, "WEIGHTS", tmp_path / "weights")
    monkeypatch.setattr(settings, "FIGURES", tmp_path / "figures")
    monkeypatch.setattr(shipped, "_LOADED", {})
    return tmp_path


@pytest.mark.deep
def test_a_run_is_recorded_whole(tree):
    assert (tree / "figures" / "resnet20" / "one.png").read_bytes() == b"a picture"
    results = pipeline.recorded_results()
    assert list(results["runs"]) == ["resnet20"]
    assert "ResNet-20" in (tree / "README.md").read_text()
    for part in ("ae", "fine_tuned"):
        card = classifiers.card_of(classifiers.shipped("patches10", f"resnet20_{part}"))
        assert card["profile"] == "smoke" and card["history"]


@pytest.mark.deep
def test_what_is_recorded_holds(tree, capsys):
    findings = verify.verify("resnet20", images=24)
    others = len(pipeline.recorded_results()["records"]) - (12 + 12)
    assert len(findings) == 2 * (12 + 12) + others and all(f.holds for f in findings)
    assert any("first 24 images, 0 differ" in f.what for f in findings)
    assert main(["verify", "--images", "8"]) == 0
    assert "all recorded results hold" in capsys.readouterr().out


@pytest.mark.deep
def test_the_shipped_networks_are_those_that_were_trained(tree):
    trained, shipped = pipeline.start(**PARAMETERS), pipeline.start(**PARAMETERS, networks="shipped")
    for part in (pipeline.autoencoder, pipeline.fine_tuned):
        (one, history), (other, its_history) = part(trained), part(shipped)
        assert one is not other and history == its_history
        for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_a_number_that_is_off_by_a_point_is_found(copy, capsys):
    results = pipeline.recorded_results()
    cell = next(
        r
        for r in results["records"]
        if (r["threat"], r["stage"], r["defense"], r["input"]) == ("static", "fine_tuned", "ae", "pgd")
    )
    cell["accuracy"] += 0.01
    (copy / "figures" / "results.json").write_text(json.dumps(results))
    assert main(["verify", "--images", "8"]) == 1
    printed = capsys.readouterr().out
    assert [line for line in printed.splitlines() if line.startswith("FAIL")] == [
        line for line in printed.splitlines() if "static/fine_tuned/ae/pgd: number" in line
    ]
    assert "1 of the recorded results do not hold" in printed


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet20", "resnet20_ae", "resnet20_fine_tuned"])
def test_a_weight_file_with_a_wrong_byte_is_found(copy, capsys, name):
    file = copy / "weights" / "patches10" / f"{name}.h5"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert main(["verify", "--images", "8"]) == 2
    assert f"{name}.h5 is not the one its card describes" in capsys.readouterr().err


@pytest.mark.slow
def test_answers_that_the_networks_do_not_give_are_found(copy):
    file = copy / "figures" / "resnet20" / "answers.npz"
    with np.load(file) as stored:
        answers = {name: stored[name] for name in stored.files}
    spoiled = "static/initial/none/regular"
    answers[spoiled] = ~answers[spoiled]
    file.write_bytes(record.packed(answers))
    failed = {f.what.split(":")[0] for f in verify.verify("resnet20", images=24) if not f.holds}
    assert failed == {spoiled}


@pytest.mark.deep
@pytest.mark.parametrize("asked, found", [("", "trained"), ("shipped", "shipped")])
def test_a_full_report_of_some_notebooks_takes_what_is_shipped(copy, monkeypatch, asked, found):
    """A whole one makes it; notebooks that always train elsewhere (05) take it then, too."""
    monkeypatch.setitem(settings.PROFILES, "full", replace(TINY, name="full"))
    for part in pipeline.PARTS:
        card = copy / "weights" / "patches10" / f"resnet20_{part}.json"
        card.write_text(json.dumps({**json.loads(card.read_text()), "profile": "full"}))
    monkeypatch.setenv("COURSE_NETWORKS", asked)
    assert pipeline.start(**{**PARAMETERS, "profile": "full"}).networks == found
    assert pipeline.start(**PARAMETERS).networks == "trained"
    monkeypatch.setenv("COURSE_NETWORKS", "ship")
    with pytest.raises(CourseError, match="COURSE_NETWORKS is 'ship'; set it to shipped, or leave it out"):
        pipeline.start(**PARAMETERS, networks="auto")


@pytest.mark.slow
def test_a_whole_run_from_shipped_networks_is_recorded_and_trains_nothing(
    copy, tmp_path, monkeypatch, another_store
):
    monkeypatch.setitem(settings.PROFILES, "full", replace(TINY, name="full", n_validation=0))
    monkeypatch.setattr(settings, "ROOT", tmp_path)
    (tmp_path / "README.md").write_text("<!-- results -->\n<!-- /results -->\n")
    parameters, out = {**PARAMETERS, "profile": "full"}, tmp_path / "report"
    pipeline.ship(pipeline.start(**parameters))
    before = {f.name: f.read_bytes() for f in (tmp_path / "weights" / "patches10").iterdir()}
    another_store(tmp_path / "artifacts")
    for train in ("train_autoencoder", "fine_tune"):
        monkeypatch.setattr(training, train, lambda *_, **__: pytest.fail("it is shipped"))
    run = pipeline.start(**parameters, networks="shipped")
    records = pipeline.static_table(run) + pipeline.aware_table(run)
    about = {"parameters": parameters, "data": run.data.provenance}
    (out / "figures").mkdir(parents=True)
    (out / "results.json").write_text(json.dumps({**about, "records": records}))
    (out / "run.json").write_text(json.dumps({**about, "notebooks": [], "networks": "shipped"}))
    record.record(out)
    assert pipeline.recorded_results()["runs"]["resnet20"]["parameters"] == parameters
    assert {f.name: f.read_bytes() for f in (tmp_path / "weights" / "patches10").iterdir()} == before
    assert all(f.holds for f in verify.verify("resnet20", images=8))


@pytest.mark.deep
def test_networks_of_another_initial_classifier_are_refused(tree):
    with pytest.raises(CourseError, match="another initial classifier"):
        pipeline.autoencoder(pipeline.start(**{**PARAMETERS, "weights": "none"}, networks="shipped"))


@pytest.mark.deep
def test_a_report_that_is_not_of_this_tree_is_not_recorded(tree, tmp_path):
    shutil.copytree(tree / "report", tmp_path / "report")
    results = json.loads((tmp_path / "report" / "results.json").read_text())
    results["records"][0]["correct"] += 1
    (tmp_path / "report" / "results.json").write_text(json.dumps(results))
    with pytest.raises(CourseError, match="the report's number is not that of this tree's networks"):
        record.record(tmp_path / "report")


def files_in(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.deep
def test_a_report_that_is_refused_leaves_the_tree_as_it_was(tree, copy, monkeypatch):
    """Networks, answers and results belong together: replacing one of them makes the others false."""
    shutil.copytree(tree / "report", copy / "report")
    (copy / "README.md").write_text("<!-- results -->\n<!-- /results -->\n")
    monkeypatch.setattr(settings, "ROOT", copy)
    monkeypatch.setattr(contents, "NOTEBOOKS", copy / "source")
    for folder, code in (("source", "1 + 1"), ("report/notebooks", "1 + 2")):
        (copy / folder).mkdir()
        cell = nbformat.v4.new_code_cell(code, id="sum")
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), copy / folder / "01_sums.ipynb")
    results = json.loads((copy / "report" / "results.json").read_text())
    for file in ("resnet20_ae.json", "resnet20_fine_tuned.h5"):
        (copy / "weights" / "patches10" / file).write_bytes(b"what was there before")
    before = files_in(copy)
    with pytest.raises(CourseError, match="01_sums.ipynb: cell sum is not the one that ran in the report"):
        record.record(copy / "report")
    assert files_in(copy) == before
    results["records"][0]["correct"] += 1
    (copy / "report" / "results.json").write_text(json.dumps(results))
    before = files_in(copy)
    with pytest.raises(CourseError, match="the report's number is not that of this tree's networks"):
        record.record(copy / "report")
    assert files_in(copy) == before


@pytest.mark.deep
def test_a_report_of_other_weights_is_not_recorded(tree, tmp_path):
    shutil.copytree(tree / "report", tmp_path / "report")
    file = tmp_path / "report" / "results.json"
    found = json.loads(file.read_text())
    found["parameters"]["weights"] = "mine.h5"
    file.write_text(json.dumps(found))
    with pytest.raises(CourseError, match="the report is of other weights than the course's"):
        record.record(tmp_path / "report")


@pytest.mark.slow
def test_another_copy_of_the_same_images_is_verified_all_the_same(copy, capsys):
    """An archive and the batches unpacked from it have different checksums."""
    file = copy / "figures" / "results.json"
    file.write_text(file.read_text().replace(pipeline.start(**PARAMETERS).data.sha256, "0" * 64))
    assert all(finding.holds for finding in verify.verify("resnet20", images=8))
    assert "resnet20 was recorded on another copy of patches10" in capsys.readouterr().err
    results = json.loads(file.read_text())
    results["runs"]["resnet20"]["data"]["dataset"] = "CIFAR-10"
    file.write_text(json.dumps(results))
    with pytest.raises(CourseError, match="these are other images"):
        verify.verify("resnet20")


@pytest.mark.slow
@pytest.mark.parametrize("fields", [{"stage": "madry"}, {"defense": "ae:d2_c16"}])
def test_a_network_that_is_recorded_and_missing_is_found(copy, fields):
    file = copy / "figures" / "results.json"
    results = json.loads(file.read_text())
    results["records"].append({**results["records"][0], **fields, "threat": "adaptive", "steps": 7})
    file.write_text(json.dumps(results))
    for left in (copy / "weights").glob("**/resnet20_*"):
        if "madry" in left.name or "d2_c16" in left.name:
            left.unlink()
    failed = [finding.what for finding in verify.verify("resnet20", images=8) if not finding.holds]
    name = fields.get("stage") or "d2_c16"
    assert failed == [f"{name}: weights"]


@pytest.mark.deep
def test_other_data_than_the_reports_are_not_recorded(tree, tmp_path):
    shutil.copytree(tree / "report", tmp_path / "report")
    file = tmp_path / "report" / "results.json"
    found = json.loads(file.read_text())
    file.write_text(json.dumps(found | {"data": {"dataset": "CIFAR-10", "sha256": "0" * 64}}))
    with pytest.raises(CourseError, match="report is of CIFAR-10, but what is here now is patches10"):
        record.record(tmp_path / "report")


def test_what_was_recorded_of_other_networks_stays():
    def results(model, correct):
        return {"parameters": {"model": model}, "data": {}, "records": [{"model": model, "correct": correct}]}

    nothing = {"runs": {}, "records": []}
    three = nothing
    for model, correct in {"efficientnet_b0": 0, "sepreresnet56": 1, "resnet20": 2}.items():
        three = record.merged(three, results(model, correct))
    assert list(three["runs"]) == ["resnet20", "sepreresnet56", "efficientnet_b0"]  # the README's order
    again = record.merged(three, results("resnet20", 3))
    found = [(r["model"], r["correct"]) for r in again["records"]]
    assert found == [("resnet20", 3), ("sepreresnet56", 1), ("efficientnet_b0", 0)]


@pytest.mark.slow
def test_a_network_that_is_not_recorded_is_named(tree, capsys):
    assert main(["verify", "--model", "sepreresnet56"]) == 2
    assert "no run of sepreresnet56 is recorded; recorded are: resnet20" in capsys.readouterr().err


@pytest.fixture
def part(copy, monkeypatch):
    """A report of one notebook with one measurement of its own and one that is recorded already."""
    parameters, data = (
        pipeline.recorded_results()["runs"]["resnet20"][key] for key in ("parameters", "data")
    )
    recorded = pipeline.recorded_results()["records"]
    again = {**recorded[0], "n": 2, "correct": 1, "accuracy": 0.5}
    own = {**recorded[0], "stage": "single_step", "correct": 0}
    folder = copy / "report"
    (folder / "figures").mkdir(parents=True)
    (folder / "figures" / "two.png").write_bytes(b"another picture")
    (folder / "notebooks").mkdir()
    results = {"parameters": parameters, "data": data, "records": [again, own]}
    (folder / "results.json").write_text(json.dumps(results))
    about = {
        "parameters": parameters,
        "data": data,
        "only": ["07_b"],
        "started": "now",
        "minutes": 2,
        "resumed": False,
        "weights": [],
        "environment": {},
    }
    (folder / "run.json").write_text(
        json.dumps({**about, "notebooks": [{"notebook": "07_b", "error": None}]})
    )
    (copy / "README.md").write_text("<!-- results -->\n<!-- /results -->\n")
    monkeypatch.setattr(settings, "ROOT", copy)
    return folder, recorded, again, own


@pytest.mark.deep
def test_a_report_of_some_notebooks_is_added(part, copy):
    folder, recorded, again, own = part
    weights = {file.name: file.read_bytes() for file in (copy / "weights" / "patches10").iterdir()}
    record.record(folder)
    records = pipeline.recorded_results()["records"]
    assert (
        len(records) == len(recorded) + 1
        and again in records
        and own in records
        and recorded[0] not in records
    )
    assert all(r in records for r in recorded[1:])
    about = json.loads((copy / "figures" / "resnet20" / "run.json").read_text())
    assert [run["notebook"] for run in about["notebooks"]] == ["07_b"]
    assert [(p["only"], p["resumed"]) for p in about["parts"]] == [(["07_b"], False)] and not about.get(
        "only"
    )
    assert {"one.png", "two.png"} <= {file.name for file in (copy / "figures" / "resnet20").iterdir()}
    assert weights == {file.name: file.read_bytes() for file in (copy / "weights" / "patches10").iterdir()}
    record.record(folder)  # once more: nothing doubles
    assert pipeline.recorded_results()["records"] == records
    assert len(json.loads((copy / "figures" / "resnet20" / "run.json").read_text())["parts"]) == 1


@pytest.mark.deep
def test_a_report_of_some_notebooks_needs_a_run_of_its_kind(part):
    folder, *_ = part
    found = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(
        json.dumps(found | {"parameters": found["parameters"] | {"seed": 1}})
    )
    with pytest.raises(CourseError, match="is of 07_b alone, and no run of resnet20 with its parameters"):
        record.record(folder)


@pytest.mark.slow
def test_a_network_is_recorded_notebook_by_notebook_beginning_with_the_table(part, tree, copy):
    later, _, _, own = part
    figures, first = copy / "figures", copy / "first"
    recorded = {name: (figures / "resnet20" / name).read_bytes() for name in ("answers.npz", "one.png")}
    shutil.rmtree(figures)
    with pytest.raises(CourseError, match="if nothing of resnet20 is recorded, begin with 05_results"):
        record.record(later)
    assert not figures.exists()
    shutil.copytree(tree / "report", first)
    begun = json.loads((first / "run.json").read_text())
    begun |= {"only": [record.BEGINS_WITH], "notebooks": [{"notebook": record.BEGINS_WITH, "error": None}]}
    (first / "run.json").write_text(json.dumps(begun))
    record.record(first)
    assert all(f.holds for f in verify.verify("resnet20", images=8))
    record.record(later)
    assert own in pipeline.recorded_results()["records"]
    about = json.loads((figures / "resnet20" / "run.json").read_text())
    assert about["only"] == ["05_results", "07_b"] == [run["notebook"] for run in about["notebooks"]]
    assert recorded["one.png"] == (figures / "resnet20" / "one.png").read_bytes()
    with (
        np.load(figures / "resnet20" / "answers.npz") as now,
        np.load(io.BytesIO(recorded["answers.npz"])) as before,
    ):
        assert sorted(now.files) == sorted(before.files)
        assert all(np.array_equal(now[name], before[name]) for name in now.files)


@pytest.mark.slow
def test_a_number_without_recorded_answers_is_held_to_its_count(copy):
    results = pipeline.recorded_results()
    results["records"].append({**results["records"][0], "stage": "of_no_network", "input": "worst_case"})
    (copy / "figures" / "results.json").write_text(json.dumps(results))
    assert all(f.holds for f in verify.verify("resnet20", images=4))
    results["records"][-1]["accuracy"] += 0.01
    (copy / "figures" / "results.json").write_text(json.dumps(results))
    failed = [f.what for f in verify.verify("resnet20", images=4) if not f.holds]
    assert len(failed) == 1 and "/of_no_network/none/worst_case, " in failed[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["madry", "d2_c2"])
def test_a_network_of_another_notebook_with_a_wrong_byte_is_found(copy, capsys, name):
    initial = copy / "weights" / "patches10" / "resnet20.h5"
    file = initial.parent / ("search" if name in ARCHITECTURES else "") / f"resnet20_{name}.h5"
    file.parent.mkdir(exist_ok=True)
    shutil.copy(initial, file)
    card = classifiers.card_of(initial)
    about = {"initial_sha256": card["weights_sha256"], "eps": settings.EPS}
    file.with_suffix(".json").write_text(json.dumps(card | about))
    results = pipeline.recorded_results()
    fields = {"defense": f"ae:{name}"} if name in ARCHITECTURES else {"stage": name}
    results["records"].append({**results["records"][0], **fields})
    (copy / "figures" / "results.json").write_text(json.dumps(results))
    found = verify.verify("resnet20", images=4)
    assert f"{name}: weights" in {f.what for f in found} and all(f.holds for f in found)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert main(["verify", "--images", "4"]) == 1
    failed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAIL")]
    assert len(failed) == 1 and f"resnet20_{name}.h5 is not the one its card describes" in failed[0]


def test_what_is_recorded_of_the_authors_networks_stays():
    before = {"runs": {}, "records": [], "author": {"records": [{"source": "author"}]}}
    found = {"parameters": PARAMETERS, "data": {}, "records": []}
    for results in (record.merged(before, found), record.with_records(before, found)):
        assert results["author"] == before["author"]
