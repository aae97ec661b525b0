"""Where words begin: thirty sentences under three kinds of tokenizers, beside what transformers does."""

import itertools

import numpy as np
import pytest
from tokenizers import Tokenizer, models
from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerFast

from ptft.tokenization import TokenizerSettings, train_tokenizer
from ptft.tokenization.words import starting_ids, word_starts

# The words of WordPiece, whose pre-tokenizer divides at spaces and punctuation; of byte-level BPE (GPT-2's pattern)
# and Unigram (at spaces) where they are others. In a script without spaces a word is a token, here a letter.
SENTENCES = [
    ("Hello|world|!", "", "Hello|world!"),
    ("It|'|s|a|test|,|isn|'|t|it|?", "It|'s|a|test|,|isn|'t|it|?", "It's|a|test,|isn't|it?"),
    ("Pi|is|3|.|14|.|.|.", "Pi|is|3|.|14|...", "Pi|is|3.14..."),
    ("well|-|known|facts", "", "well-known|facts"),
    ("naïve|cafés|in|Zürich", "", ""),
    ("Mr|.|Smith|(|42|)|left", "Mr|.|Smith|(|42|)|left", "Mr.|Smith|(42)|left"),
    ("안녕하세요|세상", "", ""),
    ("나는|학교에|갔다|.", "", "나는|학교에|갔다."),
    ("값은|3|,|000원입니다", "값은|3|,|000|원입니다", "값은|3,000원입니다"),
    ("한국어의|띄어쓰기는|어렵다|!", "", "한국어의|띄어쓰기는|어렵다!"),
    ("AI가|만든|그림", "", ""),
    ("그는|“|네|”|라고|했다", "그는|“|네|”|라고|했다", "그는|“네”라고|했다"),
    ("今|天|天|气|很|好|。", "", ""),
    ("我|喜|欢|Python|编|程", "", ""),
    ("他|在|2024|年|毕|业|。", "", ""),
    ("学|而|时|习|之|，|不|亦|说|乎|？", "", ""),
    ("中|国|和|美|国", "", ""),
    ("A|股|上|涨|3|%", "", "A|股|上|涨|3%"),
    ("こ|れ|は|ペ|ン|で|す|。", "", ""),
    ("東|京|タ|ワ|ー|に|行|っ|た", "", ""),
    ("私|はPython|が|好|き|で|す", "私|は|Python|が|好|き|で|す", "私|は|Python|が|好|き|で|す"),
    ("明|日|の|天|気|は|？", "", ""),
    ("カ|タ|カ|ナ|と|ひ|ら|が|な", "", ""),
    ("Привет|,|мир|!", "", "Привет,|мир!"),
    ("Он|сказал|:|да", "", "Он|сказал:|да"),
    ("ส|วั|ส|ดี|ค|รั|บ", "", ""),
    ("def|f|(|x|)|:", "def|f|(|x|):", "def|f(x):"),
    ("return|x|_|1|+|y", "", "return|x_1|+|y"),
    ("for|i|in|range|(|10|)|:", "for|i|in|range|(|10|):", "for|i|in|range(10):"),
    ("if|a|!|=|b|and|c", "if|a|!=|b|and|c", "if|a|!=|b|and|c"),
]
SPACED = [
    "Hello world!", "It's a test, isn't it?", "Pi is 3.14...", "well-known facts", "naïve cafés in Zürich",
    "Mr. Smith (42) left", "안녕하세요 세상", "나는 학교에 갔다.", "값은 3,000원입니다", "한국어의 띄어쓰기는 어렵다!",
    "AI가 만든 그림", "그는 “네”라고 했다", "今天天气很好。", "我喜欢Python编程", "他在2024年毕业。",
    "学而时习之，不亦说乎？",
    "中国和美国", "A股上涨3%", "これはペンです。", "東京タワーに行った", "私はPythonが好きです", "明日の天気は？",
    "カタカナとひらがな", "Привет, мир!", "Он сказал: да", "สวัสดีครับ", "def f(x):", "return x_1 + y",
    "for i in range(10):", "if a != b and c",
]  # fmt: skip
KINDS = ("wordpiece", "bpe", "unigram")


@pytest.fixture(scope="module")
def tokenizers():
    """Of letters alone, so that every word has as many tokens as letters or bytes."""
    letters = sorted({letter for text in SPACED for letter in text if not letter.isspace()})
    made = {}
    for kind, size in zip(KINDS, (2000, 262, 400), strict=True):
        settings = TokenizerSettings(kind=kind, vocab_size=size, specials="encoder", lowercase=False)
        made[kind] = train_tokenizer(letters * 2, settings, model_max_length=64)
    # Training keeps the frequent letters; here all are wanted, each with and without the sign for a word's beginning.
    pieces = [("[UNK]", -9.0), ("\u2581", -5.0), *((letter, -1.0) for letter in letters)]
    unigram = Tokenizer(models.Unigram(pieces, unk_id=0))
    unigram.normalizer = made["unigram"].backend_tokenizer.normalizer
    unigram.pre_tokenizer = made["unigram"].backend_tokenizer.pre_tokenizer
    made["unigram"] = PreTrainedTokenizerFast(tokenizer_object=unigram, unk_token="[UNK]")
    return made


def words_of(tokenizer, text):
    """The text cut where words begin, without the spaces between."""
    encoding = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
    by_id = starting_ids(tokenizer)
    starts = word_starts([encoding], [text]) if by_id is None else by_id[encoding.ids]
    assert tokenizer.unk_token_id not in encoding.ids
    return cut(text, [begin for (begin, _), is_start in zip(encoding.offsets, starts, strict=True) if is_start])


def cut(text, places):
    return "|".join(text[a:b].strip() for a, b in itertools.pairwise([*places, len(text)]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", range(30))
def test_words(tokenizers, kind, number):
    column = KINDS.index(kind)
    expected = SENTENCES[number][column] or SENTENCES[number][0]
    assert words_of(tokenizers[kind], SPACED[number]) == expected


def theirs(tokenizer, text):
    """The words of the collator of transformers, each as its number of tokens, and ours."""
    encoding = tokenizer(text, return_offsets_mapping=True, return_special_tokens_mask=True, add_special_tokens=False)
    offsets, special = (np.array([encoding[name]]) for name in ("offset_mapping", "special_tokens_mask"))
    ids, _ = DataCollatorForLanguageModeling._calc_word_ids_and_prob_mask(offsets, special)
    by_id = starting_ids(tokenizer)
    ours = word_starts(encoding.encodings, [text]) if by_id is None else by_id[encoding["input_ids"]]
    return [np.unique(number, return_counts=True)[1].tolist() for number in (ids[0], np.cumsum(ours))]


@pytest.mark.parametrize(
    ("kind", "text", "words", "letters"),
    [
        ("wordpiece", "Hello world!", [5, 6], [5, 5, 1]),  # punctuation belongs to the word before it
        ("wordpiece", "今天天气很好。", [7], [1] * 7),  # a Chinese sentence is one word
        ("bpe", "Hello world!", [12], [5, 6, 1]),  # a byte-level token holds the space before it: there is no gap
        ("bpe", "今天", [1, 1, 2, 1, 1], [3, 3]),  # bytes of a letter are words, and its last one joins the next letter
    ],
)
def test_what_the_collator_of_transformers_takes_for_words(tokenizers, kind, text, words, letters):
    assert theirs(tokenizers[kind], text) == [words, letters]


def test_how_many_sentences_differ_from_the_collator_of_transformers(tokenizers):
    differing = {kind: [t for t in SPACED if len(set(map(tuple, theirs(tokenizers[kind], t)))) > 1] for kind in KINDS}
    assert {kind: len(texts) for kind, texts in differing.items()} == {"wordpiece": 27, "bpe": 30, "unigram": 30}


def test_the_bytes_of_a_letter_stay_together(tokenizers):
    encoding = tokenizers["bpe"].backend_tokenizer.encode("气a", add_special_tokens=False)
    assert len(encoding.ids) == 4
    assert word_starts([encoding], ["气a"]).tolist() == [True, False, False, True]


def test_marks_do_not_divide_a_word():
    texts = ["नमस्ते दुनिया", "cafe\u0301 noir"]
    settings = TokenizerSettings(kind="bpe", vocab_size=262, specials="encoder")
    tokenizer = train_tokenizer([letter for text in texts for letter in text] * 2, settings, model_max_length=64)
    assert [words_of(tokenizer, text) for text in texts] == ["नमस्ते|दुनिया", "cafe\u0301|noir"]


@pytest.mark.parametrize("text", ["", "   "])
def test_nothing_has_no_words(tokenizers, text):
    for kind in ("bpe", "unigram"):
        encoding = tokenizers[kind].backend_tokenizer.encode(text, add_special_tokens=False)
        assert word_starts([encoding], [text]).sum() <= 1


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_texts_together_are_as_each_alone(tokenizers, kind):
    texts = ["", *SPACED, " ", SPACED[0]]
    encodings = tokenizers[kind].backend_tokenizer.encode_batch(texts, add_special_tokens=False)
    alone = [word_starts([encoding], [text]) for encoding, text in zip(encodings, texts, strict=True)]
    assert word_starts(encodings, texts).tolist() == np.concatenate(alone).tolist()
