import hashlib
import json
import os
import subprocess
import sys
import unicodedata

import pytest
from transformers import AutoTokenizer, BertConfig

from ptft.errors import CheckpointError, DataError, RecipeError
from ptft.tokenization import (
    TokenizerSettings,
    add_tokens,
    check_pair,
    load_tokenizer,
    tokenizer_folder,
    tokenizer_hash,
    train_tokenizer,
)

TEXT = [
    "The cat sat on the mat.",
    "A café in Zürich, naïve and déjà vu!",
    "한국어 문장은 글자를 나누지 않는다",
    "걷다 걸으며 걸었다",
    "it's 10:30 (approximately)",
] * 4
KINDS = ["wordpiece", "bpe", "unigram"]
GENERIC = "TokenizersBackend"  # takes tokenizer.json as it stands
# Settings by the stock class that keeps all of them.
VARIANTS = [
    ("BertTokenizer", {"kind": "wordpiece"}),
    ("BertTokenizer", {"kind": "wordpiece", "lowercase": False}),
    (GENERIC, {"kind": "wordpiece", "normalize": "nfkc"}),
    (GENERIC, {"kind": "wordpiece", "strip_accents": True}),
    ("GPT2Tokenizer", {"kind": "bpe", "prefix_space": True}),
    (GENERIC, {"kind": "bpe", "normalize": "nfc"}),
    (GENERIC, {"kind": "bpe", "specials": "encoder"}),
    (GENERIC, {"kind": "unigram"}),
    (GENERIC, {"kind": "unigram", "lowercase": False, "strip_accents": True, "normalize": "nfkc"}),
]


def trained(kind, texts=TEXT, model_max_length=32, vocab_size=400, **settings):
    settings = TokenizerSettings(kind=kind, vocab_size=vocab_size, **settings)
    return train_tokenizer(texts, settings, model_max_length=model_max_length)


def ids(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


# training

TRAIN = """
import sys
from ptft import rng
from ptft.tokenization import TokenizerSettings, train_tokenizer

stream = rng.Stream(0)
words = ["".join("abcdefgh한국어é"[stream.randint(0, 11)] for _ in range(stream.randint(1, 9))) for _ in range(2000)]
lines = [" ".join(words[start : start + 8]) for start in range(0, 2000, 8)]  # many pairs are equally frequent
for kind in ("wordpiece", "bpe", "unigram"):
    tokenizer = train_tokenizer(lines, TokenizerSettings(kind=kind, vocab_size=700), model_max_length=32)
    tokenizer.save_pretrained(f"{sys.argv[1]}/{kind}")
"""


def test_training_gives_the_same_bytes_in_every_process(tmp_path):
    digests = []
    for seed in ("1", "2"):
        folder, others = tmp_path / seed, {"PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": seed}
        subprocess.run([sys.executable, "-c", TRAIN, str(folder)], check=True, env=os.environ | others)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        assert {path.relative_to(folder).parts[0] for path in files} == set(KINDS)
        digests.append([(str(p.relative_to(folder)), hashlib.sha256(p.read_bytes()).hexdigest()) for p in files])
    assert digests[0] == digests[1]


@pytest.mark.parametrize("kind", KINDS)
def test_ids_have_no_gaps_and_the_size_is_kept(kind):
    tokenizer = trained(kind, vocab_size=300)
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))
    assert len(tokenizer) <= 300


def test_wordpiece_has_the_special_tokens_of_bert_and_no_other():
    tokenizer = trained("wordpiece")
    assert tokenizer.convert_ids_to_tokens(range(5)) == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert sorted(tokenizer.all_special_ids) == [0, 1, 2, 3, 4]


def test_wordpiece_learns_frequent_words_and_pieces():
    tokenizer = trained("wordpiece", ["walking talking walked talked"] * 50, vocab_size=64)
    assert {"##ing", "##ed"} & set(tokenizer.get_vocab())
    assert tokenizer.tokenize("walking") != list("walking")


def test_bpe_has_its_special_tokens_all_bytes_and_no_unknown():
    tokenizer = trained("bpe", ["plain text"], vocab_size=300)
    assert sorted(tokenizer.all_special_ids) == [0, 1]
    assert tokenizer.bos_token == tokenizer.eos_token == "<|endoftext|>" != tokenizer.pad_token
    for text in [*TEXT, "🙂 \x00 \u2028", "<|endoftext"]:
        assert tokenizer.decode(ids(tokenizer, text)) == text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("texts", [[], ["", " "]])
def test_texts_without_a_character_are_refused(kind, texts):
    with pytest.raises(DataError, match=r"^the texts for the tokenizer hold no .*; give a corpus with text$"):
        trained(kind, texts)


@pytest.mark.parametrize("kind", KINDS)
def test_texts_may_be_an_iterator(kind):
    assert trained(kind, iter(TEXT)).get_vocab() == trained(kind).get_vocab()


# text


@pytest.mark.parametrize("kind", KINDS)
def test_korean_is_not_taken_apart(kind):
    tokenizer = trained(kind, vocab_size=600)
    assert tokenizer.decode(ids(tokenizer, "걸었다")).strip() == "걸었다"
    assert tokenizer.unk_token_id not in ids(tokenizer, "한국어 걸었다 글자를")
    vocabulary = "".join(tokenizer.get_vocab())
    assert not any(0x1100 <= ord(letter) <= 0x11FF or 0x3130 <= ord(letter) <= 0x318F for letter in vocabulary)


def test_a_wordpiece_vocabulary_holds_syllables_and_accents():
    vocabulary = set(trained("wordpiece").get_vocab())
    assert {"한", "é", "ü"} <= vocabulary
    assert not vocabulary & {unicodedata.normalize("NFD", "é")[1], "cafe", "naive"}


@pytest.mark.parametrize("kind", ["wordpiece", "unigram"])
@pytest.mark.parametrize("lowercase", [True, False])
def test_lowercase(kind, lowercase):
    tokenizer = trained(kind, lowercase=lowercase)
    assert (ids(tokenizer, "THE Cat") == ids(tokenizer, "the cat")) == lowercase
    assert ids(tokenizer, "The cat") != ids(tokenizer, "the cat") or lowercase
    assert any(letter.isupper() for token in tokenizer.get_vocab() if token[0] != "[" for letter in token) != lowercase


@pytest.mark.parametrize("prefix_space", [True, False])
def test_prefix_space(prefix_space):
    tokenizer = trained("bpe", prefix_space=prefix_space)
    first, later = ids(tokenizer, "mat"), ids(tokenizer, "cat mat")
    assert (later[-len(first) :] == first) == prefix_space


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("normalize", "one", "other", "is_same"),
    [
        ("nfc", unicodedata.normalize("NFD", "걸었다 é"), "걸었다 é", True),
        ("nfc", "１０", "10", False),
        ("nfkc", "１０ ﬁ", "10 fi", True),
        ("none", unicodedata.normalize("NFD", "걸었다"), "걸었다", False),
    ],
)
def test_normalize(kind, normalize, one, other, is_same):
    tokenizer = trained(kind, normalize=normalize)
    assert (ids(tokenizer, one) == ids(tokenizer, other)) == is_same


@pytest.mark.parametrize("kind", ["wordpiece", "unigram"])
def test_strip_accents_takes_no_hangul_apart(kind):
    tokenizer = trained(kind, strip_accents=True)
    assert ids(tokenizer, "café déjà") == ids(tokenizer, "cafe deja")
    assert tokenizer.decode(ids(tokenizer, "걸었다")).strip() == "걸었다"


def test_a_masked_word_of_a_byte_level_encoder_hides_its_space():
    tokenizer = trained("bpe", specials="encoder")
    assert tokenizer.convert_ids_to_tokens(ids(tokenizer, "cat [MASK] mat")) == ["c", "at", "[MASK]", "Ġmat"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"kind": "wordpiece", "prefix_space": True}, "^prefix_space: has no effect on wordpiece, .*; leave it out"),
        ({"kind": "unigram", "prefix_space": True}, "^prefix_space: has no effect on unigram"),
        ({"kind": "bpe", "strip_accents": True}, "^strip_accents: a byte-level BPE keeps every character; leave it"),
        ({"kind": "unigram", "specials": "decoder"}, "^a unigram tokenizer cannot give back every text .*; give bpe"),
        ({"kind": "bpe", "vocab_size": 258}, "256 bytes and 2 special tokens .*; give at least 259, got 258"),
        ({"kind": "bpe", "specials": "encoder", "vocab_size": 261}, "5 special tokens .* at least 262, got 261"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, sentence):
    with pytest.raises(RecipeError, match=sentence):
        trained(**settings)


# folders


@pytest.fixture(params=VARIANTS, ids=lambda variant: "-".join(map(str, variant[1].values())))
def variant(request, tmp_path):
    tokenizer = trained(**request.param[1])
    tokenizer.save_pretrained(tmp_path / "model")
    return tokenizer, tmp_path / "model", request.param[0]


@pytest.fixture(params=KINDS)
def saved(request, tmp_path):
    tokenizer = trained(request.param)
    tokenizer.save_pretrained(tmp_path / "model")
    return tokenizer, tmp_path / "model"


def test_saved_it_opens_as_the_stock_class_and_does_the_same(variant):
    tokenizer, folder, name = variant
    again = AutoTokenizer.from_pretrained(folder)
    assert type(again) is type(tokenizer)
    assert type(again).__name__ == name
    assert again.model_max_length == 32
    pair = ("The cat sat", "걸었다 ﬁne CAFÉ on 10 mats")
    assert again(*pair).data == tokenizer(*pair).data
    assert again.get_vocab() == tokenizer.get_vocab()
    for name in ("pad", "unk", "cls", "sep", "mask", "bos", "eos"):
        assert getattr(again, f"{name}_token_id") == getattr(tokenizer, f"{name}_token_id")
    assert again.all_special_ids == tokenizer.all_special_ids


@pytest.mark.parametrize("kind", KINDS)
def test_a_pair_has_the_token_types_of_bert(kind):
    tokenizer = trained(kind, specials="encoder")
    encoded = tokenizer("the cat", "the mat")
    assert encoded["input_ids"][0] == tokenizer.cls_token_id
    ends = [index for index, token in enumerate(encoded["input_ids"]) if token == tokenizer.sep_token_id]
    assert len(ends) == 2 and ends[1] == len(encoded["input_ids"]) - 1
    assert encoded["token_type_ids"] == [0] * (ends[0] + 1) + [1] * (ends[1] - ends[0])


def test_load_tokenizer_opens_it(saved):
    tokenizer, folder = saved
    opened = load_tokenizer(folder)
    assert opened("the cat", "mat").data == tokenizer("the cat", "mat").data
    assert tokenizer_hash(opened) == tokenizer_hash(tokenizer)


def test_the_hash_is_of_what_decides_ids_only(saved):
    tokenizer, _ = saved
    before = tokenizer_hash(tokenizer)
    tokenizer(["the cat sat", "on"], padding=True, truncation=True, max_length=4)
    tokenizer.model_max_length = 8
    assert tokenizer_hash(tokenizer) == before
    assert len(before) == 64
    tokenizer.add_tokens(["newword"])
    assert tokenizer_hash(tokenizer) != before


def test_tokenizers_of_other_texts_or_settings_have_other_hashes():
    made = [trained("wordpiece"), trained("wordpiece", TEXT[:1]), trained("wordpiece", lowercase=False), trained("bpe")]
    assert len({tokenizer_hash(tokenizer) for tokenizer in made}) == 4


def test_padding_and_truncation_of_a_file_are_dropped(saved):
    tokenizer, folder = saved
    tokenizer.backend_tokenizer.enable_truncation(3)
    tokenizer.backend_tokenizer.enable_padding(length=50)
    tokenizer.save_pretrained(folder)
    backend = load_tokenizer(folder).backend_tokenizer
    assert len(backend.encode("the cat sat on the mat", add_special_tokens=False).ids) > 3
    assert len(backend.encode("the", add_special_tokens=False).ids) < 50


def test_a_run_folder_stands_for_its_tokenizer(saved):
    _, folder = saved
    assert tokenizer_folder(str(folder)) == str(folder)
    assert tokenizer_folder(str(folder.parent)) == str(folder)
    assert tokenizer_folder("somebody/model") == "somebody/model"
    folder.rename(folder.with_name("tokenizer"))
    assert tokenizer_folder(str(folder.parent)) == str(folder.with_name("tokenizer"))


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=f"^'{tmp_path}' holds no tokenizer that transformers can open"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("content", ["", '{"a": 1}', "[]", "cut", "unknown"])
def test_a_damaged_tokenizer_is_refused(saved, content):
    _, folder = saved
    path = folder / "tokenizer.json"
    whole = json.loads(path.read_text())
    whole["model"]["type"] = "XYZ"
    path.write_text({"cut": path.read_text()[:200], "unknown": json.dumps(whole)}.get(content, content))
    with pytest.raises(CheckpointError, match="holds no tokenizer that transformers can open"):
        load_tokenizer(folder)


def test_a_vocabulary_larger_than_the_models_is_refused():
    tokenizer = trained("wordpiece")
    size = len(tokenizer)
    check_pair(tokenizer, BertConfig(vocab_size=size))
    check_pair(tokenizer, BertConfig(vocab_size=size + 8))
    with pytest.raises(
        CheckpointError,
        match=f"^the tokenizer has {size} tokens but the model has embeddings for {size - 1}; use the tokenizer",
    ):
        check_pair(tokenizer, BertConfig(vocab_size=size - 1))


# added tokens


@pytest.mark.parametrize("kind", KINDS)
def test_added_tokens_stand_behind_the_own_ones(kind, tmp_path):
    tokenizer = trained(kind)
    own, size = tokenizer.get_vocab(), len(tokenizer)
    add_tokens(tokenizer, ["covid", "x y"], ["[USER]"])
    tokenizer.save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.get_vocab() == own | {"covid": size, "x y": size + 1, "[USER]": size + 2}
    assert [token for token in ids(again, "covid [USER]") if token >= size] == [size, size + 2]
    assert set(again.all_special_ids) == {*trained(kind).all_special_ids, size + 2}
    assert tokenizer_hash(again) == tokenizer_hash(tokenizer)


@pytest.mark.parametrize(
    ("ordinary", "special", "sentence"),
    [
        (["cat"], [], "added_tokens: 'cat' is in the vocabulary already; leave it out"),
        (["new", "new"], [], "added_tokens: 'new' is in the vocabulary already"),
        ([], ["[SEP]"], "added_special_tokens: '\\[SEP\\]' is in the vocabulary already"),
        ([" "], [], "added_tokens: ' ' is empty; leave it out"),
    ],
)
def test_tokens_that_cannot_be_added_are_refused(ordinary, special, sentence):
    with pytest.raises(RecipeError, match=f"^{sentence}"):
        add_tokens(trained("wordpiece"), ordinary, special)
