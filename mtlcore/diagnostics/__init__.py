"""What training shows of how tasks relate: trust in a table, shared units, agreeing gradients."""
