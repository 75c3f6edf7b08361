"""What BentoML stores and packs: models, tags, labels."""
