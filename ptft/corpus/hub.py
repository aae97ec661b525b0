"""Data sets of the ``datasets`` library: folders that it saved, and names on the Hugging Face Hub."""

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptft.corpus.files import exists, near_name
from ptft.corpus.tables import Row, check_columns, checked_row
from ptft.errors import DataError
from ptft.family import nearest

# The library takes a second to import, so it is imported where it is needed.
if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

HELD_OUT = ("validation", "valid", "dev")
"""What data sets call the split that is held out."""
_ROWS_PER_BATCH = 1000


def is_saved(folder: Path) -> bool:
    """Whether a folder was written by ``save_to_disk``."""
    return any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))


def looks_like_name(text: str) -> bool:
    """Whether a text may name a data set on the Hub: ``name`` or ``user/name``, with ``:config`` behind it or not."""
    return re.fullmatch(r"\w[\w.-]*(/[\w.-]+)?(:[\w.-]+)?", text) is not None


def split_names(name: str) -> list[str]:
    """The splits of a saved folder or of a data set on the Hub; a folder that holds one data set has ``train``.

    Raises:
        DataError: The folder is damaged; or there is no such data set, or no network.
    """
    with _reached(name):
        import datasets

        if exists(name):
            saved = datasets.load_from_disk(name)
            return [str(split) for split in saved] if isinstance(saved, datasets.DatasetDict) else ["train"]
        path, _, config = name.partition(":")
        return [str(split) for split in datasets.get_dataset_split_names(path, config or None)]


def load(name: str, split: str, *, streaming: bool = False) -> "Dataset | IterableDataset":
    """Open one split of a saved folder or of a data set on the Hub.

    Args:
        name: The folder or data set.
        split: Its split.
        streaming: Fetch what is on the Hub as it is read, and store nothing of it.

    Raises:
        DataError: As for :func:`split_names`; or there is no such split.
    """
    known = split_names(name)
    if split not in known:
        raise DataError(f"data set {name!r} has no split {split!r}{nearest(split, known)}")
    with _reached(name):
        import datasets

        if exists(name):
            saved = datasets.load_from_disk(name)
            return saved[split] if isinstance(saved, datasets.DatasetDict) else saved
        path, _, config = name.partition(":")
        return datasets.load_dataset(path, config or None, split=split, streaming=streaming)


def version(name: str) -> str:
    """What names the present content of a data set on the Hub, without reading it.

    Raises:
        DataError: As for :func:`split_names`.
    """
    with _reached(name):
        import datasets

        path, _, config = name.partition(":")
        builder = datasets.load_dataset_builder(path, config or None)
        return str(builder.hash)  # the commit


def rows(
    dataset: "Dataset | IterableDataset", where: str, columns: Sequence[str], lists: Collection[str] = ()
) -> Iterator[Row]:
    """Yield the rows of a data set; a label that is a number with a name is given as its name, -1 as None.

    Args:
        dataset: One split.
        where: What messages call it.
        columns: Names of the wanted columns.
        lists: Those of them whose cells may be lists.

    Raises:
        DataError: A column is not there, or holds something else than text and numbers.
    """
    if dataset.features is None:  # a stream of files that do not tell: the first rows do
        dataset = dataset._resolve_features()
    check_columns(where, dataset.column_names, columns)
    number = 0
    for batch in dataset.select_columns(list(dict.fromkeys(columns))).iter(batch_size=_ROWS_PER_BATCH):
        named = {column: _named(dataset.features[column], values) for column, values in batch.items()}
        for values in zip(*named.values(), strict=True):
            number += 1
            yield checked_row(dict(zip(named, values, strict=True)), lists, f"{where} row {number}")


def _named(feature: Any, values: list[Any]) -> list[Any]:
    if hasattr(feature, "feature"):  # a list of what its own feature says
        return [items and _named(feature.feature, items) for items in values]
    names = getattr(feature, "names", None)
    if not names:
        return values
    return [names[value] if isinstance(value, int) and value >= 0 else None for value in values]


@contextmanager
def _reached(name: str) -> Iterator[None]:
    import datasets

    try:
        yield
    # The library tells a wrong name, a lack of network and a damaged folder by all of these.
    except (OSError, ValueError, KeyError, datasets.exceptions.DatasetsError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        if exists(name):
            raise DataError(f"{name}: the saved data set cannot be opened ({reason}); save it anew") from None
        raise DataError(
            f"{name!r} is neither a file or folder{near_name(Path(name))}, nor a data set that can be reached "
            f"({reason}); check the name, or the network"
        ) from None
