"""Train HF-Net by multi-task distillation; the only package that imports PyTorch (optional extra).

A run goes through `teaching.build_cache` (views and what the teachers say about them, once),
`trainer.train` (resumable, the same numbers as without a stop) and `export.export_onnx`.
"""
