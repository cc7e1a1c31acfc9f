"""What `backbone=` may be: a timm name, a model of transformers, a checkpoint, a self-supervised encoder."""
