import pytest

from ptft.tokenization import TokenizerSettings, train_tokenizer
from ptft.tokenization.quality import Quality, script_of

LINES = ["The cat sat.", "(Cats, 고양이) sat at 10:30 —  ☃"]


def trained(kind, texts=("the cat sat on the mat",), **settings):
    settings = TokenizerSettings(kind=kind, vocab_size=300, **settings)
    return train_tokenizer(list(texts) * 9, settings, model_max_length=32)


@pytest.mark.parametrize(
    ("word", "script"),
    [
        ("word", "Latin"), ("Ünder", "Latin"), ("(the", "Latin"), ("고양이는", "Hangul"), ("ᄀ", "Hangul"),
        ("漢字", "Han"), ("かな", "Kana"), ("カナ", "Kana"), ("слово", "Cyrillic"), ("2024년", "digits"),
        ("λόγος", "other"), ("--", "other"),
    ],
)  # fmt: skip
def test_script_of_a_word(word, script):
    assert script_of(word) == script


def test_figures_of_a_text():
    tokenizer = trained("wordpiece", ["aa bb"])
    found = Quality(tokenizer, ["aa bb", "aa ☃"]).figures()
    tokens = [token for text in ("aa bb", "aa ☃") for token in tokenizer.tokenize(text)]
    assert found["fertility"] == len(tokens) / 4
    assert found["bytes_per_token"] == len("aa bbaa ☃".encode()) / len(tokens)
    assert found["unknown_ratio"] == 1 / len(tokens)
    assert found["split_ratio"] == 0
    assert Quality(tokenizer, []).figures() == Quality(tokenizer, [""]).figures() == {}
    assert Quality(tokenizer, [""]).records("x") == []


def test_a_split_word_is_one_whose_letters_are_several_tokens():
    tokenizer = trained("wordpiece")
    assert tokenizer.tokenize("Cats, (sat) c-a") == ["cat", "##s", "[UNK]", "[UNK]", "sat", "[UNK]", "c", "[UNK]", "a"]
    quality = Quality(tokenizer, ["Cats, (sat) c-a sat"])
    (record,) = (record for record in quality.records("x") if record["script"] == "Latin")
    assert record["split_ratio"] == 2 / 4
    assert record["most_split"] == "c-a 3, Cats 2"
    assert (record["words"], record["fertility"], record["unknown_ratio"]) == (4, 10 / 4, 4 / 10)


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
def test_every_token_belongs_to_the_word_that_it_is_part_of(kind):
    tokenizer = trained(kind)
    quality = Quality(tokenizer, LINES)
    assert {script: sums.words for script, sums in quality.scripts.items()} == {
        "Latin": 6, "Hangul": 1, "digits": 1, "other": 2,
    }  # fmt: skip
    tokens = sum(len(tokenizer(line, add_special_tokens=False)["input_ids"]) for line in LINES)
    assert sum(sums.tokens for sums in quality.scripts.values()) == quality.total.tokens == tokens
    alone = {word: len(tokenizer(f" {word}", add_special_tokens=False)["input_ids"]) for word in ("고양이)", "10:30")}
    assert [quality.scripts[script].tokens for script in ("Hangul", "digits")] == list(alone.values())


def test_bpe_knows_everything():
    assert Quality(trained("bpe"), ["☃ <|endoftext|> 걸었다"]).figures()["unknown_ratio"] == 0


def test_records_are_of_all_words_and_of_each_script():
    records = Quality(trained("bpe"), LINES).records("mine")
    assert [record["script"] for record in records] == ["all", "Latin", "other", "Hangul", "digits"]
    assert {record["tokenizer"] for record in records} == {"mine"}
    assert records[0]["words"] == 10
