"""What there is to choose from."""

import pytest

from ptft.corpus.embedded import NUM_DOCUMENTS
from ptft.corpus.sources import CorpusSettings, documents
from ptft.errors import RecipeError
from ptft.inspection.listing import FAMILIES, rows_of


@pytest.mark.parametrize("family", FAMILIES)
def test_every_member_has_a_line_and_a_file(family):
    rows = rows_of(family)
    assert rows
    for name, summary, path in rows:
        assert name
        assert summary
        assert "\n" not in summary
        assert path.is_file()


def test_the_corpora_are_all_and_can_be_read():
    names = [name for name, _, _ in rows_of("corpora")]
    assert len(names) == len({kind for kind, _ in NUM_DOCUMENTS})
    for name in names:
        assert next(documents(CorpusSettings(path=name), "train", 0))


def test_an_unknown_family_is_refused_with_the_nearest():
    with pytest.raises(RecipeError, match="unknown family 'objective'; did you mean 'objectives'"):
        rows_of("objective")
