"""Commands of a page in their order, the answers and messages that it promises, and whether an output fits them."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FENCED = re.compile(r"^```\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_PROGRAMS = ("sudo", "pip", "python3", "ssd-edge")


@dataclass(frozen=True)
class Command:
    """A line of a page that a user types.

    Attributes:
        text: the line without its comment.
        only: machines that the line is for, by the beginning of its comment, as ``JetPack 6.2``; "" for all.
        answer: the lines that the page shows as its answer; empty if it shows none.
        answer_for: the machine that gives this answer; "" for all.
    """

    text: str
    only: str = ""
    answer: str = ""
    answer_for: str = ""

    @property
    def parts(self) -> list[str]:
        """The commands that ``&&`` joins."""
        return [part.strip() for part in self.text.split(" && ")]


def commands(page: str) -> list[Command]:
    """Find a page's commands: its indented lines. A block after a paragraph that ends in "answers" is an answer."""
    found: list[Command] = []
    paragraph = ""
    for block in re.split(r"\n\s*\n", _FENCED.sub("", page)):
        lines = block.strip("\n").splitlines()
        if not lines or not all(line.startswith("    ") for line in lines):
            paragraph = " ".join(block.split())
        elif paragraph.endswith("answers"):
            last = found.pop()
            whose = re.search(r"On (JetPack [\d.]+) the last command answers$", paragraph)
            answer = "\n".join(line.strip() for line in lines)
            found.append(Command(last.text, last.only, answer, whose[1] if whose else ""))
            paragraph = ""
        else:
            found += [_command(line.strip()) for line in lines]
    return found


def _command(line: str) -> Command:
    text, _, comment = re.sub(r"\s{2,}# ", "\0", line).partition("\0")
    only = re.match(r"JetPack [\d.]+(?=[,:])", comment)
    return Command(text.strip(), only[0] if only else "")


def beside(page: str) -> list[str]:
    """Find the commands within a page's sentences and tables."""
    text = re.sub(r"^    .*$", "", _FENCED.sub("", page), flags=re.MULTILINE)
    spans = re.findall(r"`([^`\n]+)`", text)
    return [span for span in spans if span.split()[0] in _PROGRAMS and " " in span and "…" not in span]


def messages(page: str) -> list[str]:
    """Find the messages that a page explains: first cells of its tables, in backquotes."""
    return re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)


def shown(page: str) -> list[str]:
    """Find the outputs that a page shows in a block of their own."""
    return [block.rstrip("\n") for block in _FENCED.findall(page)]


def fits(pattern: str, said: str) -> bool:
    """Tell whether an output has a text in it, in which … stands for anything on its line."""
    parts = (re.escape(" ".join(part.split())) for part in pattern.split("…"))
    expression = r"[^\n]*?".join(part.replace(r"\ ", r"\s+") for part in parts)
    return re.search(expression, said) is not None
