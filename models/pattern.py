"""Layer patterns, the chapter's grammar of networks ("Layer Patterns"):

    INPUT[3x32x32] -> [[CONV3-64 -> RELU]*2 -> POOL2]*3 -> [FC512 -> RELU]*2 -> FC

    pattern = "INPUT" ("[" channels "x" height "x" width "]")? "->" chain
    chain   = item ("->" item)*
    item    = (layer | "[" chain "]") ("*" times)?
    layer   = word (number ("-" number)?)? (letter number)*

`RULES` is the vocabulary.  Numbers are written as in the chapter's VGG table: CONV3-64 has 64
filters of 3 x 3, POOL2 windows of 2 x 2, FC512 512 outputs.  Options follow as the letters of the
chapter's formula (W - F + 2P)/S + 1: s stride, p padding, also d dilation and g groups; AlexNet
begins with CONV11-96s4p0.

Defaults follow the chapter's sizing rules.  CONV and LOCAL: stride 1 and the padding that preserves
the size.  POOL: the maximum, with a stride equal to the window.  CONV alone is CONV3-64 (64 filters
as in the chapter's memory example), POOL alone is POOL2; FC alone has one output per class if it is
the last one, otherwise `HIDDEN`.

Differs: the chapter's "POOL?" and "*0" stand for optional layers; here a layer is written or not.
"""

from __future__ import annotations

import difflib
import re
from typing import NamedTuple

HIDDEN = 512  # outputs of an FC without a number, unless it is the last
MAX_LAYERS = 1000  # what is beyond these bounds is taken to be a mistake
MAX_DEPTH = 50  # of brackets within brackets
MAX_NUMBERS = {
    "window size": 1024, "number of filters": 2**16, "number of channels": 2**16,
    "number of outputs": 10**6, "stride": 1024, "padding": 1024, "dilation": 1024,
    "groups": 2**16, "number of times": MAX_LAYERS, "size of the images": 10**4,
}  # fmt: skip


class Rule(NamedTuple):
    """How a layer is written."""

    numbers: tuple[str, ...]  # the meaning of its numbers
    default: tuple[float, ...]  # their values if none is written
    options: str
    example: str


FILTERS = ("window size", "number of filters")
RULES: dict[str, Rule] = {
    "CONV": Rule(FILTERS, (3, 64), "spdg", "CONV3-64"),
    "LOCAL": Rule(FILTERS, (3, 64), "spdg", "LOCAL3-64"),  # locally connected
    "POOL": Rule(("window size",), (2,), "sp", "POOL2"),
    "MAXPOOL": Rule(("window size",), (2,), "sp", "MAXPOOL2"),
    "AVGPOOL": Rule(("window size",), (2,), "sp", "AVGPOOL2"),
    "L2POOL": Rule(("window size",), (2,), "s", "L2POOL2"),
    "GAP": Rule((), (), "", "GAP"),  # global average pooling
    "LRN": Rule(("number of channels",), (5,), "", "LRN5"),
    "BN": Rule((), (), "", "BN"),
    "RELU": Rule((), (), "", "RELU"),
    "TANH": Rule((), (), "", "TANH"),
    "DROPOUT": Rule(("probability",), (0.5,), "", "DROPOUT0.5"),
    "FC": Rule(("number of outputs",), (), "", "FC512"),
}
OPTIONS = {"s": "stride", "p": "padding", "d": "dilation", "g": "groups"}


class PatternError(ValueError):
    """A mistake in a pattern; the message starts with its column, counted from 1."""

    def __init__(self, column: int, sentence: str) -> None:
        super().__init__(f"column {column}: {sentence}")


class Layer(NamedTuple):
    """One layer as written, with its defaults."""

    word: str
    numbers: tuple[float, ...]
    options: dict[str, int]
    column: int

    def __str__(self) -> str:
        numbers = "-".join(f"{number:g}" for number in self.numbers)
        return f"{self.word}{numbers}" + "".join(f"{k}{v}" for k, v in self.options.items())


class Pattern(NamedTuple):
    size: tuple[int, int, int] | None  # channels, height, width, if INPUT has them
    layers: list[Layer]  # repetitions written out


def is_pattern(name: str) -> bool:
    """Whether the name of a model is a pattern, valid or not."""
    return "->" in name or name.upper().startswith("INPUT")


def parse(text: str) -> Pattern:
    """
    Raises:
        PatternError: a syntax error; the message says where, and what was expected.
    """
    return _Parser(text).pattern()


class _Token(NamedTuple):
    text: str
    column: int


# A word of the vocabulary ends where its numbers or options begin: POOLs2 is POOL, s, 2.
_WORDS = "|".join(sorted(("INPUT", *RULES), key=len, reverse=True))
_TOKEN = re.compile(rf"->|(?:{_WORDS})(?=[spdgx]?\d|[^a-z]|$)|[a-z]+|\d+(?:\.\d+)?|\S", re.I)


class _Parser:
    """A recursive-descent parser with one method per rule of the grammar."""

    def __init__(self, text: str) -> None:
        self.tokens = [_Token(match[0], match.start() + 1) for match in _TOKEN.finditer(text)]
        self.end = _Token("", len(text) + 1)
        self.depth = 0  # brackets that are open

    @property
    def token(self) -> _Token:
        return self.tokens[0] if self.tokens else self.end

    def is_at(self, *kinds: str) -> bool:
        """Whether the next tokens match these regular expressions."""
        texts = [token.text for token in self.tokens[: len(kinds)]]
        return len(texts) == len(kinds) and all(map(re.fullmatch, kinds, texts))

    def accept(self, text: str) -> bool:
        """Consume the next token if it is this one."""
        found = self.token.text.upper() == text
        del self.tokens[:found]
        return found

    def expect(self, text: str, what: str) -> None:
        if not self.accept(text):
            raise self.error(what)

    def error(self, what: str) -> PatternError:
        text = self.token.text
        found = repr(text if len(text) <= 30 else f"{text[:30]}...") if text else "the end"
        return PatternError(self.token.column, f"expected {what}, found {found}")

    def pattern(self) -> Pattern:
        self.expect("INPUT", "INPUT, with which a pattern begins")
        size = self.size() if self.accept("[") else None
        self.expect("->", "-> and the first layer")
        layers = self.chain()
        if self.token.text == "]":
            raise PatternError(self.token.column, "this ] closes nothing")
        self.expect("", "-> and the next layer")
        return Pattern(size, layers)

    def size(self) -> tuple[int, int, int]:
        shape = "channels x height x width, as in INPUT[3x32x32]"
        sizes = []
        for end in ("X", "X", "]"):
            if not self.is_at(r"0*[1-9]\d*"):
                raise self.error(shape)
            sizes.append(int(self.number("size of the images")))
            self.expect(end, shape)
        channels, height, width = sizes
        return channels, height, width

    def chain(self) -> list[Layer]:
        layers = self.item()
        while self.accept("->"):
            column = self.token.column
            layers += self.item()
            _check_count(layers, column)
        return layers

    def item(self) -> list[Layer]:
        column = self.token.column
        if self.accept("["):
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise PatternError(column, f"more than {MAX_DEPTH} brackets within each other")
            layers = self.chain()
            self.depth -= 1
            if not self.token.text:
                raise PatternError(column, "this [ is never closed")
            self.expect("]", "-> or ]")
        else:
            layers = [self.layer()]
        column = self.token.column
        if self.accept("*"):
            layers = layers * int(self.number("number of times"))
            _check_count(layers, column)
        if self.token.text == "?":
            raise PatternError(
                self.token.column, "? is not supported: write what is before it, or leave it out"
            )
        return layers

    def layer(self) -> Layer:
        name, column = self.token
        word = name.upper()
        if not self.is_at("[A-Za-z].*"):
            raise self.error("a layer")
        if word == "INPUT":
            raise PatternError(column, "INPUT stands at the beginning only")
        if word not in RULES:
            near = difflib.get_close_matches(word, RULES, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(RULES)}"
            raise PatternError(column, f"unknown layer {name}: {hint}")
        self.accept(word)
        return Layer(word, self.numbers(word, column), self.options(word), column)

    def numbers(self, word: str, column: int) -> tuple[float, ...]:
        """The numbers after a word: none, or all that it takes."""
        names, default, _, example = RULES[word]
        wanted = f"a {' and a '.join(names)}, such as {example}" if names else "its name"
        numbers: list[float] = []
        while self.is_at(r"\d.*") or self.is_at("-", r"\d.*"):
            if len(numbers) == len(names):
                raise PatternError(column, f"{word} takes only {wanted}")
            self.accept("-")
            numbers.append(self.number(names[len(numbers)]))
        if names[:1] == ("window size",) and self.is_at("[xX]", r"\d.*"):
            raise PatternError(self.token.column, f"windows are square, as in {example}")
        if len(numbers) < len(names) and (numbers or self.is_at("[A-Za-z]", r"\d.*")):
            raise PatternError(column, f"{word} needs {wanted}")
        return tuple(numbers) or default

    def options(self, word: str) -> dict[str, int]:
        """The options after the numbers, each a letter and a number."""
        known = RULES[word].options
        options: dict[str, int] = {}
        while self.is_at("[A-Za-z]", r"\d.*"):
            column, letter = self.token.column, self.token.text.lower()
            if letter not in known:
                takes = ", ".join(f"{k} ({OPTIONS[k]})" for k in known) or "none"
                raise PatternError(column, f"{word} has no option {letter}; it takes {takes}")
            if letter in options:
                raise PatternError(column, f"{OPTIONS[letter]} is given twice")
            self.accept(letter.upper())
            options[letter] = int(self.number(OPTIONS[letter]))
        return options

    def number(self, name: str) -> float:
        """A positive integer within its bounds; a padding may be 0, a probability a fraction."""
        if name == "probability":
            valid, what = self.is_at(r"0(\.\d+)?"), "a probability below 1, as in DROPOUT0.5"
        else:
            least = 0 if name == "padding" else 1
            valid = self.is_at(r"\d+") and float(self.token.text) >= least
            what = f"a {name}, a whole number of at least {least}"
            if valid and float(self.token.text) > MAX_NUMBERS[name]:
                raise self.error(f"a {name} of at most {MAX_NUMBERS[name]:,}")
        if not valid:
            raise self.error(what)
        number = float(self.token.text)
        self.accept(self.token.text)
        return number


def _check_count(layers: list[Layer], column: int) -> None:
    if len(layers) > MAX_LAYERS:
        raise PatternError(column, f"that makes more than {MAX_LAYERS:,} layers")
