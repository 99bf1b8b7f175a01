"""Makes the run that stands for the present format of run folders: `python tests/formats/keep.py`.

Run it when `experiment.folder.manifest.FORMAT` has grown, and add the file; those of older formats stay as
they are.
"""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pyarrow.parquet as pq

from experiment.folder.manifest import FORMAT

HERE = Path(__file__).parent


def storelift(*arguments: object) -> None:
    """The command line, in silence."""
    command = [sys.executable, "-m", "experiment.cli", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """A run of small.toml with its truth and one explanation, packed."""
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch) / "run"
        storelift("run", "--config", HERE / "small.toml", "--seed", FORMAT - 1, "--out", run, "-q")
        storelift("truth", run, "-q")
        part = next((run / "log" / "arm=wide_deep" / "day=1").glob("*.parquet"))
        request = pq.read_table(part, columns=["request_id"], partitioning=None)[0][0].as_py()
        storelift("explain", run, "--request", request)
        with zipfile.ZipFile(HERE / f"format-{FORMAT}.zip", "w", compresslevel=9) as kept:
            for file in sorted(path for path in run.rglob("*") if path.is_file()):
                entry = zipfile.ZipInfo(file.relative_to(run).as_posix())
                entry.compress_type = zipfile.ZIP_DEFLATED
                kept.writestr(entry, file.read_bytes())


if __name__ == "__main__":
    main()
