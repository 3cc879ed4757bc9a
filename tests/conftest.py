"""Every test runs with shapes and types checked at run time, and without progress bars."""

import os
import tempfile

import pytest

os.environ.setdefault("TQDM_DISABLE", "1")
# Tests compile more than they compute: XLA need not make the programs fast. Processes that a test starts inherit it.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"

from jaxtyping import install_import_hook  # noqa: E402

# Before the first import of unires: the hook rewrites modules as they load. The tower lets an int stand for a
# float, as everywhere in Python.
install_import_hook("unires", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

LONG = ("test_mesh", "test_train")


def pytest_configure(config):
    """What one test compiles, the others load: all workers, and the processes that tests start, share a folder."""
    if not hasattr(config, "workerinput"):  # workers inherit the environment
        folder = tempfile.TemporaryDirectory(prefix="unires-compiled-")
        config.add_cleanup(folder.cleanup)
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder.name
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"


def pytest_collection_modifyitems(items):
    """The longest files first, so that no worker is left alone with them at the end."""
    items.sort(key=lambda item: item.path.stem not in LONG)


@pytest.fixture(scope="session")
def pyiqa():
    """pyiqa on one thread; tests of it skip where it is not installed."""
    from unires.pyiqa_metrics import import_pyiqa

    pytest.importorskip("torch").set_num_threads(1)
    try:
        return import_pyiqa()
    except ImportError as missing:
        pytest.skip(str(missing))


@pytest.fixture
def evaluation(tmp_path, monkeypatch):
    """A smoke run whose model mixes the photo with grey, by the weights."""
    import numpy as np

    from benchmarks.evaluate import Evaluation, Restored
    from unires.tasks import NAMES, weights_vector

    held = Evaluation.start(tmp_path, "smoke", 0)

    def restore(item, weights):
        share = float(weights_vector(weights) @ np.linspace(0.1, 0.6, len(NAMES)))
        return Restored(np.clip(item.y + 0.3 * share * (0.5 - item.y), 0, 1).astype(np.float32), len(weights), 1.0)

    monkeypatch.setattr(held, "restore", restore)
    return held


@pytest.fixture(scope="session")
def forty_photos(tmp_path_factory):
    """A folder of photos of noise; the sha256 of some begins with a 0."""
    import numpy as np

    from unires.photo import write_photo

    place = tmp_path_factory.mktemp("photos")
    for i in range(40):
        write_photo(place / f"{i}.png", np.random.default_rng(i).random((64, 80, 3), np.float32))
    return place
