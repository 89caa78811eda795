"""The program that a fresh process runs to serve a model: `python -I` of this folder, which imports nothing else."""
