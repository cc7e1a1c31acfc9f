"""An audit as one self-contained HTML page: no request leaves it, and what comes from the data is never markup.

The summary is markup and stands first, so it is there at once and without scripts. All else is drawn by the scripts in
`page/` from one JSON object. Scripts and styles are allowed by their digests only.
"""

from __future__ import annotations

import base64
import hashlib
import math
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import jinja2
from markupsafe import Markup

from selfclean_hooks.report.page_data import as_json
from selfclean_hooks.report.page_facts import facts_of
from selfclean_hooks.shown import shown

if TYPE_CHECKING:
    from selfclean_hooks.audit import Audit
    from selfclean_hooks.gate import Verdict

PAGE = 24_000_000  # characters: what mail servers let through
PICTURES = 20_000_000  # characters of these at most for pictures
STYLES = ("base.css", "parts.css", "gallery.css", "print.css")
SCRIPTS = (  # one scope, in this order
    "dom.js",
    "data.js",
    "picture.js",
    "store.js",
    "review.js",
    "rule.js",
    "placing.js",
    "decisions.js",
    "cut.js",
    "histogram.js",
    "filters.js",
    "gallery.js",
    "difference.js",
    "focus.js",
    "classes.js",
    "map.js",
    "lasso.js",
    "progress.js",
    "dialogs.js",
    "keyboard.js",
    "tabs.js",
    "theme.js",
    "printing.js",
    "main.js",
)


def render(audit: Audit, max_items: int | None = None, verdict: Verdict | None = None, back: str = "") -> str:
    """The page. Samples are shown with the pictures that the audit carries.

    Characters that cannot be encoded (from file names) are written as escapes, so the page always encodes to UTF-8.

    Args:
        audit: what is shown.
        max_items: findings of each issue at most; default: as many as the audit was made with.
        verdict: told on the page, if given.
        back: address of the page of all splits, relative to this one; "": there is none.

    Raises:
        SettingError: `max_items` is less than 1.
    """
    findings = shown(audit, max_items)
    page = environment().get_template("report.html.jinja")
    text = page.render(**facts_of(audit, verdict), back=back, data=Markup("@data@"))
    text = text.encode("utf-8", "backslashreplace").decode()
    before, after = text.rsplit("@data@", 1)  # the last one: names may hold anything
    data = as_json(audit, findings, PICTURES, PAGE - len(text))
    return f"{before}{data}{after}"


@cache
def environment() -> jinja2.Environment:
    """Where the templates of pages come from; what they are given is data and never markup."""
    loader = jinja2.PackageLoader("selfclean_hooks", "report")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"count": "{:,}".format, "percent": "{:.2%}".format, "score": "{:.4g}".format}
    environment.filters["words"] = lambda issue: issue.replace("_", " ")
    environment.tests["number"] = lambda value: isinstance(value, (int, float)) and math.isfinite(value)
    style, script = source(STYLES), source(SCRIPTS)
    environment.globals |= {
        "style": Markup(style),
        "script": Markup(script),
        "policy": Markup(content_policy(style, script)),
    }
    return environment


def source(names: tuple[str, ...]) -> str:
    """Files of `page/` as one text; scripts see each other's names and nothing else does."""
    folder = files("selfclean_hooks") / "report" / "page"
    text = "\n".join((folder / name).read_text(encoding="utf-8") for name in names)
    return f'(() => {{\n"use strict";\n{text}\n}})();' if names[0].endswith(".js") else text


def content_policy(style: str, script: str) -> str:
    """What the browser is told to refuse: all but this style, this script and pictures that the page itself holds."""
    return (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; img-src data: blob:; "
        "connect-src 'none'; form-action 'none'; base-uri 'none'; require-trusted-types-for 'script'; "
        "trusted-types 'none'"
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
