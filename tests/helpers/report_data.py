"""What a page holds for its scripts."""

import json
import re
from typing import Any


def held(page: str) -> dict[str, Any]:
    """The data of a page, read as a browser does."""
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    data: dict[str, Any] = json.loads(text)
    return data
