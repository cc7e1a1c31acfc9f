"""Pretrain."""
