"""Training: RecBole's `Trainer` with exact resume, what it minimises, and the two phases of distillation."""
