"""Every test runs with shapes and types checked at run time, and without progress bars."""

import os

import pytest

os.environ.setdefault("TQDM_DISABLE", "1")

from jaxtyping import install_import_hook  # noqa: E402

# Before the first import of unires: the hook rewrites modules as they load. The tower lets an int stand for a
# float, as everywhere in Python.
install_import_hook("unires", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")


@pytest.fixture(scope="session")
def pyiqa():
    """pyiqa on one thread; tests of it skip where it is not installed."""
    from unires.pyiqa_metrics import import_pyiqa

    pytest.importorskip("torch").set_num_threads(1)
    try:
        return import_pyiqa()
    except ImportError as missing:
        pytest.skip(str(missing))
