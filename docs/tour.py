"""The guided tour: runs every command of docs/chapter.md into one folder, with an index page.

    python docs/tour.py --output tour

The page is the chapter's text; below each command stand what it printed and what it drew.  The
commands run one after the other inside the folder, because later ones look into the network that
an earlier one trains.
"""

import re
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import jinja2
import markdown
import tyro
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))
from training import errors
from training.arguments.outputs import check_output

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```\n((?:python .*\n(?:    .*\n)*)+)```\n", re.MULTILINE)
PICTURE = re.compile(r"^!\[.*\]\(.*\)\n", re.MULTILINE)  # of other runs: the tour draws its own
LINK = re.compile(r"\]\((?!http|#)([^)]+)\)")
PICTURES, PAGES = {".png", ".svg"}, {".html"}


@dataclass(frozen=True)
class Options:
    output: Path = Path("tour")
    """The folder for the page and for what the commands write."""
    chapter: Path = ROOT / "docs" / "chapter.md"
    """The text whose commands are run."""


@dataclass
class Ran:
    """One command, and what came of it."""

    command: str
    printed: str = ""
    code: int = 0
    seconds: float = 0.0
    pictures: list[str] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)


def parts(text: str) -> list[str | list[str]]:
    """The text between the blocks of commands, and the commands of each block, in turn."""
    result: list[str | list[str]] = []
    for i, part in enumerate(BLOCK.split(text)):
        commands = part.replace("\\\n    ", " ").strip().splitlines()
        result.append(commands if i % 2 else part)
    return result


def to_html(text: str, folder: Path) -> str:
    """Markdown, whose links lead to the files beside it, from any page."""
    text = LINK.sub(lambda link: f"]({(folder / link[1]).as_uri()})", PICTURE.sub("", text))
    return markdown.markdown(text, extensions=["fenced_code", "tables"])


def files(folder: Path) -> dict[Path, int]:
    kinds = PICTURES | PAGES
    return {f: f.stat().st_mtime_ns for f in folder.rglob("*") if f.suffix in kinds}


def run(command: str, folder: Path) -> Ran:
    """A line `python SCRIPT ...`, whose script is ours and whose files land in the folder."""
    try:
        _, script, *arguments = shlex.split(command, comments=True)
    except ValueError as error:  # a quotation without its end
        return Ran(command, str(error), 2)
    before, start = files(folder), time.monotonic()
    done = subprocess.run(
        [sys.executable, str(ROOT / script), *arguments],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    ran = Ran(command, done.stdout, done.returncode, time.monotonic() - start)
    for path, written in sorted(files(folder).items()):
        if before.get(path) != written:
            names = ran.pictures if path.suffix in PICTURES else ran.pages
            names.append(path.relative_to(folder).as_posix())
    return ran


def main(options: Options) -> None:
    if not options.chapter.is_file():
        raise errors.UserError(f"--chapter {options.chapter} is no file")
    check_output("--output", options.output)
    options.output.mkdir(parents=True, exist_ok=True)
    shown: list[tuple[str, list[Ran]]] = []
    text_and_commands = parts(options.chapter.read_text())
    total = sum(len(part) for part in text_and_commands if isinstance(part, list))
    with tqdm(total=total, unit="command", disable=None) as progress:
        for part in text_and_commands:
            if isinstance(part, str):
                shown.append((to_html(part, options.chapter.resolve().parent), []))
                continue
            for command in part:
                progress.set_description(command[:60])
                shown[-1][1].append(run(command, options.output))
                progress.update()
    template = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROOT / "docs"), autoescape=True, trim_blocks=True
    ).get_template("tour.html.j2")
    page = options.output / "index.html"
    page.write_text(template.render(parts=shown))
    failed = [ran for _, each in shown for ran in each if ran.code]
    for ran in failed:
        print(f"exit code {ran.code}: {ran.command}\n{ran.printed}", file=sys.stderr)
    print(f"{total} commands, {len(failed)} failed: {page}")
    raise SystemExit(bool(failed))


if __name__ == "__main__":
    errors.run(lambda: main(tyro.cli(Options, description=__doc__)))
