"""The tokenizer that a run trains on its own text."""

from ptft.corpus.sources import CorpusSettings
from ptft.display import Silent
from ptft.steps.step import Place
from ptft.steps.vocabulary import own_tokenizer
from ptft.tokenization import TokenizerSettings


def vocabulary(folder, text):
    settings = TokenizerSettings(kind="wordpiece", vocab_size=80)
    tokenizer = own_tokenizer(
        Place(folder, Silent()), CorpusSettings(path=str(text)), settings, model_max_length=32, seed=0
    )
    return tokenizer.get_vocab()


def test_it_is_kept_for_as_long_as_the_text_is_the_same(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(["one two three"] * 30))
    first = vocabulary(tmp_path, text)
    made = (tmp_path / "tokenizer" / "tokenizer.json").stat().st_mtime_ns
    assert vocabulary(tmp_path, text) == first
    assert (tmp_path / "tokenizer" / "tokenizer.json").stat().st_mtime_ns == made
    text.write_text("\n\n".join(["vier fuenf sechs"] * 30))
    second = vocabulary(tmp_path, text)
    assert second != first
    assert "f" in second
