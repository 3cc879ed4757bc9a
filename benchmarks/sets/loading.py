"""A set as a `datasets.Dataset`: columns name, lq and hq, images decoded when they are asked for."""

from pathlib import Path

from benchmarks.sets.layout import ImageSet, SetError, pairs, parquet_files


def _datasets():
    try:
        import datasets
    except ImportError as error:
        raise ImportError("reading sets as tables needs the datasets package: install unires[paper]") from error
    return datasets


def load(image_set: ImageSet, root: str | Path, decode: bool = True, cache: str | Path | None = None):
    """The set's rows, sorted by name where they come from image files.

    Columns: name (string), and of lq and hq (images) those that the set has. Parquet files in the folder go first:
    they hold the same columns, images as {bytes, path} or as bytes. decode=False leaves the images encoded.
    `cache` is where `datasets` keeps its copy of parquet files; None is its own place.

    Raises: SetError: no image of the set here, images without partner, or parquet files without these columns.
            ImportError: `datasets` is not installed; the message names the extra.
    Test:   test_sets.py::test_load_gives_the_pairs, test_load_reads_parquet, test_load_names_the_extra
    """
    datasets, root = _datasets(), Path(root)
    tables = parquet_files(image_set, root)
    if tables:
        rows_of(image_set, tables)
        columns = ["name", *image_set.sides]
        paths = [str(path) for path in tables]
        rows = datasets.Dataset.from_parquet(paths, columns=columns, cache_dir=None if cache is None else str(cache))
    else:
        found = pairs(image_set, root)
        columns = {"name": [name for name, _, _ in found]}
        for side, place in (("lq", 1), ("hq", 2)):
            if side in image_set.sides:
                columns[side] = [str(pair[place]) for pair in found]
        rows = datasets.Dataset.from_dict(columns)
    for side in image_set.sides:
        rows = rows.cast_column(side, datasets.Image(decode=decode))
    return rows


def rows_of(image_set: ImageSet, tables: list[Path]) -> int:
    """How many rows a set's parquet files hold.

    Raises: SetError: a file that is no parquet or lacks a column. ImportError: as `load`.
    Test:   test_sets.py::test_load_reads_parquet
    """
    _datasets()  # which brings pyarrow
    import pyarrow
    import pyarrow.parquet

    rows = 0
    for path in tables:
        try:
            with pyarrow.parquet.ParquetFile(path) as table:
                lost = {"name", *image_set.sides} - set(table.schema_arrow.names)
                rows += table.metadata.num_rows
        except (pyarrow.ArrowException, OSError) as error:
            raise SetError(f"{path.name}: no parquet file ({error}); copy it again.") from error
        if lost:
            raise SetError(f"{path.name}: no column {', '.join(sorted(lost))}; rename its columns to name, lq, hq.")
    return rows
