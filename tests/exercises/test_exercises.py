"""The exercises: every check refuses plausible mistakes in words and accepts what is right; the notebooks agree."""

from __future__ import annotations

import inspect
import re

import nbformat
import numpy as np
import pytest
from exercise_answers import RIGHT, WRONG

from helpers import attacks, evaluation, exercises, report
from helpers.backend import tf
from helpers.cli.app import main
from helpers.evaluation import checklist
from helpers.exercises import CHECKS, breaking, repairing, searching, toys
from helpers.exercises.verdict import Wrong, ask
from helpers.maintain import exercise_notebooks
from helpers.settings import CourseError


def table(answers: dict) -> list:
    return [
        pytest.param(c, title, id=f"{c}-{title}") for c, by_title in answers.items() for title in by_title
    ]


# ---------------------------------------------------------------------------------------------------------- checks


@pytest.mark.parametrize(("check", "title"), table(WRONG))
def test_a_wrong_answer_is_refused_in_words(check, title):
    answers, word = WRONG[check][title]
    verdict = CHECKS[check](*answers)
    assert verdict.status == exercises.WRONG and not verdict.passed, verdict
    assert word in verdict.text, verdict


@pytest.mark.parametrize(("check", "title"), table(RIGHT))
def test_a_right_answer_is_accepted_however_it_is_written(check, title):
    verdict = CHECKS[check](*RIGHT[check][title])
    assert verdict.passed and verdict.status == exercises.RIGHT, verdict
    assert verdict.text


def unwritten(*_):
    raise NotImplementedError


@pytest.mark.parametrize("check", CHECKS)
def test_a_stub_is_not_done_yet(check):
    right = next(iter(RIGHT[check].values()))
    stubs = [..., None]
    if callable(right[-1]):
        stubs += [lambda *_: None, lambda *_: ..., unwritten]
    for stub in stubs:
        for answers in {len(right): [stub] * len(right), 1: [*right[:-1], stub]}.values():
            if callable(stub) and len(right) > 1:
                answers = [stub if callable(a) else a for a in right]
            verdict = CHECKS[check](*answers)
            assert verdict.status == exercises.NOT_DONE and not verdict.passed, verdict
            assert verdict.text.startswith(CHECKS[check].todo)


def test_every_check_has_wrong_and_right_answers():
    assert list(WRONG) == list(RIGHT) == list(CHECKS)
    assert {check: len(answers) for check, answers in WRONG.items() if len(answers) < 4} == {}
    assert all(len(answers) >= 3 for answers in RIGHT.values())


def test_checks_say_what_they_accept():
    for name, check in CHECKS.items():
        assert inspect.getdoc(check.judge), name
        assert re.fullmatch(r"\d\d\.\d", check.exercise) and not check.todo.endswith(".")
    assert len({check.exercise for check in CHECKS.values()}) == len(CHECKS)


def test_a_check_leaves_the_random_state_alone():
    """Else a student's next cell would draw other numbers after a check than without it."""
    np.random.seed(3)
    tf.random.set_seed(3)
    expected = np.random.random(), float(tf.random.uniform([]))
    np.random.seed(3)
    tf.random.set_seed(3)
    for check in ("check_fgsm", "check_build", "check_evaluation", "check_min_max", "check_repair"):
        CHECKS[check](*next(iter(RIGHT[check].values())))
    assert np.random.random() == expected[0]
    tf.random.set_seed(3)
    assert float(tf.random.uniform([])) == expected[1]


# ------------------------------------------------------------------------------------ what notebook 03's checks rest on


def test_the_lists_of_codes_show_what_they_are_said_to_show():
    for name, diagnosis in searching.PATIENTS.items():
        counts = exercises.usage()[name]
        share = counts.max() / counts.sum()
        assert (diagnosis == "few") == (counts.sum() < 64), name
        assert (diagnosis == "dominated") == (counts.min() > 0 and share > 0.3), name
        assert (diagnosis == "collapsed") == ((counts > 0).mean() < 0.1), name


def test_the_luck_is_what_many_draws_give():
    measured = np.random.default_rng(0).binomial(200, 0.6, (20_000, 9)) / 200
    assert searching.expected_luck(9, 200, 0.6) == pytest.approx(measured.max(1).mean() - 0.6, rel=0.02)


# ------------------------------------------------------------------------------------ what notebook 06's checks rest on


def test_no_accuracy_gives_a_false_worst_case_away():
    """Else exercise 06.2 could be solved without looking at images."""
    for worst, correct in exercises.reports().values():
        assert worst.mean() <= min(left.mean() for left in correct.values())


def test_the_least_accuracy_is_what_the_best_images_leave():
    for case in breaking._cases()[:1]:
        kernel = case.model.layers[-1].get_weights()[0]
        for eps, least in zip(case.budgets, case.least, strict=True):
            stands = toys.answers(case.model, case.images) == case.labels
            for k in range(10):
                towards = (kernel[:, [k]] - kernel[:, case.labels]).T.reshape(case.images.shape)
                best = np.clip(case.images + eps * np.sign(towards), 0, 1)
                stands &= toys.answers(case.model, best) == case.labels
            assert stands.mean() == pytest.approx(least)


def test_the_rows_of_a_diagnosis_fail_for_it_and_not_for_another():
    failed = {
        name: set(checklist.failed_checks(table)["check"]) for name, table in exercises.checklists().items()
    }
    for name, diagnosis in breaking.PATIENTS.items():
        assert bool(failed[name]) == (diagnosis != "sound")
        for other, rows in breaking.ROWS.items():
            if other == diagnosis:
                assert set(rows) <= failed[name]
            elif diagnosis != "masked":  # where nothing else can work
                assert not set(rows) - {"Square"} & failed[name]


def test_the_dice_are_fair():
    """What accuracy() says of all moves is what many throws give."""
    dice = exercises.Dice()
    thrown = np.array([np.asarray(dice(dice.images)).argmax(1) == dice.labels for _ in range(50)])
    moved = attacks.random_signs(dice.images, 8 / 255, 0)
    again = np.array([np.asarray(dice(moved)).argmax(1) == dice.labels for _ in range(50)])
    assert thrown.mean() == pytest.approx(dice.accuracy(dice.images, dice.labels), abs=0.03)
    assert again.mean() == pytest.approx(dice.accuracy(moved, dice.labels), abs=0.05)
    assert again.std(0).max() > 0


# ------------------------------------------------------------------------------------ what notebook 07's checks rest on


def test_the_histories_show_what_they_are_said_to_show():
    for name, course in repairing.RAN.items():
        clean, pgd, training = (
            np.array([record[key] for record in exercises.histories()[name]])
            for key in ("clean", "pgd", "training_pgd")
        )
        assert (course == "weak_attack") == (clean - pgd < 0.06).all()
        assert (course == "no_attack") == (pgd < 0.05).all()
        assert (course == "catastrophic") == (pgd[-1] < pgd.max() / 2 and pgd.max() > 0.3)
        assert (course == "robust_overfitting") == (training[-1] - pgd[-1] > 0.2)
        assert (course == "unfinished") == (pgd[-3:].mean() - pgd[-8:-5].mean() > 0.02)
        if course in repairing.CHOOSABLE:
            assert np.sum(pgd == pgd.max()) == 1, "which epoch is best must be clear"


def test_the_claims_fall_and_stand_by_their_numbers():
    def difference(rows):
        records = [
            {"accuracy": k / n, **dict(zip(("ci_low", "ci_high"), evaluation.wilson(k, n), strict=True))}
            for *_, k, n in rows[-2:]
        ]
        return evaluation.difference(*records)

    for name, flaw in repairing.CLAIMED.items():
        _, low, high = difference(repairing.MEASURED[name])
        assert (low < 0 < high) == (flaw == "interval"), name
        assert len(exercises.claims()[name][1]) == len(repairing.MEASURED[name])


def test_the_pictures_have_a_best_answer():
    """The initial network falls to its own attacks; what an eye goes by withstands them all."""
    initial = exercises.assessed(exercises.initial_network())
    assert initial["clean"] > 0.97 and initial["static"] < 0.05 and initial["worst"] <= initial["static"]
    middle = RIGHT["check_repair"]["middle alone"][0](None, None, None, None)
    assert all(abs(found - repairing.SEEN) < 0.03 for found in exercises.assessed(middle).values())


def test_a_network_that_came_back_unchanged_is_not_done_yet():
    verdict = exercises.check_repair(lambda model, images, labels, eps: model)
    assert verdict.status == exercises.NOT_DONE and "handed in" in verdict.text


# ---------------------------------------------------------------------------------------------- how a check is called


def test_a_check_called_otherwise_says_how_to_call_it():
    for answers in ((), (12_585,), (1000, 12_585, 3)):
        verdict = exercises.check_needed(*answers)
        assert (
            verdict.status == exercises.WRONG and "call it as check_needed(predicted, needed)" in verdict.text
        )
    assert exercises.check_needed(needed=12_585, predicted=1000).passed


def test_answers_may_not_change_what_they_are_given():
    def in_place(images, more):
        more["rows"][0][0] = 7
        return images

    given = np.zeros(3), {"rows": [np.zeros(3)]}
    with pytest.raises(Wrong, match="in_place changes the arrays"):
        ask(in_place, *given, call="in_place(images, more)")
    assert given[1]["rows"][0][0] == 0
    assert (ask(lambda images, more: images + 1, *given, call="f(images, more)") == 1).all()


# --------------------------------------------------------------------------------------- what a student's code raises


def stopped(function) -> str:
    with pytest.raises(Wrong) as caught:
        ask(function, 1, call="f(x)")
    return str(caught.value)


def test_an_error_is_one_line_with_the_students_line():
    def outer(x):
        return inner(x)

    def inner(x):
        return x + np.zeros(3)[4]  # here

    text = stopped(outer)
    assert text.startswith("your f stopped with IndexError: index 4 is out of bounds")
    assert "return x + np.zeros(3)[4]  # here" in text and "\n" not in text


def test_an_error_inside_a_library_names_the_students_line_not_the_librarys():
    def f(x):
        return tf.reshape([1, 2, 3], [2, 2])  # here

    assert "# here)" in stopped(f)
    assert "# here)" in stopped(tf.function(f, autograph=False)) and "\n" not in stopped(tf.function(f))


def test_an_error_without_a_message():
    def f(x):
        raise KeyError

    assert "stopped with KeyError (line" in stopped(f)


def test_a_verdict_in_text_and_html():
    wrong = exercises.Verdict("01.2", exercises.WRONG, "a < b & c")
    assert repr(wrong) == "exercise 01.2: not right yet: a < b & c"
    assert "a &lt; b &amp; c" in wrong._repr_html_() and "not right yet" in wrong._repr_html_()


# ------------------------------------------------------------------------------------------------------- notebooks

SOLUTIONS = exercise_notebooks.solutions()


def read(path):
    return nbformat.read(path, as_version=4)


LATER: set[str] = set()
"""Notebooks whose exercises are to be written: notebooks/solutions/NN_*.ipynb, and checks in helpers.exercises."""


def test_every_numbered_notebook_has_exercises():
    course, solved = ({path.name for path in paths} for paths in (report.numbered(), SOLUTIONS))
    assert solved <= course and {name[:2] for name in course - solved} <= LATER
    assert not {name[:2] for name in solved} & LATER, "take it out of LATER"


def test_the_student_notebooks_are_what_the_solutions_give():
    assert exercise_notebooks.outdated() == [], "run 'make exercises'"
    assert exercise_notebooks.generate() == exercise_notebooks.generate()


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_a_solution_notebook_follows_the_template(path):
    notebook = read(path)
    number, found = path.name[:2], exercise_notebooks.exercises_in(notebook)
    assert notebook.cells[0].source.startswith(f"# {number} · Exercises")
    assert f"(../{path.name})" in notebook.cells[0].source
    assert (
        notebook.cells[1].metadata["tags"] == ["parameters"]
        and 'profile = "smoke"' in notebook.cells[1].source
    )
    assert 3 <= len(found) <= 6
    called = [exercise_notebooks.checks_of(cells) for cells in found.values()]
    expected = {
        int(check.exercise[3:]): name for name, check in CHECKS.items() if check.exercise[:2] == number
    }
    assert called == [[expected[k]] for k in found], "exercise k calls the check NN.k, once"
    for k, cells in found.items():
        heading = cells[0].source
        assert re.search(
            r"^\*\d+ minutes, (warm-up|moderate|harder|open)\. You will ", heading, re.MULTILINE
        ), heading
        minutes, kind = re.search(r"^\*(\d+) minutes, ([a-z-]+)\.", heading, re.MULTILINE).groups()
        assert re.search(rf"^\| {k} \| .+ \| {minutes} \| {kind} \|$", notebook.cells[0].source, re.MULTILINE)
    assert "warm-up" in found[1][0].source and "open" in found[len(found)][0].source
    assert any("rubric" in cell.source for cell in found[len(found)])
    assert not any(cell.outputs for cell in notebook.cells if cell.cell_type == "code")
    assert all(len(c.source.splitlines()) <= 24 for c in notebook.cells if c.cell_type == "code")


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_a_student_notebook_gives_nothing_away(path):
    student = read(exercise_notebooks.EXERCISES / path.name)
    text = "\n".join(cell.source for cell in student.cells)
    assert "SOLUTION" not in text and "What this shows" not in text
    ids = [cell.id for cell in read(path).cells]
    assert [cell.id for cell in student.cells] == [i for i in ids if i in {cell.id for cell in student.cells}]


SMALLER = """
import functools
from helpers import pipeline, settings
settings.PROFILES["smoke"] = settings.profile("smoke", n_train=32, n_validation=12, n_test=20)
pipeline.start = functools.cache(pipeline.start)
"""
"""What is run before all notebooks: fewer images than smoke has, and one run for all of them."""

SMALLER_STILL = """
def on_a_toy(real):
    import dataclasses
    from helpers import exercises
    return lambda *parameters, **options: dataclasses.replace(
        real(*parameters, **options), classifier=exercises.toys.network())

def clone(model, *precision):
    from helpers.backend import keras
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy

from helpers import classifiers, pipeline
from helpers.classifiers import fused
pipeline.start, classifiers.clone = on_a_toy(pipeline.start), clone
fused.fuse = lambda model, *precision: model
"""
"""What is run between the unsolved and the solved notebooks: from here on a toy stands in for the course's classifier,
since solutions attack it a dozen times, step by step."""


@pytest.fixture(scope="module")
def executed(artifacts_folder):
    """All notebooks, unsolved and solved, run in one kernel one after another (TensorFlow takes long to start), on
    patches10 and few images: cells by folder and file name."""
    from nbclient import NotebookClient

    code, parts = nbformat.v4.new_code_cell, {}
    for folder, before in (
        (exercise_notebooks.EXERCISES, SMALLER),
        (exercise_notebooks.SOLUTIONS, SMALLER_STILL),
    ):
        parts[folder.name, ""] = [code(before)]
        for path in SOLUTIONS:
            cells = [cell for cell in read(folder / path.name).cells if cell.cell_type == "code"]
            for cell in cells:
                cell.id = f"{folder.name}-{cell.id}"
                cell.source = cell.source.replace(".take(64)", ".take(12)").replace(".take(32)", ".take(20)")
            parts[folder.name, path.name] = [
                code("%reset -f"),
                cells[0],
                code('dataset = "patches10"'),
                *cells[1:],
            ]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    cells = [cell for part in parts.values() for cell in part]
    resources = {"metadata": {"path": str(exercise_notebooks.EXERCISES)}}
    everything = nbformat.v4.new_notebook(cells=cells, metadata=metadata)
    NotebookClient(everything, timeout=300, resources=resources, allow_errors=True).execute()
    return parts


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
@pytest.mark.parametrize(
    ("folder", "status"), [("exercises", exercises.NOT_DONE), ("solutions", exercises.RIGHT)]
)
def test_a_notebook_runs_to_its_end(executed, folder, status, path):
    outputs = [output for cell in executed[folder, path.name] for output in cell.outputs]
    for output in outputs:
        assert output.output_type != "error", f"{output.get('ename')}: {output.get('evalue')}"
        assert output.get("name") != "stderr", f"the notebook writes to stderr: {output['text'][:300]}"
    verdicts = [
        o["data"]["text/plain"] for o in outputs if "exercise " in o.get("data", {}).get("text/plain", "")
    ]
    number = path.name[:2]
    expected = [f"exercise {c.exercise}: {status}" for c in CHECKS.values() if c.exercise[:2] == number]
    assert [verdict[: len(e)] for verdict, e in zip(verdicts, expected, strict=True)] == expected, verdicts


def test_the_planted_mistakes_are_the_four_that_the_check_knows():
    """The function that students see, put to the check."""
    cells = read(exercise_notebooks.EXERCISES / "05_results.ipynb").cells
    source = next(cell.source for cell in cells if cell.source.startswith("def broken("))
    names = {"np": np, "tf": tf}
    exec(source[: source.index("\n\n\n")], names)
    assert "of the four mistakes 4 are" in exercises.check_evaluation(names["broken"]).text


# ------------------------------------------------------------------------------------------------------- generator


def notebook(*cells: tuple[str, str]) -> nbformat.NotebookNode:
    make = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell}
    made = [make[kind](source) for kind, source in cells]
    for k, cell in enumerate(made):
        cell.id = f"cell-{k}"
    return nbformat.v4.new_notebook(cells=made)


TASK = ("markdown", "## Exercise 1 · Add\n\nWrite `add`.")
CODE = ("code", "def add(a, b):\n    # BEGIN SOLUTION\n    return a + b\n    # END SOLUTION\n\n\nadd(1, 2)")
HINT = ("markdown", "<details><summary>Hint</summary>+</details>")
CALL = ("code", "check_add(add)")


def sources(student: bytes) -> list[str]:
    return [cell.source for cell in nbformat.reads(student.decode(), as_version=4).cells]


def test_solutions_become_stubs_and_outputs_go():
    given = notebook(TASK, CODE, HINT, CALL, ("code", "x = 3"))
    given.cells[-1].metadata["tags"] = ["solution"]
    given.cells[1].outputs, given.cells[1].execution_count = [nbformat.v4.new_output("stream", text="3")], 7
    student = exercise_notebooks.student_version(given, "01_add.ipynb")
    assert sources(student) == [TASK[1], "def add(a, b):\n    ...\n\n\nadd(1, 2)", HINT[1], CALL[1]]
    cell = nbformat.reads(student.decode(), as_version=4).cells[1]
    assert cell.outputs == [] and cell.execution_count is None and cell.id == "cell-1"
    assert student.endswith(b"}\n") and student == exercise_notebooks.student_version(given, "01_add.ipynb")


def test_a_stub_of_ones_own():
    source = "# BEGIN SOLUTION: x = ...  # metres\nx = 3\n# END SOLUTION\nprint(x)"
    assert exercise_notebooks.stub_of(source, "") == "x = ...  # metres\nprint(x)"


BAD_SOURCES = {
    "# BEGIN SOLUTION\nx = 3": "01, line 1: BEGIN SOLUTION has no END SOLUTION",
    "x = 3\n# END SOLUTION": "01, line 2: END SOLUTION without BEGIN SOLUTION",
    "# BEGIN SOLUTION\n# BEGIN SOLUTION": "01, line 2: BEGIN SOLUTION inside a solution that began in line 1",
    "x = 3  # BEGIN SOLUTION": "01, line 1: 'x = 3  # BEGIN SOLUTION' is no marker",
    "# BEGIN SOLUTIONS\n# END SOLUTION": "01, line 1: '# BEGIN SOLUTIONS' is no marker",
}


@pytest.mark.parametrize("source", BAD_SOURCES)
def test_bad_markers(source):
    with pytest.raises(CourseError) as caught:
        exercise_notebooks.stub_of(source, "01")
    assert BAD_SOURCES[source] in str(caught.value)


BAD_NOTEBOOKS = {
    "no check": ((TASK, CODE, HINT), "01.ipynb: exercise 1 has no check"),
    "no hint": ((TASK, CODE, CALL), "01.ipynb: exercise 1 has no hint in <details>"),
    "no stub": ((TASK, HINT, CALL), "01.ipynb: exercise 1 has no solution between markers"),
    "check elsewhere": (
        (TASK, CODE, HINT, ("markdown", "## Exercise 2 · More"), CODE, HINT, CALL),
        "01.ipynb: exercise 1 has no check",
    ),
    "numbered from 2": (
        (("markdown", "## Exercise 2 · Add"), CODE, HINT, CALL),
        "numbered [2]; number them from 1",
    ),
    "no exercises": ((CODE, HINT, CALL), "numbered []"),
    "unclosed": (
        (TASK, ("code", "# BEGIN SOLUTION"), HINT, CALL),
        "01.ipynb, cell 2, line 1: BEGIN SOLUTION has no",
    ),
}


@pytest.mark.parametrize("case", BAD_NOTEBOOKS)
def test_bad_notebooks(case):
    cells, message = BAD_NOTEBOOKS[case]
    with pytest.raises(CourseError) as caught:
        exercise_notebooks.student_version(notebook(*cells), "01.ipynb")
    assert message in str(caught.value)


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """A course of one solution notebook."""
    for name in ("SOLUTIONS", "EXERCISES"):
        monkeypatch.setattr(exercise_notebooks, name, tmp_path / name.lower())
        (tmp_path / name.lower()).mkdir()
    nbformat.write(notebook(TASK, CODE, HINT, CALL), tmp_path / "solutions" / "01_add.ipynb")
    return tmp_path


def test_the_command_writes_what_changed_and_finds_what_drifted(folders, capsys):
    assert main(["exercises", "--check"]) == 1
    assert "notebooks/exercises/01_add.ipynb is not what its solution gives" in capsys.readouterr().out
    assert not list((folders / "exercises").iterdir())
    (folders / "exercises" / "09_gone.ipynb").write_text("{}")
    assert main(["exercises"]) == 0
    assert "2 changed" in capsys.readouterr().out
    assert [path.name for path in (folders / "exercises").iterdir()] == ["01_add.ipynb"]
    assert main(["exercises", "--check"]) == 0 and main(["exercises"]) == 0
    assert "0 changed, 1 as they were" in capsys.readouterr().out


def test_solutions_that_cannot_be_read(folders, capsys):
    file = folders / "solutions" / "01_add.ipynb"
    file.write_text("{")
    assert main(["exercises"]) == 2
    assert "error: solutions/01_add.ipynb is not a notebook" in capsys.readouterr().err
    file.unlink()
    assert main(["exercises"]) == 2
    assert "error: notebooks/solutions/ holds no notebooks" in capsys.readouterr().err
