"""examples/text_classification.py: reading texts, and telling classes of made-up texts apart."""

from __future__ import annotations

import random

import numpy as np
import pytest
import text_classification as example
import torch


@pytest.fixture
def fortunes(tmp_path):
    """Three files of 120 texts: a phrase of the class's own among words that all classes share."""
    drawn = random.Random(0)
    shared = [f"word{number}" for number in range(60)]
    for name, phrase in (
        ("art", "oil on canvas"),
        ("law", "beyond all doubt"),
        ("sea", "ebb tide"),
    ):
        texts = []
        for _ in range(120):
            words = drawn.choices(shared, k=12)
            words.insert(drawn.randrange(12), phrase)
            texts.append(" ".join(words))
        (tmp_path / name).write_text("\n%\n".join(texts))
    (tmp_path / "short").write_text("too few\n%\ntexts")
    (tmp_path / "art.dat").write_bytes(b"an index")
    return tmp_path


def test_fortune_files_are_classes(fortunes):
    data = example.load_texts(fortunes)
    assert data.names == ["art", "law", "sea"]
    assert np.bincount(data.labels).tolist() == [120, 120, 120]
    assert "ebb tide" in data.texts[-1] and "%" not in "".join(data.texts)


def test_missing_texts_get_a_sentence(tmp_path):
    with pytest.raises(SystemExit, match=r"no\.zip is missing; `make out/texts/vaderSentiment"):
        example.load_texts(tmp_path / "no.zip")


def test_encoding_numbers_the_vocabulary_and_marks_what_is_unknown():
    bag = example.bag_of_words().fit(["so it is!", "so it was!", "Is it?"])
    tokens = example.encode(["It is so, is it?", ""], bag)
    number = {word: token + example.WORDS for word, token in bag.vocabulary_.items()}
    assert set(number) == {"so", "it", "is", "!"}
    wanted = [number["it"], number["is"], number["so"], 1, number["is"], number["it"], 1]
    assert tokens.shape == (2, example.LENGTH) and tokens[0, :7].tolist() == wanted
    assert tokens[0, 7:].count_nonzero() == 0 and tokens[1].count_nonzero() == 0


def test_both_classifiers_tell_made_up_texts_apart_and_filters_find_the_phrases(
    fortunes, tmp_path, capsys
):
    figures = example.main(tmp_path / "out", 8, texts=fortunes, folds=2)
    assert figures["texts"] == 360 and figures["largest class"] == pytest.approx(1 / 3)
    assert figures["bag of words, mean accuracy of 2 folds"] >= 0.95
    assert figures["text CNN, mean accuracy of 2 folds"] >= 0.95
    printed = capsys.readouterr().out
    for word in ("canvas", "doubt", "tide"):
        assert word in printed
    assert (tmp_path / "out/text_ngrams.png").exists()


def test_an_ngram_is_what_the_filter_saw():
    torch.manual_seed(0)
    texts = ["a b c d e f", "c d a"]
    bag = example.bag_of_words().fit([*texts, *texts])
    model = example.TextCNN(2, vocabulary=8, small=True).eval()
    tokens = example.encode(texts, bag)
    for found in example.exciting_ngrams(model, tokens, texts, bag):
        added = [value for _, value in found]
        assert added == sorted(added, reverse=True) and len(found) <= example.TOP
        assert all(any(ngram in text for text in texts) for ngram, _ in found)
