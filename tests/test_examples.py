"""The example notebooks run from first cell to last, outside of any site; `slurm.ipynb`: see test_dashboards.py."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"
NAMES = sorted(file.name for file in EXAMPLES.glob("*.ipynb"))


@pytest.mark.parametrize("name", ["aggregate.ipynb", "local.ipynb"])
def test_it_runs_and_shows_where_to_watch_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DASK_CONFIG", str(tmp_path / "dask"))
    monkeypatch.setenv("DASK_DISTRIBUTED__DASHBOARD__LINK", "/proxy/{port}/status")
    notebook = nbformat.read(EXAMPLES / name, as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [
        output.data.get("text/html", "")
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "data" in output
    ]
    assert [page for page in shown if page.startswith('Dask’s dashboard: <a href="/proxy/')]
    assert not list(tmp_path.glob("*.csv"))


@pytest.mark.parametrize("name", NAMES)
def test_it_is_kept_without_output(name: str) -> None:
    notebook = nbformat.read(EXAMPLES / name, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells
    assert [cell for cell in cells if cell.outputs or cell.execution_count] == []
