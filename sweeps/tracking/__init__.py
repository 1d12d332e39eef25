"""Following a sweep in TensorBoard, MLflow or wandb, beside its own files."""
