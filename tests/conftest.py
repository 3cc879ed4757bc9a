"""Every test runs with shapes and types checked at run time, and without progress bars."""

import os

os.environ.setdefault("TQDM_DISABLE", "1")

from jaxtyping import install_import_hook  # noqa: E402

# Before the first import of unires: the hook rewrites modules as they load. The tower lets an int stand for a
# float, as everywhere in Python.
install_import_hook("unires", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")
