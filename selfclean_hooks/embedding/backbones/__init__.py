"""What `backbone=` may be: a timm name, a checkpoint, a self-supervised encoder."""
