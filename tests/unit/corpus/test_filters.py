import pytest

from ptft.config import load
from ptft.corpus.filters import FILTERS
from ptft.corpus.sources import CorpusSettings
from ptft.errors import RecipeError

ENGLISH = ["The ship left the harbour at dawn, and nobody on the shore knew where it was bound.", "It never came back."]
KOREAN = [
    "그 배는 새벽에 항구를 떠났고 바닷가에 있던 사람들은 아무도 그 배가 어디로 가는지 몰랐다.",
    "배는 다시 돌아오지 않았으며 그 뒤로 소식을 들은 사람도 없었다.",
]


def keeps(name, document, **settings):
    return FILTERS[name](**settings).keeps(document)


@pytest.mark.parametrize("name", [name for name in FILTERS if name != "script"])
@pytest.mark.parametrize("document", [ENGLISH, KOREAN])
def test_a_usual_document_passes_every_filter(name, document):
    assert keeps(name, document)


@pytest.mark.parametrize(
    ("name", "document", "settings"),
    [
        ("words", ["Too short."], {}),
        ("words", ENGLISH, {"at_least": 0, "at_most": 5}),
        ("letters", ["a b c d e f g 1 2 3"], {}),
        ("letters", ["1 2 3 --"], {"at_least": 0.1}),
        ("word_length", ["a b c d e"], {}),
        ("word_length", ["https://example.org/a/b/c/d"], {}),
        ("repeated_lines", ["Home", "News", "Home", "News", "Sport"], {}),
        ("repeated_lines", ["a", "b", "c", "d", "e", "a long line", "a long line"], {}),
        ("script", KOREAN, {}),
        ("script", ENGLISH, {"script": "hangul"}),
        ("script", ["これは本です"], {"script": "han"}),
    ],
)
def test_what_a_filter_leaves_out(name, document, settings):
    assert not keeps(name, document, **settings)


@pytest.mark.parametrize(
    ("name", "document", "settings"),
    [
        ("letters", ["a b c d e f g h 1 2"], {}),
        ("repeated_lines", ["One.", "Two.", "Three.", "One.", "Four is a longer line."], {}),
        ("script", ["これは本です"], {"script": "japanese"}),
        ("script", ["약 text 문서입니다"], {"script": "hangul", "at_least": 0.6}),
        ("script", ["1 + 1 = 2"], {}),
    ],
)
def test_what_a_filter_keeps(name, document, settings):
    assert keeps(name, document, **settings)


def test_filters_are_named_in_a_list_and_set_in_a_recipe(tmp_path):
    assert [rule.name for rule in load(CorpusSettings, overrides=["filters=words,script"]).settings.filters] == [
        "words",
        "script",
    ]
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("filters: [{name: words, at_least: 3}, letters]")
    assert load(CorpusSettings, recipe).settings.filters[0].at_least == 3
    with pytest.raises(RecipeError, match="unknown filter 'wrods'; did you mean 'words'"):
        load(CorpusSettings, overrides=["filters=wrods"])
