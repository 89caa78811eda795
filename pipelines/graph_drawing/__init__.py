"""A Plan as a picture: text for terminals, SVG for pages, Mermaid for Markdown.

>>> from headrace.pipelines.graph_drawing import to_text
"""

from headrace.pipelines.graph_drawing.mermaid import to_mermaid
from headrace.pipelines.graph_drawing.svg import to_svg
from headrace.pipelines.graph_drawing.text import to_text

__all__ = ["to_mermaid", "to_svg", "to_text"]
