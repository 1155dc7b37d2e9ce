"""What README, CONTRIBUTING and docs/ name is there, and what they quote is written so."""

import re
from importlib import import_module
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
PACKAGES = ("layers", "models", "analysis", "training")
FOLDERS = (*PACKAGES, "tests", "docs")
FILES = [*ROOT.glob("*.py"), *(file for name in FOLDERS for file in (ROOT / name).rglob("*.py"))]
SOURCES = {str(file.relative_to(ROOT)): file.read_text() for file in FILES}
WORDS = {*re.findall(r"\w+", " ".join(SOURCES.values())), *dir(torch), *dir(torch.nn)}
TO_BE_WRITTEN = {  # by a reader
    "my_layers.py", "my_file.py", "path/to/file.py", "path/to/my_file.py",
    "layers/kernels/triton/max_pool.py",
}  # fmt: skip

DOCUMENTS = ["README.md", "CONTRIBUTING.md", *(f"docs/{f.name}" for f in ROOT.glob("docs/*.md"))]
each_document = pytest.mark.parametrize("document", DOCUMENTS)


def text(document):
    return (ROOT / document).read_text()


def found(pattern, document):
    return {*re.findall(pattern, text(document))}


def named(file):
    """The sources that are meant by a path or the end of one."""
    return [path for path in SOURCES if f"/{path}".endswith(f"/{file}")]


@each_document
def test_files_and_folders_are_there(document):
    for file in found(r"(?<![\w./-])[\w/]+\.py\b", document) - TO_BE_WRITTEN:
        assert named(file) or "NAME" in file, file
    for path in found(rf"`((?:{'|'.join(FOLDERS)})/[\w./]*)`", document) - TO_BE_WRITTEN:
        assert (ROOT / path).exists() or named(path) or "NAME" in path, path
    for link in found(r"\]\((?!http)([^)#]+)", document):
        assert ((ROOT / document).parent / link).exists(), link


@pytest.mark.parametrize("source", [s for s in SOURCES if s.startswith(PACKAGES)])
def test_files_that_comments_name_are_there(source):
    for file in found(r"(?<![\w./-])[\w/]+\.py\b", source) - TO_BE_WRITTEN:
        assert named(file), file


@each_document
def test_dotted_names_can_be_imported(document):
    for name in found(rf"(?<![\w./-])(?:{'|'.join(PACKAGES)})(?:\.[A-Za-z_]\w*)+", document):
        first, *parts = name.split(".")
        thing = import_module(first)
        for part in parts:
            if not hasattr(thing, part):
                import_module(f"{thing.__name__}.{part}")
            thing = getattr(thing, part)


@each_document
def test_identifiers_are_somebody_s(document):
    """Functions, classes and tests are written somewhere in our files, or torch's."""
    for name in found(r"`(\w*[a-z_][A-Z_]\w*|[A-Z][a-z]\w+)`", document):
        assert name in WORDS, name


@each_document
def test_members_are_in_the_file_of_their_class(document):
    """As in `Geometry.taps`."""
    for kind, member in found(r"`([A-Z]\w*[a-z]\w*)\.(\w+)`", document):
        files = [s for s in SOURCES.values() if re.search(rf"^(class )?{kind}\b", s, re.MULTILINE)]
        assert any(re.search(rf"\b{member}\b", source) for source in files), f"{kind}.{member}"


@each_document
def test_identifiers_after_a_file_are_in_that_file(document):
    """As in `layers/conv.py` `conv2d`, `Conv2d`."""
    for file, names in found(r"`([\w/]+\.py)`((?:,? `\w+`)+)", document):
        for name in re.findall(r"\w+", names):
            assert any(re.search(rf"\b{name}\b", SOURCES[path]) for path in named(file)), name


def test_quoted_lines_are_in_their_files():
    quotations = found(r"\| `([\w/]+\.py)`, `\w+` \| `([^`]+)` \|", "README.md")
    assert len(quotations) >= 5
    for file, line in quotations:
        assert line in SOURCES[file]


@each_document
def test_quoted_python_is_in_a_file(document):
    """A block that imports nothing is no program of its own."""
    for code in found(r"(?s)```python\n(.*?)```", document):
        if "import" not in code:
            quotation = [line.strip() for line in code.splitlines()]
            assert any(is_part(quotation, source) for source in SOURCES.values()), code


def is_part(lines, source):
    return "\n".join(lines) in "\n".join(line.strip() for line in source.splitlines())


@pytest.mark.parametrize("document", ["README.md", "docs/chapter.md"])
def test_explanations_are_what_is_printed(document, capsys):
    explained = found(r"(?s)```python\n([^`]*layers\.explain[^`]*)```\n\n```\n(.*?)```", document)
    assert explained
    for code, output in explained:
        exec(code, {})
        assert capsys.readouterr().out == output


@pytest.mark.parametrize("document", [*DOCUMENTS, "CHANGELOG.md"])
def test_prose_is_at_most_100_columns_wide(document):
    prose = re.sub(r"^```.*?^```", "", text(document), flags=re.DOTALL | re.MULTILINE)
    for line in prose.splitlines():
        assert len(line) <= 100 or line.startswith("|"), line
