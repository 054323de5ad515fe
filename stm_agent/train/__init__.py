"""LoRA experts: rows, batches, loss and the trainer."""
