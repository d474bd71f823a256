"""What is known of a case's data before anything is trained on them."""
