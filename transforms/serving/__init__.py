"""A small model server that speaks TensorFlow Serving's REST protocol and KServe v2, and what it needs of a SavedModel.

It imports TensorFlow and nothing of Headrace outside this folder: what it serves is in the SavedModel or is not served.
Run it with `headrace serve PATH`, or `python -m headrace.transforms.serving PATH`.
"""
