"""Scenes, adversaries and tables of bench/trust.py."""
