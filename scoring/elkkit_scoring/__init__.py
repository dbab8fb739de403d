"""The heavy half of elkkit: models, images, metrics, data, the scoring script. Importing this package does no work."""
