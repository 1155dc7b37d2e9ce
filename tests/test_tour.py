"""docs/tour.py: the chapter's commands, run into one page."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
spec = importlib.util.spec_from_file_location("tour", ROOT / "docs" / "tour.py")
tour = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tour)

CHAPTER = """# A chapter

Text with a [link](memory.md) and a [page](https://example.org).

```
python visualize.py conv-demo --size 3 --kernel 3 --stride 1 \\
    --padding 0 --output demo.html
python summarize.py nosuchnet
```

![a picture of another run](pictures/columns-mnist.png)

```
not a command
```

The end.
"""


def test_every_command_of_the_chapter_is_found():
    commands = [c for part in tour.parts((ROOT / "docs" / "chapter.md").read_text())
                if isinstance(part, list) for c in part]  # fmt: skip
    assert len(commands) > 15
    assert all((ROOT / command.split()[1]).exists() for command in commands)


def test_a_page_of_what_they_print_and_draw(tmp_path, capsys):
    chapter = tmp_path / "chapter.md"
    chapter.write_text(CHAPTER)
    with pytest.raises(SystemExit) as ended:
        tour.main(tour.Options(tmp_path / "tour", chapter))
    assert ended.value.code == 1
    assert "2 commands, 1 failed" in capsys.readouterr().out
    page = (tmp_path / "tour" / "index.html").read_text()
    assert '<a href="demo.html">' in page
    assert (tmp_path / "tour" / "demo.html").exists()
    assert "choose from lenet" in page  # the sentence that it ended with
    assert f'href="{(tmp_path / "memory.md").as_uri()}"' in page
    assert "columns-mnist" not in page
    assert "not a command" in page
