import pytest

from ptft.corpus.ngrams import ngram_hashes, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's GOOD -- isn't it?", ["it", "s", "good", "isn", "t", "it"]),
        ("Ｆｕｌｌ width, STRASSE Straße", ["full", "width", "strasse", "strasse"]),
        ("나는 학생입니다.", ["나는", "학생입니다"]),
        ("한글 ABC漢字かな", ["한글", "abc", "漢", "字", "か", "な"]),
        ("a_b 3.5", ["a", "b", "3", "5"]),
        ("-- ...", []),
    ],
)
def test_words(text, words):
    assert words_of(text) == words


def test_decomposed_hangul_is_the_same_word():
    assert words_of("\u1112\u1161\u11ab") == words_of("한")


def test_ngrams_have_one_hash_for_the_same_words_in_order():
    words = ["a", "b", "c", "a", "b", "d"]
    hashes = dict(ngram_hashes(words, 3))
    assert [len(hashes[n]) for n in (1, 2, 3)] == [6, 5, 4]
    assert hashes[2][0] == hashes[2][3]
    assert len(set(hashes[3].tolist())) == 4
    assert dict(ngram_hashes(["b", "a"], 2))[2][0] != hashes[2][0]


def test_no_longer_ngrams_than_words():
    assert [n for n, _ in ngram_hashes(["a", "b"], 5)] == [1, 2]
    assert list(ngram_hashes([], 5)) == []
