"""Run networks; the only package that imports a network runtime."""
