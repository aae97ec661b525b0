import numpy as np

from ptft.tokenization.sampling import Sample

DOCUMENTS = [[f"document {number}", "of two lines"] for number in range(2000)]
SIZE = sum(len("\n".join(document)) for document in DOCUMENTS)


def numbers(sample):
    return [int(line.split()[1]) for line in sample if line.startswith("document")]


def test_a_corpus_that_fits_is_taken_whole():
    sample = Sample(iter(DOCUMENTS), SIZE, 0)
    assert list(sample) == [line for document in DOCUMENTS for line in document] == list(sample)
    assert sample.is_all
    assert (sample.text_bytes, sample.all_documents) == (SIZE, 2000)


def test_a_sample_is_as_large_as_it_may_be_and_keeps_the_order():
    sample = Sample(iter(DOCUMENTS), SIZE // 10, 0)
    assert SIZE // 10 - 30 < sample.text_bytes <= SIZE // 10
    assert (sample.is_all, sample.all_bytes, sample.all_documents) == (False, SIZE, 2000)
    assert numbers(sample) == sorted(numbers(sample))
    assert len(numbers(sample)) == sample.num_documents
    assert list(sample)[1] == "of two lines"


def test_a_sample_is_drawn_evenly_over_the_corpus():
    counts = np.histogram(numbers(Sample(DOCUMENTS, SIZE // 4, 0)), bins=4, range=(0, 2000))[0]
    assert abs(counts - counts.mean()).max() < 4 * np.sqrt(125 * 0.75)


def test_a_smaller_sample_lies_in_a_larger_one_and_another_seed_draws_others():
    small, large, other = (
        set(numbers(Sample(DOCUMENTS, size, seed))) for size, seed in ((5000, 1), (20000, 1), (5000, 2))
    )
    assert small < large
    assert small != other
    assert small == set(numbers(Sample(DOCUMENTS, 5000, 1)))


def test_one_document_stays_however_long():
    sample = Sample([["a" * 100], ["b" * 100]], 10, 0)
    assert sample.num_documents == 1
    assert not sample.is_all
