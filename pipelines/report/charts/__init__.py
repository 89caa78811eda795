"""Charts as inline SVG, made when the page is written; a module a kind of chart.

Colours come from the page's style by class, so that one chart serves light, dark and print. No chart has a `style`
attribute: a page's Content-Security-Policy may then forbid them.
"""
