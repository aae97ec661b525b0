import pytest

from ptft.corpus.splitting import split_document, split_line

# A bar stands where a sentence ends.
CASES = [
    ("en", "He came.| She left!| What now?| Nothing..."),
    ("en", "Dr. J. R. Smith of Acme Inc. said so.| Mrs. Lee agreed."),
    ("en", "It cost $3.5 million in the U.S. market.| In the U.S.| The price fell at 5 p.m.| It rose again."),
    ("en", 'He said "Go."| Then he left (at last!).| "Why?" she asked.'),
    ("en", "1. First of all.| See No. 5 and fig. 2.| No.| And so... on it went... | Then it stopped."),
    ("en", "so you want milk? | no. | thank you."),  # text without capitals
    ("en", "You and I. | The end."),
    ("ko", "나는 갔다.| 그는 왔다!| 왜?| 몰라..."),
    ("ko", "안녕하세요| 저는 학생입니다| 오늘은 춥지요| 어디 가십니까| 집에 가죠| 네"),
    ("ko", "필요 없는 말은 하지 않는다 왔다 갔다 했습니다(정말).| 한다 해도 늦었다."),
    ("ko", "2020. 3. 5. 서울에서 만났다.| 그날(2020.3.5. 아침) 물가는 3.5% 올랐다.| 1. 첫째 항목이다."),
    ("ko", "끝났습니다.|그리고 시작했다."),
    ("zh", "他说：“好。”|他走了。|你呢？！|价格是3.5元。"),
    ("ja", "「行く。」と彼は言った。|雨が降る（多分。）ので。|本当！？|はい"),
    ("auto", "나는 학생입니다| 그는 아니다"),
    ("auto", "雨が降る。|寒い。"),
    ("auto", "你好。|再见。"),
    ("auto", "Mr. Kim left. | Die Tür ist zu. | Ärger gab es nicht."),
]


@pytest.mark.parametrize(("language", "marked"), CASES)
def test_where_sentences_end(language, marked):
    wanted = [part.strip() for part in marked.split("|")]
    joined = " ".join(marked.replace("|", "").split())
    assert split_line(joined, language) == wanted


def test_lines_are_split_one_by_one_and_none_leaves_them():
    document = ["One. Two.", "three", "Four."]
    assert split_document(document, "en") == ["One.", "Two.", "three", "Four."]
    assert split_document(document, "none") == document


@pytest.mark.parametrize("language", ["en", "ko", "zh", "ja"])
@pytest.mark.parametrize("text", ["「Well. 안녕하세요 3.5。e.g. x! ", "1. ", "e.g. "])
@pytest.mark.timeout(10)
def test_nothing_is_lost_and_a_long_line_takes_no_square_of_its_length(language, text):
    line = text * 20_000
    assert "".join(split_line(line, language)).replace(" ", "") == line.replace(" ", "")
