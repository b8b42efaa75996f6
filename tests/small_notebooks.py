"""Small notebooks for the tests of the report, and a way to run them without starting a kernel."""

import os
import sys
from contextlib import contextmanager
from unittest.mock import patch

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

PARAMETERS = {
    "profile": "smoke",
    "dataset": "patches10",
    "model": "resnet20",
    "seed": 0,
    "weights": "course",
    "eps": 8 / 255,
}
PARAMETERS_CELL = (
    'profile = "quick"\ndataset = "auto"\nmodel = "resnet20"\nseed = 0\nweights = "course"\neps = 8 / 255'
)

GOOD = """
import matplotlib.pyplot as plt
import numpy as np
from helpers import classifiers, evaluation, plots

classifiers.card_of(classifiers.shipped("patches10", "resnet20"))
fields = dict(dataset="patches10", profile=profile, model=model, threat="static", eps=eps)
fields |= dict(steps=10, seed=seed)
evaluation.publish([
    evaluation.record(np.arange(10) < 7, stage=stage, defense=defense, input=kind, **fields)
    for stage in ("initial", "fine_tuned") for defense in ("none", "ae")
    for kind in ("regular", "fgsm", "pgd")
])
figure, axis = plt.subplots()
plots.show(figure, "An empty pair of axes, for a test of the report.", "empty", "smoke run")
"""
BAD = "from helpers.settings import CourseError\nraise CourseError('the kettle is empty; fill it')"


def write_notebook(
    folder, name, code, text="One formula, $\\frac{1}{n} \\sum_i x_i$, and `code $not math$`."
):
    """Write a notebook of a title, the parameters and one cell of code."""
    cells = [
        new_markdown_cell(f"# Title of {name}\n\n{text}"),
        new_code_cell(PARAMETERS_CELL, metadata={"tags": ["parameters"]}),
        new_code_cell(code),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata=kernel), folder / f"{name}.ipynb")


def execute_here(source, output, parameters, **_):
    """Do what papermill.execute_notebook does, in this process."""
    from IPython.utils.capture import capture_output
    from papermill.exceptions import PapermillExecutionError

    notebook = nbformat.read(source, as_version=4)
    text = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    injected = new_code_cell(f"# Parameters\n{text}", metadata={"tags": ["injected-parameters"]})
    after = next(i for i, c in enumerate(notebook.cells) if "parameters" in c.metadata.get("tags", []))
    notebook.cells.insert(after + 1, injected)
    with _shell() as shell:
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        for count, cell in enumerate(code, 1):
            with capture_output() as captured:
                result = shell.run_cell(cell.source)
            cell.execution_count = count
            cell.outputs = [
                new_output("display_data", one.data, metadata=one.metadata or {}) for one in captured.outputs
            ]
            if error := result.error_in_exec:
                name, message = type(error).__name__, str(error)
                cell.outputs.append(
                    new_output("error", ename=name, evalue=message, traceback=[cell.source, message])
                )
                nbformat.write(notebook, output)
                raise PapermillExecutionError(count - 1, count, cell.source, name, message, [message])
    nbformat.write(notebook, output)


class Here:
    """A stand-in for the report's worker: it runs the notebook in this process, at once."""

    def __init__(self, notebook, output, parameters, environment):
        from helpers.report import execution

        with patch.dict(os.environ, COURSE_FILES_LOG=environment["COURSE_FILES_LOG"]):
            self.seconds, self._run = 0.0, execution.attempt(notebook, output, parameters)

    def result(self):
        """Return what became of the notebook."""
        return self._run


def run_here(patch):
    """Let reports run their notebooks in this process, without kernels."""
    patch.setattr("papermill.execute_notebook", execute_here)
    patch.setattr("helpers.report.running.Worker", Here)


@contextmanager
def _shell():
    """An IPython shell, which catches what cells display; it leaves no history, and __main__ as it was."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    before = sys.modules["__main__"]
    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    try:
        yield shell
    finally:
        InteractiveShell.clear_instance()
        sys.modules["__main__"] = before
