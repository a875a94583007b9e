"""Files of this folder in which {{name}} stands for a part."""
import re
from pathlib import Path


def text_of(name):
    """Return the text of a file of this folder."""
    return Path(__file__).with_name(name).read_text(encoding='utf-8').strip()


def filled(template, parts):
    """Return a template with its parts, by name, and a line end."""
    return re.sub(r'{{(\w+)}}', lambda match: str(parts[match.group(1)]), template) + '\n'
