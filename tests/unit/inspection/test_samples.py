"""The beginning of corpora, tasks and prompts."""

import pytest

from ptft.config import load
from ptft.errors import DataError, RecipeError
from ptft.inspection.samples import Head, head


def shown(*overrides):
    return head(load(Head, None, overrides))


def test_documents_of_a_file(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("\n\n".join(f"One {i}.\nTwo {i}." for i in range(6)))
    text = shown(f"corpus.path={path}", "corpus.valid_ratio=0", "n=2")
    assert text.startswith(f"{path} (0.0 MB); held out: 0.00% of the documents\n\ndocument 1, 2 sentences\n  One 0.\n")
    assert "document 2" in text
    assert "document 3" not in text


def test_a_long_document_is_cut(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("word " * 200 + "\n" + "Short.\n" * 29)
    lines = shown(f"corpus.path={path}", "corpus.valid_ratio=0").splitlines()
    assert lines[-1] == "  ... and 10 more sentences"
    assert max(map(len, lines)) == 402


def test_the_embedded_corpus_is_the_default():
    assert shown().startswith("the embedded corpus (prose); held out")


def test_rows_of_each_part_of_a_task():
    text = shown("corpus.path=polarity", "n=2")
    assert "labels: negative, positive; metric: accuracy" in text
    for part in ("train, 2,048 rows", "valid, 256 rows", "test set L, 500 rows", "test set H, 500 rows"):
        rows = text.split(part + "\n")[1].split("\n\n")[0].splitlines()
        assert len(rows) == 2
        assert all(row.startswith(("  negative: ", "  positive: ")) for row in rows)


def test_prompts_with_their_choices():
    text = shown("corpus.path=words_topic_H", "n=1", "k=2")
    prompt, context, choices = text.split("\n\n")[1].splitlines()
    assert prompt == "prompt 1"
    assert context.count(" ; ") == 2
    assert choices.startswith("choices: ' ")
    assert choices.count("(right)") == 1


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("corpus.path=polarity", "k=2"), "command line: k: has no effect on task 'polarity'; leave it out"),
        (("corpus.path=polarity", "corpus.text=a"), "command line: corpus.text: has no effect on task 'polarity'"),
        (("corpus.path=words_topic_H", "corpus.split=a"), "command line: corpus.split: has no effect on prompt task"),
        (("k=2",), "command line: k: has no effect on corpus 'embedded'"),
        (("corpus.path=polarty",), "'polarty': no such file, folder or task; did you mean 'polarity'?"),
    ],
)
def test_what_cannot_be_shown_is_refused(overrides, sentence):
    with pytest.raises(RecipeError) as refusal:
        shown(*overrides)
    assert str(refusal.value).startswith(sentence)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"x\.txt"):
        shown(f"corpus.path={tmp_path / 'x.txt'}")
