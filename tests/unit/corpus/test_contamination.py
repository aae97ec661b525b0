import pytest

from ptft.corpus.contamination import Contamination, evaluation_hash

LONG = "The quick brown fox jumps over the lazy dog while seven small mice watch quietly from behind the barn"
SHORT = "Nobody expected the committee to postpone its decision again."
KOREAN = "그는 새벽에 일어나 아무도 모르게 오래된 집을 떠났다고 한다."
CHINESE = "昔者庄周梦为胡蝶，栩栩然胡蝶也，自喻适志与！"


def found(text, *document):
    return Contamination({"task": [("row 1", text)]}).is_in(list(document), 1)


@pytest.mark.parametrize(
    ("text", "document"),
    [
        (LONG, [f"He said: {LONG}. So it goes."]),
        (
            LONG,
            [
                "It was a dog. BROWN fox jumps; over the lazy dog, while seven small MICE",
                "watch quietly! No one cared.",
            ],
        ),
        (SHORT, ["First.", f"We know that {SHORT.upper()} But why?"]),
        (KOREAN, ["제 말은", f"{KOREAN} 그리고 끝."]),
        (CHINESE, [CHINESE.replace("，", "")]),
    ],
)
def test_a_text_is_found_by_13_words_or_whole(text, document):
    assert found(text, *document)


@pytest.mark.parametrize(
    ("text", "document"),
    [
        (LONG, [" ".join(LONG.split()[:12])]),
        (LONG, [LONG.replace("lazy", "idle").replace("watch", "look")]),
        (SHORT, [SHORT.replace("again", "")]),
        (SHORT, ["Nobody expected the committee to postpone"]),
        ("I loved it.", ["I loved it."]),  # too short to tell
        ("", [""]),
        ("--", ["--", LONG]),
    ],
)
def test_less_is_not_found(text, document):
    assert not found(text, *document)


def test_the_report_tells_texts_documents_and_where():
    contamination = Contamination(
        {
            "one": [("a:1", LONG), ("a:2", "Too short."), ("a:3", "Not " + LONG), ("a:4", SHORT)],
            "two": [("b:1", KOREAN)],
        }
    )
    assert contamination.is_in(["Hm.", LONG], 7)
    assert contamination.is_in([LONG, LONG], 8)
    assert not contamination.is_in(["Another text altogether."], 9)
    report = contamination.report()
    assert report["documents"] == 2
    one, two = report["tasks"]["one"], report["tasks"]["two"]
    assert (one["texts"], one["too_short"], one["found"]) == (4, 1, 2)
    assert (two["texts"], two["too_short"], two["found"], two["examples"]) == (1, 0, 0, [])
    words = "the quick brown fox jumps over the lazy dog while seven small mice"
    assert one["examples"][0] == {"document": 7, "text": "a:1", "words": words}
    assert [(example["document"], example["text"]) for example in one["examples"]] == [
        (7, "a:1"), (7, "a:3"), (8, "a:1"), (8, "a:3"),
    ]  # fmt: skip


def test_the_report_stays_small():
    contamination = Contamination({"task": [("row", LONG)]})
    for number in range(200):
        contamination.is_in([LONG], number)
    assert len(contamination.report()["tasks"]["task"]["examples"]) == 100
    assert contamination.report()["documents"] == 200


def test_nothing_to_look_for():
    assert not Contamination({}).is_in([LONG], 1)
    assert not Contamination({"task": []}).is_in([LONG], 1)


def test_the_hash_follows_tasks_and_texts():
    hashes = {
        evaluation_hash(each) for each in ({"a": [("1", "x")]}, {"b": [("1", "x")]}, {"a": [("1", "y")]}, {"a": []}, {})
    }
    assert len(hashes) == 5
