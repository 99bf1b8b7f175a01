import sys
from importlib.metadata import packages_distributions
from pathlib import Path

DASHBOARD = Path(__file__).parents[2] / "dashboard"


def test_no_module_is_named_like_a_package_or_a_module_of_python():
    """`streamlit run dashboard/app.py` puts the folder first on the path."""
    taken = {
        *packages_distributions(),
        *sys.stdlib_module_names,
        "simulator",
        "models",
        "experiment",
        "dashboard",
    }
    stems = {path.stem for path in DASHBOARD.glob("*.py")} - {"__init__"}
    assert not stems & taken


def test_no_folder_is_called_pages():
    assert not (DASHBOARD / "pages").exists()
