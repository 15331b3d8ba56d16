"""Text files by class, as numbers of words.

Either one file a class, a text in each line (or between lines of ``%``, as fortune's files have
it), or one folder a class, a text in each file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from cnnkern.data.dataset import Dataset, held_out

UNKNOWN = 1  # the token of a word outside the vocabulary; 0 is padding
MOST_WORDS = 20_000 - 2
_SUFFIXES = ("", ".txt")


def encode(texts: Iterable[str], vocabulary: Sequence[str], length: int) -> Tensor:
    """(N, length) int64 tokens: longer texts are cut off, shorter ones filled up with 0.

    >>> encode(["The rose and the sick rose"], ["rose", "the"], 8).tolist()
    [[3, 2, 1, 3, 1, 2, 0, 0]]
    """
    from sklearn.feature_extraction.text import CountVectorizer

    words = CountVectorizer().build_analyzer()
    number = {word: token for token, word in enumerate(vocabulary, start=UNKNOWN + 1)}
    rows = []
    for text in texts:
        tokens = [number.get(word, UNKNOWN) for word in words(text)[:length]]
        rows.append(tokens + [0] * (length - len(tokens)))
    return torch.tensor(rows, dtype=torch.int64)


def load_texts(folder: str | Path, length: int = 64, seed: int = 0) -> Dataset:
    """All texts of a folder; the vocabulary is that of the training texts.

    Args:
        folder: files or folders named like the classes, as the module describes them.
        length: words a text.
        seed: draws the stratified fifth that is held out.

    Raises:
        ValueError: there are fewer than two classes, or a class has too few texts.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    folder = Path(folder)
    classes = {
        path.stem: texts
        for path in sorted(folder.iterdir())
        if path.is_dir() or path.suffix in _SUFFIXES
        if (texts := _texts(path))
    }
    if len(classes) < 2:
        raise ValueError(
            f"{folder}: no classes; expected a folder of pictures or texts for each class, "
            "or a text file for each class"
        )
    texts = [text for members in classes.values() for text in members]
    labels = torch.tensor([i for i, members in enumerate(classes.values()) for _ in members])
    train, test = held_out(folder, labels.tolist(), seed)
    vectorizer = CountVectorizer(max_features=MOST_WORDS).fit([texts[i] for i in train])
    vocabulary = tuple(sorted(vectorizer.vocabulary_))
    tokens = encode(texts, vocabulary, length)
    return Dataset(
        folder.resolve().name,
        tokens[train],
        labels[train],
        tokens[test],
        labels[test],
        mean=torch.empty(0),
        std=torch.empty(0),
        class_names=tuple(classes),
        vocabulary=vocabulary,
    )


def _texts(path: Path) -> list[str]:
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES)
        return [text for file in files if file.is_file() and (text := _decode(file).strip())]
    lines = _decode(path).splitlines()
    if "%" in lines:
        return [text for part in "\n".join(lines).split("\n%") if (text := part.strip())]
    return [line for line in lines if line.strip()]


def _decode(file: Path) -> str:
    content = file.read_bytes()
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")  # knows every byte
