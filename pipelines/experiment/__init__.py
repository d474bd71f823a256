"""An experiment's runs, their storage layout, and their provenance."""
