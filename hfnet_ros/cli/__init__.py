"""The program `hfnet-ros`: thin argparse over the package."""
