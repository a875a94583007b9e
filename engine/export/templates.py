"""The templates of the files: their texts, and how they are filled."""
import re
from pathlib import Path


def text_of(name):
    """Return the text of a file of this folder."""
    return Path(__file__).with_name(name).read_text(encoding='utf-8').strip()


def filled(template, parts):
    """Return a template in which {{name}} is replaced by the part of that name."""
    return re.sub(r'{{(\w+)}}', lambda match: str(parts[match.group(1)]), template)
