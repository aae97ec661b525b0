"""Models, tokenizers and questions that do not fit, as a user names them: one sentence, code 2, nothing written."""

import pytest

GO_ON = "pretrain corpus.path=good.txt length=32 out=new"
TUNE = "finetune data=good.csv length=32 out=new"
PROMPT = "prompt model=decoder data=good.csv k=0 out=new"
NO_CONFIG = (
    r" holds no model that transformers can open \(it has no config.json\); give the folder of a model, a run folder"
)
NO_WEIGHTS = (
    r" cannot be opened for \w+ \(.*no file named model.safetensors.*\); give a checkpoint whose weights are whole"
)
DAMAGED = r"'broken_weights' cannot be opened for \w+ \(.*\); give a checkpoint whose weights are whole"
OTHER_SHAPES = r"'other_shapes' has weights of other shapes than its config.json says \(.* and \d+ more\); take"
NO_DECODER = (
    r" is no causal language model \(bert\); kind=perplexity needs a decoder, pretrained with objective=causal_lm"
)

MODELS = [
    (f"{GO_ON} model=encodr", r"there is no folder 'encodr'; did you mean 'encoder'\?, and no model .* from the Hub"),
    (f"{GO_ON} model=runs/nothing", r"there is no folder 'runs/nothing', and no model of that name can be had"),
    (f"{GO_ON} model=photos", f"'photos'{NO_CONFIG}"),
    (f"{GO_ON} model=nothing", f"'nothing'{NO_CONFIG}"),
    (f"{GO_ON} model=good.txt", r"'good.txt' is a file; give the folder of a model"),
    (f"{GO_ON} model=broken_config", r"'broken_config' holds no model .*config.json' is not a valid JSON file"),
    (f"{GO_ON} model=no_weights", f"'no_weights'{NO_WEIGHTS}"),
    (f"{GO_ON} model=broken_weights", DAMAGED),
    (f"{GO_ON} model=other_shapes", OTHER_SHAPES),
    (f"{GO_ON} model=no_tokenizer", r"'no_tokenizer' holds no tokenizer .*\(it has no vocabulary\)"),
    (f"{GO_ON} model=larger_tokenizer", r"the tokenizer has 66 tokens but the model .* for 64; use"),
    (
        f"{GO_ON} model=encoder tokenizer=large_tokenizer",
        r"tokenizer: \d+ of its ids stand for other tokens .* 'encoder'",
    ),
    (f"{GO_ON} model=encoder added_tokens=zebra,[SEP]", r"added_tokens: '\[SEP\]' is in the vocabulary already; leave"),
    (f"{TUNE} model=encoder added_special_tokens=[SEP]", r"added_special_tokens: '\[SEP\]' is in the vocabulary al"),
    (
        f"{GO_ON} model=encoder tokenizer=other_tokenizer",
        r"tokenizer: \d+ of its ids stand for other tokens .* 'encoder'",
    ),
    (f"{GO_ON} model=encoder tokenizer=photos", r"'photos' holds no tokenizer that transformers can open"),
    (f"{GO_ON} model=encoder objective=causal_lm", r"'encoder' is an encoder \(bert\), but causal_lm trains a decoder"),
    (f"{GO_ON} model=decoder objective=masked_lm", r"'decoder' is a decoder \(gpt2\), but masked_lm trains an encoder"),
    (f"{GO_ON} model=classifier", r"'classifier' is a fine-tuned classifier, .*; give the checkpoint that it was"),
    (f"{GO_ON} model=encoder shape.hidden_size=8", r"shape: only a new model's shape can be changed; leave it out"),
    (f"{GO_ON} model=encoder vocab_size=300", r"vocab_size: is for a tokenizer trained here, but that of 'encoder' is"),
    (f"{GO_ON} model=encoder lowercase=false", r"lowercase: is for a tokenizer trained here, but that of 'encoder' is"),
    (
        f"{GO_ON} preset=bert-tiny tokenizer=encoder prefix_space=true",
        r"prefix_space: is for a tokenizer trained here, but that of 'encoder' is taken; leave it out",
    ),
    (
        f"{GO_ON} model=encoder embedding_std=0.1",
        r"embedding_std: is for new weights, but those of 'encoder' are taken over; leave it out, or give init=scratch",
    ),
    (f"{GO_ON} model=encoder position_init=sinusoidal", r"position_init: is for new weights, but those of 'encoder'"),
    (f"{GO_ON} model=encoder dropout=none", r"dropout=none: must be a number or 'model', got 'none'"),
    (f"{GO_ON} preset=bert-tiny tokenizer=decoder", r"the tokenizer of 'decoder' has no cls, sep, mask token"),
    (f"{GO_ON} preset=gpt2-tiny objective=causal_lm tokenizer=encoder", r"the tokenizer of 'encoder' has no eos token"),
    ("pretrain model=encoder corpus.path=good.txt length=100 out=new", r"length: 100 tokens are more than .* 64 pos"),
    (
        "finetune model=encoder data=good.csv length=100 out=new",
        r"length: 100 tokens are more than the model's 64 posi",
    ),
    (f"{TUNE} model=encodr", r"there is no folder 'encodr'; did you mean 'encoder'\?"),
    (f"{TUNE} model=photos", f"'photos'{NO_CONFIG}"),
    (f"{TUNE} model=no_weights", f"'no_weights'{NO_WEIGHTS}"),
    (f"{TUNE} model=broken_weights", DAMAGED),
    (f"{TUNE} model=other_shapes", OTHER_SHAPES),
    (f"{TUNE} model=larger_tokenizer", r"the tokenizer has 66 tokens but the model has embeddings for 64"),
    (f"{TUNE} model=encoder tokenizer=large_tokenizer", r"tokenizer: \d+ of its ids stand for other tokens"),
    (f"{TUNE} model=encoder tokenizer=other_tokenizer", r"tokenizer: \d+ of its ids stand for other tokens"),
    (f"{TUNE} model=decoder pooling=cls", r"pooling: a decoder's first token has seen nothing of the text; use last"),
    (TUNE, r"model: name the checkpoint to fine-tune; a preset needs init=scratch"),
    ("curve model=no_weights data=good.csv labels=8 length=32 out=new", f"'no_weights'{NO_WEIGHTS}"),
    ("curve data=good.csv labels=8 length=32 out=new", r"model: name the checkpoint to fine-tune"),
    ("prompt model=encoder data=good.txt kind=perplexity out=new", f"'encoder'{NO_DECODER}"),
    ("prompt model=encoder data=words_topic_L out=new", r"words_topic_L brings prompts for a decoder, and 'encoder'"),
    ("prompt model=classifier data=polarity out=new", r"'classifier' lacks weights of the masked_lm head"),
    ("prompt model=decoder_without_weights data=polarity out=new", f"'decoder_without_weights'{NO_WEIGHTS}"),
    ("prompt model=photos data=polarity out=new", f"'photos'{NO_CONFIG}"),
    (
        "predict model=encoder data=good.csv out=new.csv",
        r"'encoder' is no classifier; fine-tune it first: ptft finetune",
    ),
    ("predict model=decoder data=good.csv out=new.csv", r"'decoder' is no classifier; fine-tune it first"),
    ("predict model=photos data=good.csv out=new.csv", f"'photos'{NO_CONFIG}"),
    ("predict model=classifier data=good.csv out=new.csv precision=fp16", r"precision='fp16' needs a CUDA device"),
    ("predict model=classifier data=good.csv out=new.csv length=1000", r"length: 1000 tokens are more than .* 64 pos"),
    ("check predict model=encoder data=good.csv out=new.csv", r"'encoder' is no classifier; fine-tune it first"),
    ("compare tokenizers=encoder,photos", r"'photos' holds no tokenizer that transformers can open"),
    (
        "compare corpus.path=good.txt",
        r"tokenizers: name at least one, a folder or Hub name; or name two runs",
    ),
    ("eval corpus.path=good.txt", r"model: is required; give model=..., or name a recipe that sets it"),
    ("eval model=nothing corpus.path=good.txt", f"'nothing'{NO_CONFIG}"),
    ("eval model=no_weights corpus.path=good.txt", f"'no_weights'{NO_WEIGHTS}"),
    (
        "eval model=classifier corpus.path=good.txt",
        r"'classifier' was fine-tuned, so that it is measured on labelled rows; give data=TABLE",
    ),
    (
        "eval model=encoder corpus.path=good.txt objective=next_sentence",
        r"'encoder' lacks weights of the pretraining head",
    ),
    (
        "eval model=encoder corpus.path=good.txt objective=causal_lm",
        r"causal_lm measures decoders, and 'encoder' \(bert\)",
    ),
    (
        "eval model=decoder corpus.path=good.txt objective=masked_lm",
        r"masked_lm measures encoders, and 'decoder' \(gpt2\)",
    ),
    (
        "eval model=encoder corpus.path=good.txt length=1000",
        r"length: 1000 tokens are more than the model's 64 positions",
    ),
    ("eval model=encoder data=good.csv", r"'encoder' is no classifier; fine-tune it first: ptft finetune"),
    ("eval model=encoder corpus.path=good.txt out=x.json", r"out has no effect here: .* give data=TABLE, or leave out"),
    (
        "eval model=classifier data=good.csv corpus.path=good.txt",
        r"corpus has no effect here: it is for measuring a pre",
    ),
    ("eval model=classifier data=good.csv out=good.txt", r"out: 'good.txt' exists already; name another file"),
    ("eval model=classifier data=good.csv length=1000", r"length: 1000 tokens are more than the model's 64 positions"),
    (
        "eval model=classifier data=unseen.csv",
        r"unseen.csv:3: the model does not know the label 'posi'; its labels are 'neg', 'pos'; write the table's as",
    ),
    ("eval model=classifier data=god.csv", r"there is no file 'god.csv'; did you mean 'good.csv'\?"),
    ("eval model=classifier data=good.csv label=lable", r"no column 'lable'; did you mean 'label'\?.*label=COLUMN"),
    ("eval model=classifier data=no_labels.csv", r"no_labels.csv: no row has both a text and a label"),
    ("eval model=classifier data=polarity", r"does not know the labels 'negative', 'positive'; its labels are 'neg'"),
    (
        "eval model=classifier data=polarity text=x",
        r"text is 'x' but has no effect: task 'polarity' has rows of its own",
    ),
    ("check eval model=classifier data=unseen.csv", r"the model does not know the label 'posi'"),
    ("export model=photos out=new", r"'photos' holds no tokenizer that transformers can open"),
    ("export model=encodr out=new", r"there is no folder 'encodr'; did you mean 'encoder'\?"),
    ("export model=no_weights out=new.onnx", f"'no_weights'{NO_WEIGHTS}"),
    ("export model=broken_weights out=new.onnx", DAMAGED),
    ("export model=encoder out=new output=hidden", r"output=hidden: must be one of logits, last_hidden_state, got"),
    ("generate model=encoder text=the", r"is an encoder: it reads what follows a token; prompting needs a decoder"),
    ("generate model=classifier text=the", r"'classifier' lacks weights of the causal_lm head"),
    ("generate model=photos text=the", f"'photos'{NO_CONFIG}"),
    ("generate model=decoder max_new_tokens=0", r"max_new_tokens=0: must be at least 1, got 0"),
    ("generate model=decoder temperature=-1", r"temperature=-1: must be at least 0, got -1"),
    ("generate model=decoder tempature=1", r"tempature=1: unknown key; did you mean 'temperature'\?"),
    ("generate model=decoder top_p=2", r"top_p=2: must be at most 1, got 2"),
    (f"generate model=decoder text='{'the cat ' * 100}'", r"the prompt has \d+ tokens but the model has 64 positions"),
]

QUESTIONS = [
    ("prompt model=decoder out=new", r"data: is required; give data=..., or name a recipe that sets it"),
    (
        "prompt model=decoder data=good.csv k=-1 out=new",
        r"k is \[-1\]; give one or more different integers, each at le",
    ),
    ("prompt model=decoder data=good.csv k=abc out=new", r"k=abc: must be a whole number, got 'abc'"),
    ("prompt model=decoder data=good.csv k=1,1 out=new", r"k is \[1, 1\]; give one or more different integers"),
    (
        "prompt model=decoder data=words_topic_L k=100 out=new",
        r"words_topic_L: k is 100; allowed: 0 to 16 shots; ask for",
    ),
    ("prompt model=decoder data=words_topic_L template=X{text} out=new", r"template is 'X\{text\}' but has no effect"),
    (f"{PROMPT} seeds=0", r"seeds: must be a count of at least 1 .*, got 0"),
    (f"{PROMPT} limit=-1", r"limit=-1: must be at least 0, got -1"),
    (
        f"{PROMPT} template='Review: {{txt}} Mood:'",
        r"has an unknown field 'txt'; did you mean 'text'\? Known: text, te",
    ),
    (f"{PROMPT} template='Review: {{text_b}} Mood:'", r"uses \{text_b\} but no row of 'good' has a second text"),
    (f"{PROMPT} template=Mood:", r"the template 'Mood:' has no field, so every prompt would be the same; use \{text\}"),
    (f"{PROMPT} template='Review: {{text'", r"has a '\{' that belongs to no field at character 9; write '\{\{'"),
    (
        f"{PROMPT} words.pos=good words.neg=good",
        r"the labels 'pos' and 'neg' have the same word; give each label its own",
    ),
    (f"{PROMPT} words.pos=good", r"label words are given for pos but not for neg; give one for every label"),
    (f"{PROMPT} words.pos=a words.neg=b words.neutral=c", r"a label word is given for 'neutral', which is no label"),
    (
        f"{PROMPT} words.pos= words.neg=bad",
        r"the label word of 'pos' is empty; give a word that the model can continue",
    ),
]


@pytest.mark.parametrize(("line", "sentence"), MODELS)
def test_model_that_does_not_fit(refused, line, sentence):
    refused(line, sentence)


@pytest.mark.parametrize(("line", "sentence"), QUESTIONS)
def test_question_that_cannot_be_asked(refused, line, sentence):
    refused(line, sentence)
