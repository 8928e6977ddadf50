"""Entry for tools that still call setup.py (colcon, older pip); everything is in pyproject.toml."""

from setuptools import setup

setup()
