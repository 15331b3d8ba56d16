"""The gallery: results as JSON, one page about all, figures in the docs that agree."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from pathlib import Path

import pytest
import typer

from cnnkern.gallery import write_result

ROOT = Path(__file__).parent.parent


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / f"tools/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


gallery, update_docs = load("gallery"), load("update_docs")

GOOD = """
import json, sys
from pathlib import Path
if __name__ == "__main__":
    result = {"title": "A <good> one", "command": "python good.py", "seconds": 1.5}
    result |= {"figures": {"right": 0.98765}, "pictures": ["good.png"]}
    Path(sys.argv[1], "good.json").write_text(json.dumps(result))
"""


def test_a_result_is_json_beside_its_pictures(tmp_path):
    path = write_result(tmp_path / "new", "a", "A", "python a.py", 1.234, {"x": 0.5}, ["a.png"])
    assert json.loads(path.read_text()) == {
        "title": "A",
        "command": "python a.py",
        "seconds": 1.2,
        "figures": {"x": 0.5},
        "pictures": ["a.png"],
    }
    assert [file.name for file in path.parent.iterdir()] == ["a.json"]


def test_gallery_runs_programs_and_shows_what_they_left(tmp_path, capsys):
    examples, out = tmp_path / "examples", tmp_path / "out"
    examples.mkdir()
    (examples / "good.py").write_text(GOOD)
    (examples / "module.py").write_text("raise SystemExit('not a program')")
    gallery.main(out, "", examples)
    page = (out / "index.html").read_text()
    for text in ("A &lt;good&gt; one", "<td>0.9877</td>", 'src="good.png"', "python good.py"):
        assert text in page
    (examples / "bad.py").write_text('if __name__ == "__main__":\n    raise SystemExit("trouble")')
    with pytest.raises(typer.Exit):
        gallery.main(out, "", examples)
    printed = capsys.readouterr().out
    assert "trouble" in printed and "bad" in printed and "good" in printed


def test_a_part_of_a_name_chooses_scripts():
    names = [script.stem for script in gallery.scripts(ROOT / "examples", "filters")]
    assert names == ["classic_filters"]


def test_figures_in_the_docs_are_the_recorded_ones():
    update_docs.main(["--check"])
    recorded = update_docs.DOCS / "gallery"
    for file in recorded.glob("*.json"):
        for picture in json.loads(file.read_text())["pictures"]:
            assert (recorded / picture).exists(), f"{file.name} names {picture}"


def test_a_changed_figure_in_the_docs_is_noticed_and_mended(tmp_path):
    docs, out = tmp_path / "docs", tmp_path / "out"
    docs.mkdir()
    write_result(out, "a", "A", "python a.py", 3, {"accuracy": 0.98}, ["a.png"])
    (out / "a.png").write_bytes(b"picture")
    page = docs / "page.md"
    page.write_text("# A\n\n<!-- figures: a -->\n\nMore.\n")
    update_docs.main([str(out)], docs)
    right = page.read_text()
    assert "| accuracy | 0.98 |\n\nMore." in right
    assert (docs / "gallery/a.png").read_bytes() == b"picture"
    update_docs.main(["--check"], docs)
    page.write_text(right.replace("0.98", "0.99"))
    with pytest.raises(SystemExit, match=r"docs/page\.md disagrees"):
        update_docs.main(["--check"], docs)
    update_docs.main([], docs)
    assert page.read_text() == right
    shutil.rmtree(docs / "gallery")
    with pytest.raises(SystemExit, match=r"a\.json is missing"):
        update_docs.main(["--check"], docs)


def test_pictures_in_the_docs_exist():
    for page in update_docs.DOCS.glob("*.md"):
        for link in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
