"""The relocalizer node without its middleware: what it subscribes to, decides and says.

`ros` and `dds` bring a `Transport` each and are otherwise the same node.
"""
