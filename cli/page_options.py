"""Options of the live page of ``run``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from ssd_edge.cli.common import NumberLists
from ssd_edge.web.address import DEFAULT_ADDRESS, Address, parse_address

PageAddress = Annotated[
    str | None,
    typer.Option(
        "--page",
        metavar="[ADDRESS]",
        help=f"Show picture, boxes and numbers in a browser; {DEFAULT_ADDRESS} if no PORT or IP:PORT is named. "
        "docs/page.md tells more.",
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--page-token-file",
        metavar="FILE",
        help="File with the token that visitors of the page must know; or set SSD_EDGE_PAGE_TOKEN. Needed if other "
        "machines can reach the page.",
    ),
]


class PageCommand(NumberLists):
    """A command whose ``--page`` needs no value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert the usual address behind a bare ``--page``, then parse as click does."""
        spelled: list[str] = []
        for place, argument in enumerate(args):
            spelled.append(argument)
            following = args[place + 1] if place + 1 < len(args) else ""
            if argument == "--page" and not _may_be_address(following):
                spelled.append(DEFAULT_ADDRESS)
        return super().parse_args(ctx, spelled)


def _may_be_address(text: str) -> bool:
    return bool(re.fullmatch(r"[0-9]+|[^/\\-][^/\\]*:[0-9]*|[0-9.]+", text)) and not Path(text).exists()


class PageChoice(NamedTuple):
    """Where the page is served, and to whom."""

    address: Address
    token: str | None


def read_page(address: str | None, token_file: Path | None) -> PageChoice | None:
    """Read the options; None for no page.

    Raises:
        PageError: the page may not or cannot be served so.
        MissingDependencyError: its packages are not installed.
    """
    if address is None:
        if token_file is not None:
            raise typer.BadParameter("--page-token-file is for --page: add that")
        return None
    from ssd_edge.web.page import check_page
    from ssd_edge.web.tokens import read_token

    choice = PageChoice(parse_address(address), read_token(token_file))
    check_page(*choice)
    return choice
