"""What lies in a storage: its experiments listed, compared, and what nothing needs deleted."""
