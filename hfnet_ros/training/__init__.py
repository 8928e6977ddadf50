"""Train HF-Net and the networks of scenes; the only package that imports PyTorch (optional extra).

HF-Net learns by multi-task distillation. A run goes through `teaching.build_cache` (views and what the teachers
say about them, once), `trainer.train` (resumable, the same numbers as without a stop) and `export.export_onnx`.
A scene's network is trained by `scene_training.train_scene` on the map of the scene.
"""
