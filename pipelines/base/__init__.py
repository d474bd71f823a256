"""What every folder above may use: errors, settings, progress, storage, and a Ray to work on."""
